"""Which way numbers are cut into tokens (P087): left to right, as digits are read, or right to left, as sums are done."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Iterator, NamedTuple

from labkit.errors import KnobError
from labkit.knobs import knob
from labkit.tokenization.plain_units import WORDS
from labkit.tokenization.segmenter import Segmenter

DIRECTIONS = ("l2r", "r2l")
DIGITS = re.compile(r"[0-9]+|[^0-9]+")
FORMATS = {  # the paper's ways to write a number: separator, and the direction that it forces on the chunks
    "nosep": ("", "l2r"), "comma_r2l": (",", "r2l"), "comma_l2r": (",", "l2r"), "space_r2l": (" ", "r2l"),
    "space_l2r": (" ", "l2r"),
}  # fmt: skip


def chunks(digits: str, direction: str = "l2r", size: int = 3) -> list[str]:
    """The chunks of a row of digits, in order: "l2r" all `size` long but the last, "r2l" all but the first.

    1234567 is 123|456|7 or 1|234|567. Raises `KnobError` on another direction, or on a size below 1.
    """
    if direction not in DIRECTIONS:
        raise KnobError(f"The direction is {direction!r:.40}: choose one of {', '.join(DIRECTIONS)}.")
    if size < 1:
        raise KnobError(f"The chunks are {size} digits long: choose at least 1.")
    first = len(digits) % size if direction == "r2l" else 0
    starts = range(first, len(digits), size)
    return [digits[:first]] * (first > 0) + [digits[start : start + size] for start in starts]


def written(number: int, how: str = "nosep", size: int = 3) -> str:
    """A number in one of the paper's `FORMATS`: 1234567 as comma_r2l is 1,234,567. Raises `KnobError` on another one."""
    if how not in FORMATS:
        raise KnobError(f"There is no number format {how!r:.40}: choose one of {', '.join(FORMATS)}.")
    separator, direction = FORMATS[how]
    return separator.join(chunks(str(number), direction, size))


def read(text: str) -> int | None:
    """The number that a text begins with, whatever separates its digits; None when it begins with none."""
    found = re.match(r"\s*([0-9](?:[, ]?[0-9])*)", text)
    return int(re.sub("[, ]", "", found[1])) if found else None


def carries(a: int, b: int) -> list[bool]:
    """For every digit of the longer number, ones first: does its place hand a one to the next place?"""
    found, carry = [], 0
    for place in range(len(str(max(a, b)))):
        carry = int(a // 10**place % 10 + b // 10**place % 10 + carry >= 10)
        found.append(bool(carry))
    return found


class Sum(NamedTuple):
    """A problem: the two addends."""

    a: int
    b: int

    @property
    def grows(self) -> bool:
        """Is the sum one digit longer than both addends? The paper calls this a length mismatch."""
        return len(str(self.a + self.b)) > len(str(max(self)))

    @property
    def carries(self) -> int:
        """How many places hand a one to the next."""
        return sum(carries(self.a, self.b))


def number(digits: int, rng: Random) -> int:
    """A number with so many digits, all alike likely."""
    return rng.randrange(10 ** (digits - 1), 10**digits)


def equals(digits: int, grow: bool, rng: Random) -> Sum:
    """A sum of two numbers of `digits` digits each, one digit longer than they are or not."""
    while (drawn := Sum(number(digits, rng), number(digits, rng))).grows != grow:
        pass
    return drawn


def problems(count: int, digits: int, rng: Random) -> list[Sum]:
    """Sums of two numbers of `digits` digits each; every second one grows by a digit."""
    return [equals(digits, bool(turn % 2), rng) for turn in range(count)]


def few_shot(count: int, shots: int, seed: int = 0) -> Iterator[tuple[Sum, list[Sum]]]:
    """The paper's problems, each with `shots` solved ones of the same lengths: addends of 7, 8 and 9 digits, every pair in turn.

    Its 90 problems are ten rounds. Numbers are drawn anew: its own came from another generator.
    """
    rng = Random(seed)
    for turn in range(count):
        lengths = 7 + turn // 3 % 3, 7 + turn % 3
        problem, *solved = (Sum(*(number(digits, rng) for digits in lengths)) for _ in range(1 + shots))
        yield problem, solved


def prompt(problem: Sum, solved: list[Sum], how: str) -> str:
    """A few-shot prompt in one of the `FORMATS`: a line `a+b=s` for each solved problem, and `a+b=`."""
    lines = [f"{written(one.a, how)}+{written(one.b, how)}={written(sum(one), how)}\n" for one in solved]
    return "".join(lines) + f"{written(problem.a, how)}+{written(problem.b, how)}="


@dataclass
class Numbers(Segmenter):
    """Digits in chunks of up to four, counted from the left or from the right; the rest as words (P087).

    Digits are 0 to 9 only. A token's number is its bytes, read as one number behind a leading 1, as for words.
    """

    name, title, paper = "numbers", "Words, and numbers in chunks", "P087"
    direction: str = knob("r2l", choices=DIRECTIONS, help="where counting begins")
    size: int = knob(3, 1, 4, unit="digits", help="length of a chunk")

    def cut(self, text):
        pieces: list[str] = []
        for run in DIGITS.findall(text):
            pieces += chunks(run, self.direction, self.size) if run[0] in "0123456789" else WORDS.findall(run)
        return [int.from_bytes(b"\1" + piece.encode()) for piece in pieces]

    def spelling(self, token):
        return token.to_bytes((token.bit_length() + 7) // 8)[1:]
