"""What policies that forget have in common: a budget of slots, and an order by which slots stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from labkit.attention.ground import Policy
from labkit.attention.slots import Slots
from labkit.knobs import knob


@dataclass
class Budgeted(Policy):
    """Keeps a share of the prompt's length, and as many slots from then on; in every layer and head.

    A subclass says in which `order` slots stay. After the prompt the lowest go; after each further token one more.
    """

    whole = {"budget": 1.0}
    budget: float = knob(0.2, 0.02, 1.0, unit="of the prompt", help="slots kept, as a share of the prompt", step=0.01)

    def begin(self, spec):
        super().begin(spec)
        self.size: int | None = None  # slots, once the prompt is read

    def order(self, layer: int, slots: Slots) -> Tensor:
        """A number for each slot [kv_heads, N]: the highest stay."""
        raise NotImplementedError

    def slots_kept(self, prompt: int) -> int:
        """The budget in slots behind a prompt of that many tokens."""
        return max(1, round(self.budget * prompt))

    def limit(self, layer):
        return self.size if self.budget < 1 else None

    def evict(self, layer, prompt):
        slots = self.slots[layer]
        if self.size is None and prompt and layer == 0:
            self.size = self.slots_kept(slots.length)
        if self.budget < 1 and self.size is not None and slots.length > self.size:
            slots.keep(self.order(layer, slots).topk(self.size, -1).indices.sort(-1).values)


@dataclass
class Scored(Policy):
    """Sums beside every slot the attention it was given: "score", over all queries and the query heads that share its head."""

    summed = True  # sums are enough
    beside: ClassVar[tuple[str, ...]] = ("score",)  # numbers kept for each slot, 0 for a new one

    def begin(self, spec):
        super().begin(spec)
        for slots in self.slots:
            for name in self.beside:
                slots.add(name, torch.empty(spec.kv_heads, dtype=torch.float32, device=spec.device))

    def observe(self, layer, query, probs, selection):
        self.slots[layer]["score"][:] += probs.sum((1, 2))
