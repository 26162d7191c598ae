"""Language models that are a table: the next token hangs on the last one only. Laws of whole texts can be written down."""

from __future__ import annotations

import torch
from torch import Tensor

from labkit.lm import Session


class Rows:
    """A cache that only counts."""

    bytes, rows = 0, 1

    def __init__(self):
        self.length = 0

    def keep(self, length: int, rows: list[int]) -> None:
        self.length = length + len(rows)

    def fork(self) -> Rows:
        twin = Rows()
        twin.length = self.length
        return twin


class Bigrams:
    """A runner over random log-probabilities [V, V] of `seed`; `like` + noise makes a draft that is often right."""

    device, dtype, context, depth = torch.device("cpu"), torch.float64, 512, 1

    def __init__(self, vocabulary: int, seed: int, like: Bigrams | None = None, noise: float = 1.0):
        rng = torch.Generator().manual_seed(seed)
        table = noise * torch.randn(vocabulary, vocabulary, generator=rng, dtype=torch.float64)
        self.vocabulary, self.table = vocabulary, table if like is None else like.table + table

    def new_cache(self) -> Rows:
        return Rows()

    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor | None, cache: Rows, first: int, hidden: bool):
        cache.length += len(ids)
        return self.table[ids[first:]], None


def law_of_texts(model: Bigrams, start: int, tokens: int, law) -> dict[tuple[int, ...], float]:
    """The probability of every text of `tokens` tokens behind `start`."""
    texts = {(): 1.0}
    for _ in range(tokens):
        grown = {}
        for text, weight in texts.items():
            p = law(model.table[text[-1] if text else start]).tolist()
            grown.update({(*text, token): weight * share for token, share in enumerate(p)})
        texts = grown
    return texts


def session(target: Bigrams, draft: Bigrams, start: int, law, memory: dict) -> Session:
    return Session(target, [start], law, Session(draft, [start], law), memory)
