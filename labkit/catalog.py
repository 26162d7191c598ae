"""The catalogue: 185 papers from `data/papers.toml`, and which of them work here. Plain data; imports no torch."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from typing import Protocol

import msgspec

from labkit.errors import LabError
from labkit.paths import DATA


class Paper(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One paper: its id here ("P025"), title, the short name of its mechanism, theme, kind, year, its code if known."""

    id: str
    title: str
    name: str
    theme: str
    kind: str
    year: int
    code: str = ""


class Registered(Protocol):
    """Whatever realises papers: a method, a transform, a tool."""

    name: str
    paper: str  # a paper's id, or "" when it is nobody's paper here


@cache
def papers() -> dict[str, Paper]:
    """All papers by id, in the order of their ids. Raises `LabError` when the file is missing or malformed."""
    file = DATA / "papers.toml"
    try:
        listed = msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8"))["paper"], list[Paper])
    except OSError as missing:
        raise LabError(
            f"The catalogue {file.name} cannot be read ({missing.strerror}): install the lab again."
        ) from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, KeyError) as broken:
        raise LabError(f"The catalogue {file.name} is malformed ({broken}): correct that entry.") from None
    return {paper.id: paper for paper in listed}


def working(registered: Iterable[Registered]) -> dict[str, list[str]]:
    """Paper id to the names of what realises it. Raises `LabError` when something names a paper that is not listed."""
    found: dict[str, list[str]] = {}
    for thing in registered:
        if thing.paper and thing.paper not in papers():
            raise LabError(
                f"{thing.name!r} names the paper {thing.paper!r}, which data/papers.toml does not list: add it there."
            )
        if thing.paper:
            found.setdefault(thing.paper, []).append(thing.name)
    return found
