"""From logits to the law a token is drawn from: temperature first, then the transforms in their order."""

from __future__ import annotations

import dataclasses
from typing import Callable, Sequence

import torch
from torch import Tensor

from labkit.errors import LabError

NOT_NUMBERS = "The model's logits are not numbers (NaN): load it in another dtype or choose another model."


@dataclasses.dataclass(frozen=True)
class Law:
    """Temperature, then a stack of transforms. Temperature 0 is greedy: the law is 1 at the argmax and 0 elsewhere."""

    temperature: float = 1.0
    transforms: Sequence[Callable[[Tensor], Tensor]] = ()

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    def __call__(self, logits: Tensor) -> Tensor:
        """Probabilities [..., V] of `logits` [..., V], in the same dtype."""
        if self.greedy:
            return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
        if self.temperature != 1:
            logits = logits / self.temperature
        for transform in self.transforms:
            logits = transform(logits)
        return logits.softmax(-1)

    def heated(self, factor: float) -> Law:
        """The same law with its temperature multiplied by `factor`."""
        return self if factor == 1 else dataclasses.replace(self, temperature=self.temperature * factor)


def draw(law: Tensor, rng: torch.Generator) -> int:
    """One token from `law` [V] (it need not sum to 1), by one uniform number: the place where the running sum passes it.

    Works on any device with the generator on the CPU, so that the same seed gives the same coins everywhere.
    Raises `LabError` when the law holds a NaN.
    """
    running = law.cumsum(-1, dtype=torch.float64)
    coin = torch.rand((), generator=rng, dtype=torch.float64).item()
    place = int(torch.searchsorted(running, coin * running[-1], right=True))
    if place == law.shape[-1]:  # no running sum passes a coin that is below all of them, unless they are no numbers
        raise LabError(NOT_NUMBERS)
    return place


def entropy(law: Tensor) -> Tensor:
    """Entropy in nats over the last axis of `law` [..., V]; 0 ln 0 = 0."""
    return torch.special.entr(law).sum(-1)
