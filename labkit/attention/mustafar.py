"""P143 Mustafar: the smallest numbers of every key and value become zeros, and zeros need no room."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from labkit.attention.bitmap import TILE, Bitmap, joined, nonzeros, pack, unpack
from labkit.attention.stored import Part, Stored, part
from labkit.knobs import knob


@dataclass
class Mustafar(Stored):
    """Zero the smallest numbers of every old key and value, and store the rest with a map of where they were (P143).

    Of each token's D numbers a key-value head, the floor(share * D) of least magnitude become zeros, of keys (behind the
    rotation) and values alike; the `window` newest tokens stay dense. Tiles of 64: for keys one channel over 64 tokens, for
    values 64 channels of one token. A tile is an int64 map, its non-zeros filled up to a multiple of 8, and an int32 offset:
    with 16-bit numbers and 70% zeros about 46% of a dense cache, not 30%. Tokens are written in groups of 64 behind
    the prompt, which is read densely (the kernel of the release takes 256). The release keeps the number at its threshold, so it
    prunes one less than named, and more stay where magnitudes tie; here the count is exact.
    `rule`: "output-aware" weighs keys by the |query| and values by the attention seen so far (all of it, inferred); in direction
    "token" the latter changes nothing. `direction`: "channel" prunes along the 64 tokens of a group, "whole channels" is the
    structured rival. No sparse kernel: a group is unpacked to be read, which saves room, not time. On the shipped model keys bear
    more zeros than values do, and pruning by lot or by whole channels loses the needles that magnitude keeps.
    """

    name, title, paper = "mustafar", "Mustafar", "P143"
    leaf = "elements"
    whole = {"keys": 0.0, "values": 0.0}
    keys: float = knob(0.7, 0.0, 0.95, label="Sparsity of keys", help="share of numbers set to zero", step=0.05)
    values: float = knob(0.7, 0.0, 0.95, label="Sparsity of values", help="share of numbers set to zero", step=0.05)
    window: int = knob(32, 0, 128, unit="tokens", help="newest, kept dense")
    rule: str = knob("magnitude", choices=("magnitude", "output-aware", "random"), help="which numbers go first")
    direction: str = knob("token", choices=("token", "channel", "whole channels"), help="along what they compete")

    def begin(self, spec):
        super().begin(spec)
        self.bitmaps: list[tuple[Bitmap, Bitmap] | None] = [None] * spec.layers  # keys and values
        self.ones = [(0, 0)] * spec.layers  # non-zeros of them
        self.asked = [0.0] * spec.layers  # sums of |query| [kv_heads, 1, size]

    def append(self, layer, keys, values, positions):
        if not self.slots[layer].extras and self.rule == "output-aware":
            self.slots[layer].add("given", torch.empty(self.spec.kv_heads, dtype=torch.float32, device=self.spec.device))
        super().append(layer, keys, values, positions)

    def observe(self, layer, query, probs, selection):
        if self.rule == "output-aware":
            self.asked[layer] = self.asked[layer] + query.abs().sum((1, 2))[:, None]
            self.slots[layer]["given"][:] += probs.sum((1, 2))[:, len(self.places[layer]) :]

    def evict(self, layer, prompt):
        groups = (self.slots[layer].length - self.window) // TILE
        if groups > 0:
            self.write(layer, groups * TILE)

    def store(self, layer, keys, values):
        asked, given = 1.0, 1.0
        if self.rule == "output-aware":
            asked, given = self.asked[layer], self.slots[layer]["given"][:, : keys.shape[1], None]
        keys, values = self.pruned(keys, self.keys, asked), self.pruned(values, self.values, given)
        new = pack(key_tiles(keys)), pack(value_tiles(values))
        old = self.bitmaps[layer]
        self.bitmaps[layer] = tuple(joined(*pair) for pair in zip(old, new)) if old else new
        self.ones[layer] = tuple(map(nonzeros, self.bitmaps[layer]))
        self.show(layer, ("keys that stay", keys[0]), ("values that stay", values[0]))

    def pruned(self, states: Tensor, share: float, weight: Tensor | float = 1.0) -> Tensor:
        """`states` [kv_heads, n, size], n a multiple of 64, with zeros where the rule says."""
        rank = (states.abs() * weight).unflatten(1, (-1, TILE))  # [kv_heads, groups, 64, size]
        if self.rule == "random":
            rank = torch.rand(rank.shape, generator=self.rng).to(states.device)
        if self.direction == "whole channels":
            rank = rank.sum(2, keepdim=True).expand_as(rank)
        along = 2 if self.direction == "channel" else 3
        gone = rank.topk(int(share * rank.shape[along] + 1e-9), along, largest=False, sorted=False).indices
        return states.masked_fill(torch.zeros_like(rank, dtype=torch.bool).scatter_(along, gone, True).flatten(1, 2), 0)

    def older(self, layer):
        heads, size = self.spec.kv_heads, self.spec.size
        keys, values = self.bitmaps[layer]
        keys = unpack(keys, TILE).view(-1, heads, size, TILE).permute(1, 0, 3, 2).flatten(1, 2)
        values = unpack(values, min(size, TILE)).view(len(self.places[layer]), heads, -1)[:, :, :size].transpose(0, 1)
        return keys, values

    def parts(self, layer):
        for held, count in zip(self.bitmaps[layer] or (), self.ones[layer]):
            used, whole = (number * held.numbers.element_size() for number in (count, len(held.numbers)))
            yield Part(held.numbers, {"numbers": used, "padding": whole - used})
            yield part(held.maps, "maps")
            yield part(held.offsets, "offsets")


def key_tiles(keys: Tensor) -> Tensor:
    """Keys [kv_heads, n, size] as tiles [T, 64] of one channel over 64 tokens, oldest group first."""
    return keys.unflatten(1, (-1, TILE)).permute(1, 0, 3, 2).flatten(0, 2)


def value_tiles(values: Tensor) -> Tensor:
    """Values [kv_heads, n, size] as tiles of 64 channels of one token (one tile of `size` where that is less), oldest first."""
    width = min(values.shape[2], TILE)
    full = functional.pad(values, (0, -values.shape[2] % width))
    return full.transpose(0, 1).unflatten(2, (-1, width)).flatten(0, 2)
