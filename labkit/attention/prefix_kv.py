"""P153 PrefixKV: one line across the layers' curves of attention says how many tokens each layer keeps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Iterator, NamedTuple

import torch
from torch import Tensor

from labkit.attention.budget import Budgeted, Scored
from labkit.knobs import knob
from labkit.train.corpus import training_library

HALVINGS = 60  # at most; the release has no limit, and where curves tie it may search for ever
NEAR = 5  # tokens: a search ends when it drops fewer too many or too few than that (as in the release)
BEHIND = 25  # the slot removed while decoding stands so many before the end of the kept prompt (from Elastic Cache)
TEXTS, LENGTH = 10, 512  # calibration: texts, and tokens of each; ten texts in the paper (inferred)
EVERY = 40  # calibration texts come from one file in so many of the standard library
STEEPEST = 20  # the pyramid's top layer keeps this part of the mean (PyramidKV, Cai et al. 2024)

SPLITS = ("PrefixKV", "uniform", "pyramid")


class Halving(NamedTuple):
    """A step of the search: the line p, the n_l tokens by which each layer reaches it, and how many each layer then drops."""

    p: float
    counts: list[int]
    dropped: list[int]


def curves_of(scores: Tensor) -> Tensor:
    """C_l(n), the share of attention that the n best tokens of each layer hold: [layers, N] of scores of the same shape."""
    best = scores.double().sort(-1, descending=True).values.cumsum(-1)
    return best / best[:, -1:]


def halvings(curves: Tensor, target: int, protected: int) -> Iterator[Halving]:
    """Search the line p at which the layers together drop about `target` tokens; `protected` tokens a layer come on top.

    Each layer keeps the smallest n with C_l(n) >= p. Ends within `NEAR` tokens of the target, or after `HALVINGS` steps.
    """
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        p = (low + high) / 2
        line = torch.full((len(curves), 1), p, dtype=curves.dtype, device=curves.device)
        counts = torch.searchsorted(curves, line)[:, 0] + 1
        dropped = (curves.shape[1] - counts - protected).clamp(min=0)
        yield Halving(p, counts.tolist(), dropped.tolist())
        total = int(dropped.sum())
        if abs(total - target) < NEAR:
            return
        low, high = (low, p) if total < target else (p, high)


def apportioned(weights: list[float], total: int, most: int) -> list[int]:
    """Whole numbers in proportion to `weights`, `total` in sum, none above `most`: rounded by the largest remainder.

    What does not fit under `most` goes to the others in proportion; where no weight is left, in equal parts.
    `total` must not be above `most` times their number.
    """
    shares, room, rest = [0.0] * len(weights), total, list(range(len(weights)))
    while rest:
        weight = sum(weights[one] for one in rest)
        fair = {one: room * weights[one] / weight if weight else room / len(rest) for one in rest}
        full = [one for one in rest if fair[one] > most]
        for one in full or rest:
            shares[one] = most if full else fair[one]
        room -= most * len(full)
        rest = [one for one in rest if one not in full] if full else []
    counts = [int(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda one: counts[one] - shares[one])
    for one in by_remainder[: total - sum(counts)]:
        counts[one] += 1
    return counts


class Division(NamedTuple):
    """How a budget may be divided: tokens that each layer keeps under each of `SPLITS`, and the search that led there."""

    kept: dict[str, list[int]]
    search: list[Halving]
    curves: Tensor  # [layers, N]


def divided(scores: Tensor, kept: int, protected: int, averaged: list[float] | None = None) -> Division:
    """Divide `kept` tokens a layer (in the mean) of a prompt with `scores` [layers, N] among its layers.

    `protected` tokens are kept in every layer, whatever the budget. `averaged`: shares of the prompt that each layer drops,
    found on other texts; they stand in the place of the search's.
    """
    layers, tokens = scores.shape
    protected = min(protected, tokens)
    free = tokens - protected  # that a layer may drop
    keep = max(kept - protected, 0) * layers
    drop = free * layers - keep
    curves = curves_of(scores)
    search = list(halvings(curves, drop, protected))
    falling = [2 - 1 / STEEPEST - 2 * (1 - 1 / STEEPEST) * layer / max(layers - 1, 1) for layer in range(layers)]
    gone = apportioned(averaged or search[-1].dropped, drop, free)
    split = {
        "PrefixKV": [tokens - dropped for dropped in gone],
        "uniform": [protected + more for more in apportioned([1] * layers, keep, free)],
        "pyramid": [protected + more for more in apportioned(falling, keep, free)],
    }
    return Division(split, search, curves)


@dataclass
class PrefixKV(Scored, Budgeted):
    """Layers whose attention is spread out keep many tokens, layers where it is peaked keep few; the sum is the budget (P153).

    A token's score in a layer is the attention it was given, summed over queries and heads; C_l(n) is the share that the n best
    tokens of layer l hold (the paper's "prefix": of this ranking, not of the text). One line p for all layers is searched by
    halving: layer l keeps the smallest n with C_l(n) >= p, beside its `protected` first tokens and its last. What the layers then
    drop is rescaled to the budget and rounded by the largest remainder, so the sum is exact (the release truncates). While
    decoding each layer keeps its share of all tokens so far: when it has one too many, the slot 25 before the end of the kept
    prompt goes (the release's rule, taken from Elastic Cache), or the one with the lowest score (inferred).

    `searched` "averaged": the shares are the mean over ten training texts of the standard library, as the paper stores them;
    "this text" searches anew for each prompt. `allocation`: rivals with the same sum; the pyramid falls evenly from the first
    layer to the last (inferred from PyramidKV). The release's `ratio` is the share dropped, our `budget` the share kept. Text
    only: the mechanism makes no use of image tokens. On the shipped model and its needles the line does no better than a uniform
    split, and worse than a pyramid that leaves the first layers whole.
    """

    name, title, paper = "prefix-kv", "PrefixKV", "P153"
    leaf = "layers"
    budget: float = knob(0.4, 0.05, 1.0, unit="of the prompt", help="kept, mean over layers", step=0.05)
    allocation: str = knob("PrefixKV", choices=SPLITS, help="how layers share the budget")
    searched: str = knob("this text", choices=("this text", "averaged"), label="Searched on", help="or ten training texts")
    protected: int = knob(1, 0, 8, unit="tokens", label="Protected start", help="first tokens that always stay")
    averaged = None  # shares that each layer drops, where they were found on other texts
    removal: str = knob("fixed place", choices=("fixed place", "lowest score"), help="what goes while decoding")

    def prepare(self, session):
        if self.searched == "averaged" and self.allocation == "PrefixKV" and self.budget < 1:
            shares = []
            for scores in calibration(session):
                tokens = scores.shape[1]
                kept = divided(scores, self.slots_kept(tokens), self.protected + 1).kept["PrefixKV"]
                shares.append([1 - count / tokens for count in kept])
            self.averaged = [sum(column) / len(shares) for column in zip(*shares)]

    def begin(self, spec):
        super().begin(spec)
        self.sizes: list[int] | None = None  # slots of each layer, once the prompt is read
        self.prompt = self.reached = 0  # tokens of the prompt, and of the text with those that are being read
        self.division: Division | None = None

    def scores(self) -> Tensor:
        """What every token was given in each layer, [layers, N], while no layer has forgotten any."""
        return torch.stack([slots["score"].sum(0) for slots in self.slots])

    def append(self, layer, keys, values, positions):
        self.reached = self.fed + len(positions)
        super().append(layer, keys, values, positions)

    def limit(self, layer):
        if self.sizes is None or self.sizes[layer] >= self.prompt:
            return None
        return -(-self.sizes[layer] * self.reached // self.prompt)

    def evict(self, layer, prompt):
        if self.sizes is None:
            if prompt and layer == self.spec.layers - 1 and self.budget < 1:  # the search needs the scores of all layers
                self.prompt = self.reached
                self.division = divided(self.scores(), self.slots_kept(self.prompt), self.protected + 1, self.averaged)
                self.sizes = self.division.kept[self.allocation]
                for one in range(self.spec.layers):
                    self.keep_best(one)
        elif self.limit(layer) is not None and self.slots[layer].length > self.limit(layer):
            if self.removal == "lowest score":
                self.keep_best(layer)
            else:
                self.remove_at_place(layer)

    def order(self, layer, slots):
        weight = slots["score"].sum(0)
        weight[slots.positions[0] < self.protected] = float("inf")
        weight[-1] = float("inf")
        return weight

    def keep_best(self, layer: int) -> None:
        """Keep the protected tokens and the best others, as many as the layer may hold; the same in all its heads."""
        slots, most = self.slots[layer], self.limit(layer)
        if most is not None and most < slots.length:
            best = self.order(layer, slots).topk(most).indices.sort().values
            slots.keep(best.expand(self.spec.kv_heads, -1))

    def remove_at_place(self, layer: int) -> None:
        """Remove the slots that are too many from the fixed place on; from the middle where fewer than 25 were kept."""
        slots, size = self.slots[layer], self.sizes[layer]
        extra = slots.length - self.limit(layer)
        place = size - BEHIND if size > BEHIND else size // 2
        place = min(max(place, self.protected), slots.length - 1 - extra)  # never a protected one, never the newest
        every = torch.arange(slots.length, device=slots.positions.device)
        slots.keep(every[(every < place) | (every >= place + extra)].expand(self.spec.kv_heads, -1))


def calibration(session) -> list[Tensor]:
    """Scores [layers, n] of training texts, kept for the model's next runs; of the session's own text without a vocabulary."""
    if "prefix-kv" not in session.memory:
        found = []
        for text in islice(training_library(EVERY), TEXTS) if session.vocabulary else [""]:
            meter, other = PrefixKV(budget=1.0), session.aside()
            if session.vocabulary:
                other.ids = session.vocabulary.encode(text[: 8 * LENGTH])[: min(LENGTH, session.runner.context)]
            other.carry(session.runner.policy_cache(meter))
            _ = other.logits
            found.append(meter.scores())
        session.memory["prefix-kv"] = found
    return session.memory["prefix-kv"]
