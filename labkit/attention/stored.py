"""What policies that store differently have in common: every token is held, the older ones in a form that takes less room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator, NamedTuple

import torch
from torch import Tensor

from labkit.attention.ground import Policy, Seen, runs

PICTURE = 64  # tokens of a picture, at most


class Part(NamedTuple):
    """A tensor that is held, and how many of its bytes are of which kind: "numbers", "padding", "maps", "offsets", "scales"."""

    tensor: Tensor
    kinds: dict[str, int]


def part(tensor: Tensor, kind: str) -> Part:
    """A tensor of one kind alone."""
    return Part(tensor, {kind: tensor.nelement() * tensor.element_size()})


@dataclass
class Stored(Policy):
    """The newest tokens wait as they are in `slots`; older ones are written in groups, and read back in full at every step.

    A subclass calls `write` from `evict`, says how a group is stored (`store`), what is held of a layer (`parts`) and how it is
    read back (`older`). The full form exists only while it is read.
    """

    changes = True
    charts = ("storage_bits", "storage_heat")

    def begin(self, spec):
        super().begin(spec)
        none = torch.empty(0, dtype=torch.int32, device=spec.device)
        self.places = [none] * spec.layers  # by layer, the positions of the older tokens, the same in all heads
        self.pictures: list[dict[str, Any]] = []  # of the last group that was written
        self.rng = torch.Generator().manual_seed(getattr(self, "seed", 0))

    def steps(self, session, rng):
        self.seed = int(torch.randint(2**31, (), generator=rng))
        yield from super().steps(session, rng)

    # -- what a subclass gives -----------------------------------------------------------------------------------------

    def store(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Write the next n tokens, [kv_heads, n, size] each; the slots still hold them."""
        raise NotImplementedError

    def older(self, layer: int) -> tuple[Tensor, Tensor]:
        """The keys and values [kv_heads, N, size] of what was written, oldest first."""
        raise NotImplementedError

    def parts(self, layer: int) -> Iterator[Part]:
        """What is held of the written tokens."""
        raise NotImplementedError

    # -- what they share -----------------------------------------------------------------------------------------------

    def write(self, layer: int, count: int) -> None:
        """Store the `count` oldest slots and let them go."""
        slots = self.slots[layer]
        self.store(layer, slots.keys[:, :count], slots.values[:, :count])
        self.places[layer] = torch.cat([self.places[layer], slots.positions[0, :count]])
        slots.keep(torch.arange(count, slots.length, device=self.spec.device).expand(self.spec.kv_heads, -1))

    def read(self, layer, selection):
        slots, places = self.slots[layer], self.places[layer]
        if not len(places):
            return super().read(layer, selection)
        keys, values = self.older(layer)
        positions = places.expand(self.spec.kv_heads, -1)
        fresh = (slots.keys, slots.values, slots.positions)
        return Seen(*(torch.cat(pair, 1) for pair in zip((keys, values, positions), fresh)))

    def weight(self, layer, seen):
        return self.slots[layer].bytes("keys", "values") + sum(sum(one.kinds.values()) for one in self.parts(layer))

    def payload(self, layer):
        written = (one.kinds for one in self.parts(layer))
        return super().payload(layer) + sum(kinds.get("numbers", 0) + kinds.get("padding", 0) for kinds in written)

    def metadata(self, layer):
        everything = sum(tensor.nelement() * tensor.element_size() for tensor in self._held(layer))
        return everything - self.payload(layer)

    def tensors(self):
        for layer in range(len(self.slots)):
            yield from self._held(layer)

    def _held(self, layer: int) -> Iterator[Tensor]:
        yield from self.slots[layer].tensors()
        yield self.places[layer]
        yield from (one.tensor for one in self.parts(layer))

    def held(self, layer):
        return len(self.places[layer]) + self.slots[layer].length

    def kept(self):
        old = [places.tolist() for places in self.places]
        return [[runs(before + row) for row in slots.positions.tolist()] for before, slots in zip(old, self.slots)]

    def notes(self):
        kinds = {"fresh": sum(slots.bytes("keys", "values") for slots in self.slots)}
        for layer in range(len(self.slots)):
            for one in self.parts(layer):
                for kind, count in one.kinds.items():
                    kinds[kind] = kinds.get(kind, 0) + count
        kinds["positions and scores"] = self.bytes - sum(kinds.values())
        spec = self.spec
        numbers = 2 * spec.layers * spec.kv_heads * spec.size * self.fed
        found = {"storage": kinds, "numbers": numbers, "pictures": self.pictures}
        self.pictures = []
        return found

    def show(self, layer: int, *named: tuple[str, Tensor]) -> None:
        """Remember pictures of a head in the middle layer: magnitudes [n, channels] as digits, 0 for nothing, 9 the largest."""
        if layer != self.spec.layers // 2:
            return
        first, self.pictures = int(self.slots[layer].positions[0, 0]), []
        for name, states in named:
            size = states[-PICTURE:].abs().float()
            digits = (size / size.max().clamp(min=1e-30) * 9).ceil().byte().cpu()
            rows = [bytes(row).decode() for row in (digits + ord("0")).tolist()]
            start = first + len(states) - len(rows)
            self.pictures.append({"name": name, "layer": layer, "first": start, "rows": rows})
