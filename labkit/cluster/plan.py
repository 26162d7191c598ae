"""A sweep as plain data: what it asks, cell by cell, and the journal of those that are finished. No torch, no Ray.

A folder belongs to one sweep. `plan.json` says what was asked, `cells.jsonl` gets one line for each finished cell, in the
order in which they finish, and `cells.parquet` is made of those lines whenever the sweep ends or is stopped.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Iterator

import msgspec

from labkit.errors import LabError
from labkit.trace import Cost, Setting

PLAN, CELLS, TABLE, TRACES = "plan.json", "cells.jsonl", "cells.parquet", "traces"


class Ask(msgspec.Struct, frozen=True):
    """One cell: a setting on one prompt (from 0) at a temperature with a seed. `number` is its place in the plan."""

    number: int
    setting: Setting
    prompt: int
    temperature: float
    seed: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting on every prompt at every temperature with every seed; `settings` name methods, with all their knobs."""

    settings: list[Setting]
    names: list[str]  # of the settings, short: "chain length=4"
    prompts: int  # held-out ones, the first so many
    tokens: int  # new ones a cell, at most
    temperatures: list[float]
    seeds: list[int]
    target: str
    draft: str
    dtype: str
    labkit: str  # the version that planned it

    def __len__(self) -> int:
        return len(self.settings) * self.prompts * len(self.temperatures) * len(self.seeds)

    def cells(self) -> Iterator[Ask]:
        """Every cell; settings change quickest, so that an unfinished sweep has come equally far with each."""
        order = itertools.product(range(self.prompts), self.seeds, self.temperatures, self.settings)
        for number, (prompt, seed, temperature, setting) in enumerate(order):
            yield Ask(number, setting, prompt, temperature, seed)


class Cell(msgspec.Struct, omit_defaults=True):
    """A finished cell: what was asked, what came, and what was counted. `error` is one sentence when nothing came."""

    number: int
    method: str
    name: str  # of the setting: the method and the knobs that are swept
    knobs: dict[str, Any]
    prompt: int
    temperature: float
    seed: int
    prompt_tokens: int = 0
    tokens: int = 0
    steps: int = 0
    cost: Cost = msgspec.field(default_factory=Cost)
    reason: str = ""  # why it ended: "length" or "end of text"
    error: str = ""
    ids: list[int] = []
    text: str = ""
    node: str = ""  # of the cluster: where it was computed


def load(folder: Path) -> Plan | None:
    """The plan of a folder; None where there is none. Raises `LabError` when the file is no plan of this lab."""
    try:
        return msgspec.json.decode((folder / PLAN).read_bytes(), type=Plan)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeError) as broken:
        raise LabError(
            f"{str(folder / PLAN)!r} is no plan of a sweep ({str(broken)[:120]}): give --out another folder."
        ) from None


def finished(folder: Path) -> list[Cell]:
    """The cells in the journal, in the order in which they finished; a line that was cut off by a crash does not count.

    Raises `LabError` when the journal is damaged in another way.
    """
    try:
        lines = (folder / CELLS).read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    decoder = msgspec.json.Decoder(Cell)
    try:
        return [decoder.decode(line) for line in lines]
    except (msgspec.MsgspecError, UnicodeError) as broken:
        where = str(folder / CELLS)
        raise LabError(f"{where!r} is damaged ({str(broken)[:120]}): take that line out, or give --out another folder.") from None


def latest(base: Path) -> tuple[Path, Plan, list[Cell]] | None:
    """The folder under `base` whose sweep was finished last, with what it holds; None when there is none."""
    tables = sorted(base.glob(f"*/{TABLE}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in (table.parent for table in tables):
        try:
            plan, cells = load(folder), finished(folder)
        except LabError:
            continue
        if plan and len(cells) == len(plan):
            return folder, plan, cells
    return None
