"""Many answers to small problems written side by side: LLaDA's loop with its three rules, on rows instead of one text.

`labkit.diffusion.masked` is the same loop for one text, with blocks. Here the static rule makes exactly k tokens final in every
round and the rest in the last one, where LLaDA spreads what is over: 4 + 2, not 3 + 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.diffusion.lists import HEAD, MASK, Tokens, length
from labkit.ledger import Ledger

ORDERS = ("random", "confidence", "left-to-right")
ROUNDING = 1e-6  # 1 - 1/10 is not 0.9 to the last bit


@dataclass
class Writer:
    """How an answer is written. `draw`: tokens are drawn from their laws (temperature 1), else the likeliest is taken.

    A place is as confident as its likeliest token, also where another one is drawn: so no rule picks among what was drawn.
    """

    rule: str = "static"
    tokens: int = 1  # static: of a round
    order: str = "random"  # static: which come first
    tau: float = 0.9
    factor: float = 1.0
    draw: bool = True

    def __call__(self, network, problems: list[Tokens], rng: torch.Generator, ledger: Ledger) -> tuple[Tensor, Tensor]:
        """(answers [B, Y], rounds [B]) of problems whose answers are equally long, by a network called like a `MaskPredictor`."""
        size = length(problems[0])
        ids = torch.tensor([[*problem, *[MASK] * size] for problem in problems])
        rounds = torch.zeros(len(ids), dtype=torch.long)
        while (open := (ids == MASK).any(1)).any():
            logits = network(ids[open].to(network.device), ledger)[:, HEAD:].cpu()
            made, laws = ids[open, HEAD:], logits.softmax(-1)
            tokens = self.pick(laws, rng)
            final = self.select(laws.amax(-1), made == MASK, rng)
            ids[open, HEAD:] = torch.where(final, tokens, made)
            rounds += open
        return ids[:, HEAD:], rounds

    def pick(self, laws: Tensor, rng: torch.Generator) -> Tensor:
        """A token for every place of laws [B, Y, V]."""
        return torch.multinomial(laws.flatten(0, 1), 1, generator=rng).view(laws.shape[:-1]) if self.draw else laws.argmax(-1)

    def select(self, confidence: Tensor, masked: Tensor, rng: torch.Generator) -> Tensor:
        """Which masked places [B, Y] become final: at least one of each row; of equally sure ones the earlier."""
        if self.rule == "static" and self.order == "random":
            confidence = torch.rand(confidence.shape, generator=rng)
        elif self.rule == "static" and self.order == "left-to-right":
            confidence = -torch.arange(confidence.shape[1]).expand(confidence.shape).float()
        best = confidence.masked_fill(~masked, float("-inf")).sort(descending=True, stable=True)
        if self.rule == "static":
            count = torch.full((len(masked), 1), self.tokens)
        elif self.rule == "threshold":
            count = (best.values >= self.tau - ROUNDING).sum(1, keepdim=True)
        else:
            n = torch.arange(1, masked.shape[1] + 1)
            count = (n * ((n + 1) * (1 - best.values) < self.factor)).amax(1, keepdim=True)
        return masked & (best.indices.argsort(-1) < count.clamp(min=1))
