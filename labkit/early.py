"""Early exits: tokens that went through the first layers only, and go through the others later, all at once.

What the first layers computed is kept: their hidden states here, their keys and values in the cache's own rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from labkit.errors import ModelError
from labkit.ledger import Ledger
from labkit.llama import LlamaRunner
from labkit.trace import Tree


def exits(runner) -> int:
    """How many exits a model has: one behind each of its layers, the last one included.

    Raises `ModelError` for a model that does not run in the lean forward, the only one that can stop between layers.
    """
    if not isinstance(runner, LlamaRunner):
        raise ModelError("Only models of the Llama family (Llama, Mistral, Qwen2) can exit early here: choose such a target.")
    return runner.depth


class EarlyChain:
    """A chain `tree` behind the cache and `lead` committed tokens, drafted by the first `layer` layers (1 to L - 1).

    `draft` feeds what is new of it, `finish` takes all of it through the other layers, so that no layer runs twice.
    """

    def __init__(self, runner, cache, tree: Tree, layer: int, lead: list[int]):
        exits(runner)
        self.runner, self.cache, self.tree, self.layer = runner, cache, tree, layer
        self.base, self.lead = cache.length, lead
        self.trails: list[Tensor] = []  # [layer + 1, n, d] of every feed

    def draft(self, ledger: Ledger) -> Tensor:
        """The newest tokens through the first layers; what the last of these says behind the last token, logits [V]."""
        fed = self.cache.length - self.base
        tokens = len(self.lead) + len(self.tree.tokens) - fed
        with ledger.forward(self.runner, tokens, self.layer, self.cache.length + tokens):
            return self.runner.speak(self._feed()[-1])

    def finish(self, ledger: Ledger) -> tuple[Tensor, Tensor]:
        """Everything through the other layers: logits [N+1, V] and hidden [L+1, N+1, d] of the root and the nodes."""
        tokens, first = len(self.lead) + len(self.tree.tokens), len(self.lead) - 1
        unfed = self.base + tokens > self.cache.length  # the newest token was drafted, but nobody drafted behind it
        layers = self.runner.depth - (0 if unfed else self.layer)
        with ledger.forward(self.runner, tokens, layers, self.base + tokens):
            if unfed:
                self._feed()
            trail = list(torch.cat(self.trails, 1))
            self._through(range(self.layer, self.runner.depth), self.base, trail)
            return self.runner.speak(trail[-1][first:]), torch.stack(trail)[:, first:]

    def _feed(self) -> Tensor:
        past = self.cache.length
        unfed = [*self.lead, *self.tree.tokens][past - self.base :]
        trail = [self.runner.embedding[torch.tensor(unfed, device=self.runner.device)]]
        self._through(range(self.layer), past, trail)
        self.trails.append(torch.stack(trail))
        return trail[-1]

    def _through(self, layers: range, past: int, trail: list[Tensor]) -> None:
        states = trail[-1]  # [n, d]
        positions = torch.arange(past, past + len(states), device=self.runner.device)
        self.runner.through(layers, states, positions, None, self.cache, past, trail)
