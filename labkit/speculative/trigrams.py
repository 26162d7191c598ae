"""P(next | the last two tokens): counted in a corpus, corrected while decoding. What ADED (P113) keeps in the target's stead."""

from __future__ import annotations

from array import array
from bisect import bisect_left

import torch
from torch import Tensor

from labkit import parts
from labkit.law import entropy

PART = "ngrams"
WIDTH = 12  # continuations a row keeps
LEFT = 0.01  # the least mass that a row is taken to leave to all other tokens, when laws are compared

Pair = tuple[int, int]
Row = tuple[list[int], list[float]]  # tokens and their probabilities, likeliest first; they sum to 1 or less
NOTHING: Row = ([], [])


class Counted:
    """The trained table, never written to and shared by all runs: rows of pairs and, behind them, rows of single tokens."""

    def __init__(self, part: dict[str, Tensor]):
        """`part`: what `labkit.train.ngrams` wrote."""
        self.vocabulary = len(part["after_one"])
        self.pairs = array("q", part["pairs"].tolist())  # u * vocabulary + v, ascending
        self.starts = array("i", [0, *part["sizes"].cumsum(0).tolist()])
        self.tokens = array("i", part["tokens"].tolist())
        self.chances = array("f", part["chances"].tolist())
        self.singles: list[Row] = []
        for tokens, chances in zip(part["after_one"].tolist(), part["after_one_chances"].tolist()):
            size = sum(chance > 0 for chance in chances)
            self.singles.append((tokens[:size], chances[:size]))

    def row(self, u: int, v: int) -> Row:
        """What follows `u v` in the corpus, or `v` alone where the pair is not in the table."""
        pair = u * self.vocabulary + v
        at = bisect_left(self.pairs, pair)
        if at == len(self.pairs) or self.pairs[at] != pair:
            return self.singles[v]
        start, end = self.starts[at], self.starts[at + 1]
        return self.tokens[start:end].tolist(), self.chances[start:end].tolist()


def counted(session) -> Counted:
    """The table of the session's vocabulary, loaded once a target. Raises `ModelError` when there is none."""
    if PART not in session.memory:
        session.memory[PART] = Counted(parts.load(PART, session.runner))
    return session.memory[PART]


class TriGrams:
    """One run's table: the rows it learned lie over the counted ones, so that no run sees another's."""

    def __init__(self, below: Counted | None):
        """`below`: what was counted; None = nothing is known at first."""
        self.below = below
        self.learned: dict[Pair, Row] = {}

    def row(self, u: int, v: int) -> Row:
        """What may follow `u v`, as far as is known."""
        row = self.learned.get((u, v))
        if row is not None:
            return row
        return self.below.row(u, v) if self.below else NOTHING

    def learn(self, pairs: list[Pair], laws: Tensor, rate: float) -> list[float]:
        """P <- (1 - rate) P + rate p for every pair, the likeliest `WIDTH` kept; p is its row of `laws` [len(pairs), V].

        Returns KL(p || P) of every pair before that, in nats.
        """
        before = [self.row(*pair) for pair in pairs]
        tokens, chances = (
            torch.tensor([row[side] + [0] * (WIDTH - len(row[side])) for row in before], dtype=dtype, device=laws.device)
            for side, dtype in enumerate((torch.long, laws.dtype))
        )
        own = laws.gather(1, tokens)  # [len(pairs), WIDTH], p of the tokens that a row names
        if rate:
            best = laws.topk(min(WIDTH, laws.shape[-1]))
            found = zip(pairs, before, own.tolist(), best.indices.tolist(), best.values.tolist())
            self.learned.update((pair, mixed(row, of_row, names, top, rate)) for pair, row, of_row, names, top in found)
        return divergence(chances, own, laws).tolist()


def mixed(row: Row, own: list[float], names: list[int], best: list[float], rate: float) -> Row:
    """(1 - rate) P + rate p. `own`: p of the row's tokens; `names`, `best`: p's likeliest tokens and their probabilities."""
    chances = {token: rate * p for token, p in zip(names, best)}
    for token, chance, p in zip(*row, own):
        chances[token] = (1 - rate) * chance + rate * p
    order = sorted(chances, key=chances.get, reverse=True)[:WIDTH]
    order = [token for token in order if chances[token] > 0]  # p is 0 where a transform cut it off
    return order, [chances[token] for token in order]


def divergence(chances: Tensor, own: Tensor, laws: Tensor) -> Tensor:
    """KL(p || P) in nats, [n]. `chances` [n, WIDTH]: P of the tokens that a row names, then zeros; `own`: p of the same tokens;
    `laws` [n, V]: p.

    What a row leaves of 1 (`LEFT` at least) is spread evenly over the tokens that it does not name.
    """
    tiny = torch.finfo(laws.dtype).tiny
    named, mass = chances > 0, chances.sum(1)
    own, others = own * named, laws.shape[-1] - named.sum(1)
    left = torch.where(others > 0, (1 - mass).clamp(min=LEFT), 0.0)
    scaled = chances * ((1 - left) / mass.clamp(min=tiny))[:, None]
    even = left / others.clamp(min=1)
    known = (own * scaled.clamp(min=tiny).log()).sum(1)
    unknown = torch.where(others > 0, (1 - own.sum(1)).clamp(min=0) * even.clamp(min=tiny).log(), 0.0)
    return (-known - unknown - entropy(laws)).clamp(min=0)
