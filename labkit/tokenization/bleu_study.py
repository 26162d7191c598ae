"""The study of P046: what BLEU counts in one pair of texts, and what counting a batch costs, in tensors and in Python."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from labkit.knobs import knob
from labkit.law import draws
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.tokenization.tensor_bleu import SMOOTHINGS, Counts, ngram_counts, score
from labkit.trace import Step

SIZES = (1, 4, 16, 64, 256, 1024)  # sentences: what is timed
ROUNDS = 5


def grams(tokens: list[int], n: int) -> list[tuple[int, ...]]:
    """The n-grams of a text, in order."""
    return list(zip(*(tokens[start:] for start in range(n))))


def counted_in_python(candidates: list[list[int]], references: list[list[list[int]]], max_n: int) -> Counts:
    """What `ngram_counts` gives, by a loop over the sentences with a Counter each."""
    matches, windows, lengths = [], [], []
    for candidate, others in zip(candidates, references):
        for n in range(1, max_n + 1):
            own, most = Counter(grams(candidate, n)), Counter()
            for other in others:
                most |= Counter(grams(other, n))
            matches.append(sum((own & most).values()))
            windows.append(own.total())
        length = len(candidate)
        lengths.append((length, min((len(other) for other in others), key=lambda theirs: (abs(theirs - length), theirs))))
    own, theirs = torch.tensor(lengths).unbind(1)
    return Counts(torch.tensor(matches).view(-1, max_n), torch.tensor(windows).view(-1, max_n), own, theirs)


def hits(candidate: list[int], reference: list[int], n: int) -> list[bool]:
    """For every n-gram of the candidate: does it count? Of those that are alike only as many as the reference has."""
    left, found = Counter(grams(reference, n)), []
    for gram in grams(candidate, n):
        found.append(left[gram] > 0)
        left[gram] -= found[-1]
    return found


@dataclass
class TensorBleu(Study):
    """How many of a text's n-grams are in another one, and what does it cost to count a batch (P046)?

    The target goes on from held-out code, and BLEU compares what it wrote with what the file says; greedily at temperature 0.
    Then batches of these pairs are scored twice: by tensors, and by a loop over the sentences in Python. The counts must be
    equal. The paper's 13 times (T4) and 40 times (A100) are against NLTK, see `labkit bench tensorbleu`; a loop with nothing but
    counters is faster than NLTK. The model's time is left out; references beyond the first are those of other pairs.
    """

    name, title, paper = "tensorbleu", "BLEU of a batch", "P046"
    charts = ("bleu_tiles", "bleu_time")
    max_n: int = knob(4, 1, 4, label="Longest n-gram", help="BLEU's usual choice is 4")
    smoothing: str = knob("floor", choices=SMOOTHINGS, help="for orders without a match")
    weights: str = knob("equal", choices=("equal", "longest only"), help="of the orders")
    batch: int = knob(1024, 1, 1024, unit="sentences", help="the largest that is timed", scale="log")
    references: int = knob(1, 1, 8, help="a sentence, when timed")
    tokens: int = knob(20, 4, 32, unit="tokens", help="length of a text")
    texts: int = knob(10, 1, 24, help="held-out texts, one a step")

    def steps(self, session, rng):
        pairs: list[tuple[list[int], list[int]]] = []
        sizes = [size for size in SIZES if size < self.batch] + [self.batch]
        notes = {"of": self.texts + len(sizes), "max_n": self.max_n, "smoothing": self.smoothing, "scores": [], "times": []}
        for ids in islice(self._long(session), self.texts):
            other, said = session.open(ids[: -self.tokens]), []
            for _ in range(self.tokens):
                said.append(draws(session.law(other.logits[None]), [0], rng)[0])
                other.push(said[-1])
            pairs.append((said, ids[-self.tokens :]))
            notes |= self._shown(*pairs[-1])
            notes["scores"] = [*notes["scores"], notes["score"]]
            yield Step(emitted=[], notes={**notes, "done": len(pairs)})
        for done, size in enumerate(sizes, len(pairs) + 1):
            notes["times"] = [*notes["times"], self._timed(pairs, size, session.runner.device)]
            yield Step(emitted=[], notes={**notes, "done": done})

    def _long(self, session):
        """Held-out texts with as much before the place where they are cut as behind it."""
        for text in heldout(120):
            ids = session.vocabulary.encode(text)
            if len(ids) >= 2 * self.tokens:
                yield ids

    def _weights(self) -> tuple[float, ...]:
        last = self.max_n - 1
        return (0.0,) * last + (1.0,) if self.weights == "longest only" else (1 / self.max_n,) * self.max_n

    def _shown(self, candidate: list[int], reference: list[int]) -> dict:
        """One pair, n-gram by n-gram."""
        counts = ngram_counts(torch.tensor([candidate]), torch.tensor([[reference]]), self.max_n)
        orders = range(1, self.max_n + 1)
        return {
            "candidate": candidate, "reference": reference, "tokens": [candidate, reference],
            "hits": [hits(candidate, reference, n) for n in orders], "found": [hits(reference, candidate, n) for n in orders],
            "matches": counts.matches[0].tolist(), "windows": counts.windows[0].tolist(),
            "score": score(counts, self._weights(), self.smoothing).item(),
        }  # fmt: skip

    def _timed(self, pairs: list[tuple[list[int], list[int]]], size: int, device: torch.device) -> dict:
        """Medians of a few rounds, in turn; each scores `size` sentences. "equal": are all counts the same?"""
        rows = [pairs[row % len(pairs)][0] for row in range(size)]
        others = [[pairs[(row + k) % len(pairs)][1] for k in range(self.references)] for row in range(size)]
        ids, inner = torch.tensor(rows, device=device), torch.tensor(others, device=device)
        spent: dict[str, list[float]] = {"tensors": [], "python": []}
        for _ in range(ROUNDS):
            began = time.perf_counter()
            fast = ngram_counts(ids, inner, self.max_n)
            score(fast, self._weights(), self.smoothing).sum().item()  # a GPU is waited for
            between = time.perf_counter()
            slow = counted_in_python(rows, others, self.max_n)
            score(slow, self._weights(), self.smoothing).sum().item()
            spent["tensors"].append(between - began)
            spent["python"].append(time.perf_counter() - between)
        same = all(_same(one, two) for one, two in zip(fast, slow))
        return {"sentences": size, "equal": same, **{way: 1e3 * statistics.median(times) for way, times in spent.items()}}


def _same(one: Tensor, two: Tensor) -> bool:
    return torch.equal(one.cpu(), two)
