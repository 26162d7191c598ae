"""Needles: "assign early, use late" Python, so that a small model learns to look far back.

A few constants, dict entries or class attributes are given 4-digit or word values; real code follows; then each value
is asked for again in an `assert`. Without such text nothing in a small model's attention has anything to retrieve.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

WORDS = (
    "alpha",
    "beta",
    "gamma",
    "delta",
    "limit",
    "offset",
    "width",
    "depth",
    "score",
    "rate",
    "port",
    "level",
    "seed",
    "chunk",
    "page",
    "index",
    "token",
    "color",
    "weight",
    "label",
    "stage",
    "queue",
    "frame",
    "zone",
)
HOLDERS = ("config", "settings", "params", "table", "options")
FILLER_LENGTHS = (200, 600, 1500, 3000, 4500, 5500)  # characters of real code between assignment and question


@dataclass(frozen=True)
class Case:
    """One question in a needle: character offsets into its text.

    assigned: where the name is first written; asked: where its `assert` line begins; start, end: the value that the
    line ends with.
    """

    assigned: int
    asked: int
    start: int
    end: int


@dataclass(frozen=True)
class Needle:
    """A text and the questions in it; `text[case.start:case.end]` is the value that was assigned at `case.assigned`."""

    text: str
    cases: tuple[Case, ...]


def make_needle(rng: random.Random, fillers: Sequence[str]) -> Needle:
    """One needle: two to eight names, a stretch of one of `fillers`, then a question for each in another order."""
    names = sorted({f"{rng.choice(WORDS)}_{rng.choice(WORDS)}" for _ in range(rng.randint(2, 8))})
    rng.shuffle(names)
    values = {name: _value(rng) for name in names}
    opening, before, line, after, asked = _form(rng.randint(0, 2), rng.choice(HOLDERS))
    text = opening
    assigned = {}
    for name in names:
        assigned[name] = len(text) + len(before)
        text += f"{before}{name}{line}{values[name]}{after}\n"
    text += ("}\n" if opening.endswith("{\n") else "") + "\n" + _stretch(rng, fillers) + "\n\n"
    rng.shuffle(names)
    cases = []
    for name in names:
        question = f"assert {asked.format(name)} == "
        start = len(text) + len(question)
        cases.append(Case(assigned[name], len(text), start, start + len(values[name])))
        text += f"{question}{values[name]}\n"
    return Needle(text, tuple(cases))


def _value(rng: random.Random) -> str:
    """A 4-digit number (seven in ten) or a quoted word with two digits."""
    return str(rng.randint(1000, 9999)) if rng.random() < 0.7 else repr(f"{rng.choice(WORDS)}{rng.randint(10, 99)}")


def _form(kind: int, holder: str) -> tuple[str, str, str, str, str]:
    """Opening line, what precedes a name, what follows it, what ends its line, and how it is asked for again."""
    if kind == 0:
        return "", "", " = ", "", "{}"
    if kind == 1:
        return f"{holder.upper()} = {{\n", '    "', '": ', ",", holder.upper() + '["{}"]'
    return f"class {holder.title()}:\n", "    ", " = ", "", holder.title() + ".{}"


def _stretch(rng: random.Random, fillers: Sequence[str]) -> str:
    """Whole lines from somewhere in one of the fillers; empty when the piece that was hit has no line break."""
    filler = rng.choice(fillers)
    length = rng.choice(FILLER_LENGTHS)
    start = rng.randint(0, max(0, len(filler) - length))
    piece = filler[start : start + length]
    return piece[piece.find("\n") + 1 : piece.rfind("\n") + 1]
