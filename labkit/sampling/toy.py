"""A language model of four letters, small enough that every text can be counted: the trap in which masking walks."""

from __future__ import annotations

import torch
from torch import Tensor

from labkit.law import Law
from labkit.lm import Session
from labkit.sampling.constraints import Judge
from labkit.sampling.shipped_constraints import Regex

SPELLINGS = [b"", b"", b"a", b"b", b"c", b"d"]  # the end, the start, four letters
END, START, A, B, C, D = range(6)


class Places:
    """A cache that only counts."""

    bytes, rows = 0, 1

    def __init__(self, length: int = 0):
        self.length = length

    def keep(self, length: int, rows: list[int]) -> None:
        self.length = length + len(rows)

    def fork(self) -> Places:
        return Places(self.length)


class Trap:
    """A runner whose next token hangs on the last one: a (probability `likely`) or b, then c or d, then the end.

    Texts must end with c. Behind b it has probability `open`, behind a only `left`: a is the branch that looks good and has
    next to nothing behind it.
    """

    device, dtype, context, depth, vocabulary = torch.device("cpu"), torch.float64, 64, 1, len(SPELLINGS)

    def __init__(self, likely: float = 0.9, left: float = 0.01, open: float = 0.9):
        self.likely, self.left, self.open = likely, left, open
        self.table = torch.zeros(len(SPELLINGS), len(SPELLINGS), dtype=torch.float64)
        self.table[START, A], self.table[START, B] = likely, 1 - likely
        self.table[A, C], self.table[A, D] = left, 1 - left
        self.table[B, C], self.table[B, D] = open, 1 - open
        self.table[[C, D, END], END] = 1.0

    def new_cache(self) -> Places:
        return Places()

    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor | None, cache: Places, first: int, hidden: bool):
        cache.length += len(ids)
        return self.table[ids[first:]].log(), None

    def session(self) -> Session:
        """At temperature 1, behind the start."""
        return Session(self, [START], Law())

    def judge(self) -> Judge:
        """Who asks whether a text ends with c."""
        return Judge(Regex("[ab]c"), SPELLINGS, {END})

    @property
    def mass(self) -> float:
        """Z: the probability that a text obeys."""
        return self.likely * self.left + (1 - self.likely) * self.open

    @property
    def share(self) -> float:
        """The share of "ac" among the texts that obey; masking writes it with probability `likely`."""
        return self.likely * self.left / self.mass
