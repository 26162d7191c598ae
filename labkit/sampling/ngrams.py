"""P(next | the last one to five tokens), counted in the training text: what tells superposed drafts (P171) apart again."""

from __future__ import annotations

import torch
from torch import Tensor

from labkit import parts

PART = "ngrams-super"
LONGEST = 5  # tokens of the longest context


class NGrams:
    """Bigrams to six-grams, each order a list of contexts sorted by key, and behind every context the tokens that follow it.

    A context of m tokens is found by its key: the row of its last m - 1 tokens, times the vocabulary, plus its first token.
    A context of one token has that token's row.
    """

    def __init__(self, part: dict[str, Tensor]):
        """`part`: what `labkit.train.ngrams_super` wrote."""
        self.vocabulary = len(part["sizes_1"])
        self.keys = {m: part[f"keys_{m}"].long() for m in range(2, LONGEST + 1)}  # [C] ascending
        self.sizes = {m: part[f"sizes_{m}"].long() for m in range(1, LONGEST + 1)}  # [C]
        self.starts = {m: sizes.cumsum(0) - sizes for m, sizes in self.sizes.items()}
        self.tokens = {m: part[f"tokens_{m}"].long() for m in range(1, LONGEST + 1)}  # [N], row after row
        self.chances = {m: part[f"chances_{m}"] for m in range(1, LONGEST + 1)}  # [N]

    def mixed(self, contexts: Tensor, weights: tuple[float, ...]) -> Tensor:
        """sum over m of weights[m - 1] * P(next | last m tokens), [n, V]; a context that was not counted adds nothing.

        `contexts` [n, LONGEST]: the last tokens, the newest last; -1 before the text's beginning.
        """
        mass = torch.zeros(len(contexts), self.vocabulary, device=contexts.device)
        rows, known = contexts[:, -1], contexts[:, -1] >= 0
        for m, weight in enumerate(weights, 1):
            if m > 1:
                keys, first = self.keys[m], contexts[:, -m]
                sought = rows * self.vocabulary + first
                rows = torch.searchsorted(keys, sought).clamp(max=len(keys) - 1)
                known = known & (first >= 0) & (keys[rows] == sought)
            sizes = self.sizes[m][rows] * known
            owners = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), sizes)
            places = torch.arange(len(owners), device=rows.device) - (sizes.cumsum(0) - sizes)[owners]
            entries = self.starts[m][rows][owners] + places
            mass.index_put_((owners, self.tokens[m][entries]), weight * self.chances[m][entries], accumulate=True)
        return mass


def counted(session) -> NGrams:
    """The table of the session's vocabulary, loaded once a target. Raises `ModelError` when there is none."""
    if PART not in session.memory:
        session.memory[PART] = NGrams(parts.load(PART, session.runner))
    return session.memory[PART]
