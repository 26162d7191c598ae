"""P024 Double Sparsity: a few channels of the keys are enough to find the tokens worth reading."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.attention.codes import packed
from labkit.attention.ground import Policy, Selection
from labkit.kernels.labels import best, label_scores
from labkit.knobs import knob
from labkit.prompts import heldout

CRITERIA = ("qk", "q", "k", "random", "oracle")
BLOCKS, BLOCK = 24, 256  # calibration: texts, and tokens of each


@dataclass
class DoubleSparsity(Policy):
    """Score every token by a few channels of its key, then attend to the best ones exactly; nothing is forgotten (P024).

    Offline, the channels c of each key head are ranked by the mean of |q_c k_c| over calibration texts; the `channels` first of
    every key are stored once more as its label, in `bits` bits (one minimum and one step a label). A step multiplies the query's
    channels with all labels, takes the `share` best tokens a head, and reads only their keys and values. No sink and no window is
    forced. Calibrated on held-out prompts, behind the rotation, averaged over all blocks (the released hook keeps only the last
    block). `criterion` "oracle" ranks tokens by the true scores; "random" takes channels by lot. The prompt is read densely, as
    in the paper; the offloading to host memory is left out.
    """

    name, title, paper = "double-sparsity", "Double Sparsity", "P024"
    leaf = "select"
    whole = {"share": 1.0}
    indexed = True
    share: float = knob(0.125, 0.01, 1.0, unit="of the tokens", help="tokens read", step=0.005)
    channels: int = knob(16, 1, 64, unit="channels", help="of a key that make its label")
    bits: str = knob("4", choices=("whole", "8", "4", "2"), help="for each number of a label")
    criterion: str = knob("qk", choices=CRITERIA, help="what ranks the channels")

    def prepare(self, session):
        self.ranking = ranked(session, self.criterion)

    def begin(self, spec):
        super().begin(spec)
        width = min(self.channels, spec.size)
        ranking = getattr(self, "ranking", None)
        if ranking is None:  # nothing was calibrated: the first channels of all heads
            ranking = torch.arange(spec.size).expand(spec.layers, spec.kv_heads, -1)
        self.chosen = ranking[:, :, :width].to(spec.device)  # [layers, kv_heads, r]

    def append(self, layer, keys, values, positions):
        label = keys.gather(2, self.chosen[layer][:, None].expand(-1, keys.shape[1], -1))
        self.slots[layer].append(positions, keys=keys, values=values, **quantised(label, self.bits))

    def select(self, layer, query, positions):
        slots = self.slots[layer]
        count = max(1, round(self.share * slots.length))
        if query.shape[2] > 1 or count >= slots.length:
            return None
        self.taken += slots.bytes(*slots.extras)
        if self.criterion == "oracle":
            return Selection(best((query @ slots.keys[:, None].transpose(2, 3)).sum((1, 2)), count))
        part = query.sum((1, 2)).gather(1, self.chosen[layer])  # scores are summed over the query heads
        return Selection(best(label_scores(part, {name: slots[name] for name in slots.extras}, self.bits), count))


def ranked(session, criterion: str) -> Tensor:
    """The channels of each key head, most telling first, [layers, kv_heads, size]; kept for the model's next runs."""
    kept = session.memory.setdefault("double-sparsity", {})
    if criterion not in kept:
        meter = Meter("k" if criterion == "oracle" else criterion)
        for text in heldout(1 if criterion == "random" else BLOCKS):
            other = session.aside()
            if session.vocabulary and criterion != "random":
                other.ids = session.vocabulary.encode(text)[:BLOCK]
            other.carry(session.runner.policy_cache(meter))
            _ = other.logits
        kept[criterion] = meter.sums.argsort(-1, descending=True)
    return kept[criterion]


class Meter(Policy):
    """Reads texts and sums, for every channel, how much it says: |q_c k_c|, |q_c| or |k_c| of the same token."""

    def __init__(self, criterion: str):
        super().__init__()
        self.criterion, self.sums = criterion, None

    def begin(self, spec):
        super().begin(spec)
        if self.sums is None:
            self.sums = torch.zeros(spec.layers, spec.kv_heads, spec.size, dtype=torch.float64)
            if self.criterion == "random":
                self.sums = torch.rand(self.sums.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def attend(self, layer, query, keys, values, positions):
        if self.criterion != "random":
            grouped = query.unflatten(1, (keys.shape[1], -1)).sum(2)  # [n, kv_heads, size]
            said = {"qk": grouped * keys, "q": grouped, "k": keys}[self.criterion]
            self.sums[layer] += said.abs().sum(0).double().cpu()
        return super().attend(layer, query, keys, values, positions)


def quantised(label: Tensor, bits: str) -> dict[str, Tensor]:
    """Labels [kv_heads, n, r] as they are stored: whole as the keys are, else codes packed into bytes with minimum and step."""
    if bits == "whole":
        return {"label": label}
    bits = int(bits)
    low, high = label.amin(-1, keepdim=True), label.amax(-1, keepdim=True)
    step = ((high - low) / (2**bits - 1)).half().to(label.dtype).clamp(min=2**-14)
    low = low.half().to(label.dtype)
    codes = ((label - low) / step).round().clamp(0, 2**bits - 1).byte()
    return {"label": packed(codes, bits), "low": low.half(), "step": step.half()}
