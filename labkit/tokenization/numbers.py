"""Which way numbers are cut into tokens (P087): left to right, as digits are read, or right to left, as sums are done."""

from __future__ import annotations

import re
from dataclasses import dataclass

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


def grows(a: int, b: int) -> bool:
    """Is the sum one digit longer than both? The paper calls this a length mismatch."""
    return len(str(a + b)) > len(str(max(a, b)))


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
