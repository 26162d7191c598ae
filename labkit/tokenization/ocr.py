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


def changed(columns: list[Column], clean: list[int], noisy: list[int]) -> set[int]:
    """The bytes of the clean text, outside the errors, whose token is not in the other text at the same place."""
    moved = {here: there for here, there, _ in places(columns)}
    size, other_size = (sum(len(column[side].encode()) for column in columns) for side in (0, 1))
    ends = dict(zip(noisy, [*noisy[1:], other_size]))
    lost: set[int] = set()
    for start, end in zip(clean, [*clean[1:], size]):
        kept = {byte for byte in range(start, end) if byte in moved}
        again = len(kept) == end - start and ends.get(moved[start]) == moved[start] + end - start == moved[end - 1] + 1
        lost |= set() if again else kept
    return lost


def survival(columns: list[Column], clean: list[int], noisy: list[int]) -> Survival:
    """Compare where tokens begin in the clean text and in the other (bytes, as `Segmenter.starts` gives them)."""
    at, other = set(clean), set(noisy)
    inner = [(here, there) for here, there, whole in places(columns) if whole]
    agreement = boundary_f1({here for here, there in inner if there in other}, {here for here, _ in inner if here in at})[2]
    errors = sum(before != after for before, after in columns)
    return Survival(agreement, len(changed(columns, clean, noisy)) / errors if errors else 0.0, errors)
