"""P054 H2O: keep the recent tokens and the heavy hitters, those that attention has given most."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.attention.budget import Scored
from labkit.knobs import knob


@dataclass
class H2O(Scored):
    """Keep the newest tokens and those that have drawn most attention; after each new token the lightest old one goes (P054).

    o_j = the sum of the attention probabilities that position j was given, over all queries that saw it and over the query heads
    that share its key-value head. Behind the prompt the `heavy` highest stay beside the `recent` newest; then every step adds its
    row to the scores and evicts the single lowest outside the recent ones. An evicted token never returns.
    `score`: "sum" is the paper's; "normalised" divides by the number of queries that saw the slot (P049), so that old tokens
    do not win by age; "last" counts the last query only. Grouped heads: the paper has one query head each; we sum (inferred).
    """

    name, title, paper = "h2o", "H2O", "P054"
    leaf = "evict"
    whole = {"heavy": 0.5, "recent": 0.5}
    beside = ("score", "queries")
    heavy: float = knob(0.1, 0.0, 0.5, unit="of the prompt", help="heavy hitters", step=0.01)
    recent: float = knob(0.1, 0.0, 0.5, unit="of the prompt", help="newest tokens", step=0.01)
    score: str = knob("sum", choices=("sum", "normalised", "last"), help="what makes a slot heavy")
    spare_first: bool = knob(False, label="Spare layer 0", help="it keeps everything")

    def begin(self, spec):
        super().begin(spec)
        self.sizes: tuple[int, int] | None = None  # heavy and recent slots, once the prompt is read
        self.summed = self.score != "last"

    def limit(self, layer):
        spared = self.sizes is None or self.heavy + self.recent >= 1 or (self.spare_first and layer == 0)
        return None if spared else max(sum(self.sizes), 1)

    def observe(self, layer, query, probs, selection):
        slots = self.slots[layer]
        if self.score == "last":
            slots["score"][:] = probs[:, :, -1].sum(1)
        else:
            super().observe(layer, query, probs, selection)
        slots["queries"][:] = slots.positions[:, -1:] + 1 - slots.positions  # its own, and all behind it

    def evict(self, layer, prompt):
        slots = self.slots[layer]
        if self.sizes is None:
            if not prompt:
                return
            self.sizes = tuple(round(share * slots.length) for share in (self.heavy, self.recent))
        most, recent = self.limit(layer), self.sizes[1]
        if most is None or slots.length <= most:
            return
        weight = slots["score"] / slots["queries"].clamp(min=1) if self.score == "normalised" else slots["score"].clone()
        if newest := max(recent, most - self.sizes[0]):
            weight[:, -newest:] = float("inf")
        slots.keep(weight.topk(most, -1).indices.sort(-1).values)
