"""Errors as a scanner makes them, and how many token boundaries survive them (P075)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from labkit.tokenization.metrics import boundary_f1

CONFUSED = {"O": "0", "0": "O", "l": "1", "1": "l", "rn": "m", "m": "rn"}
ADDED = 0.2  # how often a space is added between two letters, beside the other errors

Column = tuple[str, str]  # what stands in the clean text, and what the scanner read there


def corrupt(text: str, rate: float, coin: Callable[[], float]) -> list[Column]:
    """The text in columns, most of them unchanged characters.

    Where an error fits (O and 0, l and 1, rn and m, a space that is dropped) it happens with probability `rate`; a space is
    added between two letters a fifth as often. One coin a character decides, so a higher rate keeps the errors of a lower one
    (but for the letters behind an n that it read as part of an m).
    """
    columns: list[Column] = []
    at = 0
    while at < len(text):
        letter, drawn = text[at], coin()
        read = "rn" if text.startswith("rn", at) else letter
        if drawn < rate and (read in CONFUSED or letter == " "):
            columns.append((read, CONFUSED.get(read, "")))
            at += len(read)
            continue
        if drawn < ADDED * rate and at and letter.isalpha() and text[at - 1].isalpha():
            columns.append(("", " "))
        columns.append((letter, letter))
        at += 1
    return columns


class Survival(NamedTuple):
    """What errors leave of a segmentation, outside the places that were changed.

    `agreement` is the F1 of the boundaries; `reach` the bytes beside an error whose token is another now, for one error;
    `errors` how many there were.
    """

    agreement: float
    reach: float
    errors: int


def places(columns: list[Column]) -> Iterator[tuple[int, int, bool]]:
    """Every byte of unchanged columns: its offset in the clean text, in the other, and whether the byte before is unchanged."""
    clean = noisy = 0
    whole = False
    for before, after in columns:
        if before == after:
            for byte in range(len(before.encode())):
                yield clean + byte, noisy + byte, whole
                whole = True
        else:
            whole = False
        clean += len(before.encode())
        noisy += len(after.encode())


def survival(columns: list[Column], clean: list[int], noisy: list[int]) -> Survival:
    """Compare where tokens begin in the clean text and in the other (bytes, as `Segmenter.starts` gives them)."""
    at, other = set(clean), set(noisy)
    begins, again = set(), set()
    moved: dict[int, int] = {}  # offset of an unchanged byte: its offset in the other text
    for here, there, whole in places(columns):
        moved[here] = there
        if whole:
            begins |= {here} & at
            again |= {here} if there in other else set()
    lost = 0
    total = sum(len(before.encode()) for before, _ in columns)
    ends = dict(zip(noisy, [*noisy[1:], sum(len(after.encode()) for _, after in columns)]))
    for start, end in zip(clean, [*clean[1:], total]):
        kept = [byte for byte in range(start, end) if byte in moved]
        survives = len(kept) == end - start and ends.get(moved[start]) == moved[end - 1] + 1
        lost += 0 if survives and moved[end - 1] - moved[start] == end - 1 - start else len(kept)
    errors = sum(before != after for before, after in columns)
    return Survival(boundary_f1(again, begins)[2], lost / errors if errors else 0.0, errors)
