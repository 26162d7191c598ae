"""P049 ZipCache: the tokens that attention looks at get more bits than the others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from labkit.attention.codes import packed, unpacked
from labkit.attention.stored import Stored, part
from labkit.knobs import knob

GROUP = 32  # numbers that share a minimum and a step, in the scheme "groups of 32"


class Quantised(NamedTuple):
    """Numbers [n, parts, width] in `bits` bits: packed codes, and the minimum and step of each part (None: as they were)."""

    codes: Tensor
    low: Tensor | None
    step: Tensor | None
    bits: str
    width: int

    def read(self, dtype: torch.dtype) -> Tensor:
        """The numbers, as near as their bits say; never more than half a step away."""
        if self.low is None:
            return self.codes
        return unpacked(self.codes, int(self.bits), self.width).to(dtype) * self.step.to(dtype) + self.low.to(dtype)


class Group(NamedTuple):
    """Tokens written together: which are salient (a bit each), and keys and values of the salient and of the others."""

    salient: Tensor
    count: int
    keys: list[Quantised]
    values: list[Quantised]
    scale: Tensor | None  # c, one number a channel of the values


@dataclass
class ZipCache(Stored):
    """Quantise the cache: tokens that attention has looked at in `high` bits, the others in `low` bits (P049).

    A token's saliency is the attention it was given by probe queries, divided by the number of probes that could see it, summed
    over heads (inferred: one class a token for all heads). Keys: a minimum and a step a channel, apart for the two classes.
    Values, all heads together: each channel is divided by c = sqrt(max |value|), then each token has its minimum and step. Those
    are 16-bit numbers, rounded outwards so that no code is off by more than half a step. The prompt is read densely and then
    written; new tokens wait as they are until there are `window` of them, and are probed by the queries of that time.
    `score`: "release" divides by all queries that saw the token though only probes were summed, as the released code does (it
    also scores new tokens by one query, which we do not); "sum" favours old tokens. `values`: rivals of the paper's scheme. The
    lab computes every row of attention, so probes save no time here, and reads by dequantising, which saves room alone.
    On the shipped model the channels of the values are much alike: over 12 needles no scheme, and no score, stood out.
    """

    name, title, paper = "zipcache", "ZipCache", "P049"
    leaf = "bits"
    whole = {"high": "whole", "low": "whole"}
    salient: float = knob(0.6, 0.0, 1.0, unit="of the tokens", help="which get more bits", step=0.05)
    high: str = knob("4", choices=("2", "4", "8", "whole"), label="Bits, salient", help="for each number")
    low: str = knob("2", choices=("1", "2", "4", "whole"), label="Bits, others", help="for each number")
    values: str = knob("separable", choices=("separable", "tokenwise", "groups of 32", "channelwise"), help="what shares a step")
    score: str = knob("normalised", choices=("normalised", "sum", "release"), help="what makes a token salient")
    probes: str = knob("half", choices=("all", "half", "recent", "random"), help="queries that are asked; half of each")
    share: float = knob(0.1, 0.01, 1.0, unit="of the queries", label="Probe share", help="that are probes")
    window: int = knob(100, 10, 200, unit="tokens", help="written when as many are new")

    def begin(self, spec):
        super().begin(spec)
        self.groups: list[list[Group]] = [[] for _ in range(spec.layers)]
        self.asked = torch.empty(0, dtype=torch.bool, device=spec.device)  # by position: is this query a probe?

    def append(self, layer, keys, values, positions):
        slots = self.slots[layer]
        if not slots.extras:
            for name in ("given", "rows"):
                slots.add(name, torch.empty(self.spec.kv_heads, dtype=torch.float32, device=self.spec.device))
        if len(self.asked) <= int(positions[-1]):
            more = self.drawn(len(positions) if len(positions) > 1 else self.window)
            self.asked = torch.cat([self.asked, more.to(self.spec.device)])
        super().append(layer, keys, values, positions)

    def drawn(self, queries: int) -> Tensor:
        """Which of so many queries are probes, [queries] bool."""
        count = queries if self.probes == "all" else max(1, round(self.share * queries))
        recent = {"half": -(-count // 2), "random": 0}.get(self.probes, count)
        lot = torch.randperm(queries - recent, generator=self.rng)[: count - recent]
        chosen = torch.arange(queries) >= queries - recent
        chosen[lot] = True
        return chosen

    def select(self, layer, query, positions):
        self.now = positions

    def observe(self, layer, query, probs, selection):
        slots = self.slots[layer]
        probing = self.asked[self.now]
        seen = slots.positions[:, None] <= self.now[None, :, None]  # [kv_heads, n, fresh]
        slots["given"][:] += probs[:, :, probing, len(self.places[layer]) :].sum((1, 2))
        slots["rows"][:] += (seen if self.score == "release" else seen[:, probing]).sum(1)

    def saliency(self, layer: int) -> Tensor:
        """How much attention each fresh token was given, [fresh], a sum over heads."""
        slots = self.slots[layer]
        return (slots["given"] if self.score == "sum" else slots["given"] / slots["rows"].clamp(min=1)).sum(0)

    def evict(self, layer, prompt):
        if prompt or self.slots[layer].length >= self.window:
            self.write(layer, self.slots[layer].length)

    def store(self, layer, keys, values):
        count = keys.shape[1]
        salient = torch.zeros(count, dtype=torch.bool, device=keys.device)
        salient[self.saliency(layer).topk(round(self.salient * count)).indices] = True
        keys, values = (states.transpose(0, 1).flatten(1) for states in (keys, values))  # [n, kv_heads * size]
        scale = None
        if self.values == "separable" and (self.high, self.low) != ("whole", "whole"):
            scale = channel_scale(values)
        scaled = values if scale is None else values / scale.to(values.dtype)
        classes = (salient, self.high), (~salient, self.low)
        written = [quantised(keys[mask], bits, "channelwise") for mask, bits in classes]
        others = [quantised(scaled[mask], bits, self.values) for mask, bits in classes]
        self.groups[layer].append(Group(packed(salient.byte(), 1), count, written, others, scale))
        size = self.spec.size
        self.show(layer, ("values", values[:, :size]), ("values / c", scaled[:, :size]))

    def older(self, layer):
        read = [self.dequantised(group) for group in self.groups[layer]]
        heads = self.spec.kv_heads
        return tuple(torch.cat(part).unflatten(1, (heads, -1)).transpose(0, 1) for part in zip(*read))

    def dequantised(self, group: Group) -> tuple[Tensor, Tensor]:
        """Keys and values [n, kv_heads * size] of a group, in the order of its tokens."""
        salient = unpacked(group.salient, 1, group.count).bool()
        found = []
        for written in (group.keys, group.values):
            full = torch.empty(group.count, self.spec.kv_heads * self.spec.size, dtype=self.spec.dtype, device=salient.device)
            for mask, one in zip((salient, ~salient), written):
                full[mask] = one.read(self.spec.dtype).flatten(1)
            found.append(full)
        if group.scale is not None:
            found[1] *= group.scale.to(self.spec.dtype)
        return tuple(found)

    def parts(self, layer):
        for group in self.groups[layer]:
            yield part(group.salient, "maps")
            for one in (*group.keys, *group.values):
                yield part(one.codes, "numbers")
                yield from (part(more, "scales") for more in (one.low, one.step) if more is not None)
            if group.scale is not None:
                yield part(group.scale, "scales")


def channel_scale(values: Tensor) -> Tensor:
    """c = sqrt(max over tokens of |value|) of each channel, [channels], 16 bits; 1 for a channel of zeros."""
    most = values.abs().amax(0)
    return most.where(most > 0, 1).sqrt().half().clamp(min=2**-14)


def quantised(states: Tensor, bits: str, scheme: str) -> Quantised:
    """`states` [n, channels] in `bits` bits; a minimum and step a channel ("channelwise"), a token, or 32 numbers of a token."""
    width = math.gcd(states.shape[1], GROUP) if scheme == "groups of 32" else states.shape[1]
    states = states.unflatten(1, (-1, width))
    if bits == "whole" or not len(states):
        return Quantised(states, None, None, bits, width)
    least, most = states.aminmax(dim=0 if scheme == "channelwise" else 2, keepdim=True)
    top = 2 ** int(bits) - 1
    low = (least - least.abs() / 1024 - 2**-24).half()  # rounding to 16 bits never lifts it above the least
    step = ((most - low) / top * (1 + 1 / 1024) + 2**-24).half()  # nor ends the last step below the most
    codes = ((states - low) / step).round().clamp(0, top).byte()
    return Quantised(packed(codes, int(bits)), low, step, bits, width)
