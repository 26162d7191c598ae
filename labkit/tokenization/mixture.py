"""What a list of BPE merges gives away about the text it was learned from, by a linear programme (P106).

Training always took the commonest pair. So whoever has samples of the categories that the text may have come from can ask, for
every merge: under which mixture of them was this pair the commonest? The programme looks for the mixture that has to explain
the least away. Rates are occurrences in a megabyte; alpha is each category's share of the bytes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from labkit.tokenization.bpe import Corpus, Pair, Word, base_bytes, words

WHOLE = 10**15  # weights are whole parts of this, so that the trainer's counts are exact
MEGABYTE = 1_000_000
PER_MERGE = 10  # constraints that one merge may add in a round
TOLERANCE = 1e-6  # occurrences in a megabyte; below, a constraint holds


def sample(texts: list[str], pattern: str) -> Counter[Word]:
    """How often each pre-token occurs in a category's texts, as single bytes."""
    return Counter({base_bytes(word): count for word, count in words(texts, pattern).items()})


def size(found: Counter[Word]) -> int:
    """A sample's bytes."""
    return sum(count * len(word) for word, count in found.items())


def mixed(samples: list[Counter[Word]], alpha: list[float]) -> Counter[Word]:
    """One text of all the samples, in which category i has the share alpha_i of the bytes: weights instead of counts."""
    whole: Counter[Word] = Counter()
    for found, share in zip(samples, alpha):
        weight = round(share * WHOLE / size(found))
        whole.update({word: weight * count for word, count in found.items() if weight})
    return whole


class History:
    """The count of every pair in every category before each merge, kept as changes from one merge to the next."""

    def __init__(self, samples: list[Counter[Word]], merges: list[Pair]):
        self.merges = merges
        self.index: dict[Pair, int] = {}
        self.megabytes = np.array([size(found) for found in samples]) / MEGABYTE
        self._corpora = [Corpus(found) for found in samples]
        self._changes = [self._noted([corpus.counts for corpus in self._corpora])]
        self.winners: list[int] = []

    def record(self) -> Iterator[int]:
        """Apply the merges to every sample, one after the other; yields how many are done."""
        for number, pair in enumerate(self.merges, 1):
            self.winners.append(self.index.setdefault(pair, len(self.index)))
            self._changes.append(self._noted([corpus.merge(pair) for corpus in self._corpora]))
            yield number

    def _noted(self, changes: list[dict[Pair, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows, columns, values = [], [], []
        for category, changed in enumerate(changes):
            rows += [self.index.setdefault(pair, len(self.index)) for pair in changed]
            columns += [category] * len(changed)
            values += changed.values()
        return np.array(rows, dtype=int), np.array(columns, dtype=int), np.array(values, dtype=float) / self.megabytes[columns]

    def rates(self, first: int = 0, last: int | None = None) -> Iterator[np.ndarray]:
        """How often each pair occurs in each category, before each merge from `first` up to `last` (None = all recorded).

        [pairs, categories], one array that is changed on and on.
        """
        found = np.zeros((len(self.index), len(self.megabytes)))
        for number, (rows, columns, values) in enumerate(self._changes[: len(self.winners) if last is None else last]):
            found[rows, columns] += values
            if number >= first:
                yield found


@dataclass
class Guess:
    """A mixture, and what it leaves unexplained."""

    alpha: np.ndarray  # [categories], on the simplex
    merge_slack: np.ndarray  # [merges]
    pair_slack: np.ndarray  # [pairs]
    objective: float  # the sum of all slack, in occurrences a byte
    constraints: int


def infer(history: History, merges: int | None = None) -> Iterator[Guess]:
    """The attack on the first `merges` merges: guesses, the last of which is the answer.

    Minimise the slack such that for every merge m_t and pair p: sum_i alpha_i (rate_i(m_t) - rate_i(p)) + v_t + u_p >= 0. The
    constraints are found as they are needed: those that the current guess breaks most, up to `PER_MERGE` a merge and round;
    the first guess is an even mixture, and the answer if it breaks none.
    The release adds at most 100 a round and solves more often.
    """
    count, kinds = merges or len(history.winners), len(history.megabytes)
    guess = Guess(np.full(kinds, 1 / kinds), np.zeros(count), np.zeros(len(history.index)), 0.0, 0)
    rows: dict[tuple[int, int], np.ndarray] = {}
    while broken := {place: row for place, row in violated(history, guess) if place not in rows}:
        rows |= broken
        guess = solve(rows, count, len(history.index), kinds)
        yield guess
    if not rows:
        yield guess


def violated(history: History, guess: Guess, most: int = PER_MERGE) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """((merge, pair), rate of the merge minus rate of the pair by category) of the constraints that the guess breaks most."""
    count = len(guess.merge_slack)
    for number, rates in enumerate(history.rates(last=count)):
        winner = history.winners[number]
        scores = rates @ guess.alpha
        excess = scores - scores[winner] - guess.merge_slack[number] - guess.pair_slack
        excess[winner] = -math.inf
        worst = np.argpartition(excess, -most)[-most:] if len(excess) > most else np.arange(len(excess))
        for pair in worst[excess[worst] > TOLERANCE].tolist():
            yield (number, pair), rates[winner] - rates[pair]


def solve(rows: dict[tuple[int, int], np.ndarray], merges: int, pairs: int, kinds: int) -> Guess:
    """The linear programme with these constraints, by HiGHS: variables are alpha, v of each merge, u of each pair in a row."""
    from scipy.optimize import linprog  # slow to import
    from scipy.sparse import coo_array

    used = {pair: place for place, pair in enumerate(sorted({pair for _, pair in rows}))}
    differences = np.array(list(rows.values())).reshape(len(rows), kinds)
    lines = np.arange(len(rows))
    slack = [merge for merge, _ in rows], [merges + used[pair] for _, pair in rows]
    width = kinds + merges + len(used)
    entries = np.concatenate([differences.ravel(), np.ones(2 * len(rows))])
    places = np.concatenate([np.tile(np.arange(kinds), len(rows)), kinds + np.array(slack, dtype=int).ravel()])
    matrix = coo_array((-entries, (np.concatenate([np.repeat(lines, kinds), lines, lines]), places)), (len(rows), width))
    whole = np.concatenate([np.ones(kinds), np.zeros(width - kinds)])
    found = linprog(
        1 - whole,
        A_ub=matrix.tocsr(),
        b_ub=np.zeros(len(rows)),
        A_eq=whole[None],
        b_eq=[1.0],
        method="highs",
    )
    alpha, merge_slack = found.x[:kinds], found.x[kinds : kinds + merges]
    pair_slack = np.zeros(pairs)
    pair_slack[list(used)] = found.x[kinds + merges :]
    return Guess(alpha, merge_slack, pair_slack, found.fun / MEGABYTE, len(rows))
