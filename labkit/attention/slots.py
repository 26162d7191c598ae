"""What one layer of a cache holds: keys, values and, beside every key, its position; whatever else a policy keeps a slot."""

from __future__ import annotations

from typing import Iterator

import torch
from torch import Tensor


class Slots:
    """Slots of one layer, the same number in every key-value head, oldest first; each head may hold other positions.

    `keys` and `values` are [kv_heads, N, ...], `positions` [kv_heads, N] int32. A policy may `add` values of its own, or give
    more tensors to `append`: they grow and shrink with the slots.
    """

    def __init__(self):
        self.length = 0
        self._held: dict[str, Tensor] = {}
        self._fills: dict[str, float] = {}

    def add(self, name: str, like: Tensor, fill: float = 0.0) -> None:
        """Keep one more value a slot, [kv_heads, N] of `like`'s dtype, `fill` for new slots."""
        self._held[name] = torch.full((like.shape[0], self.length), fill, dtype=like.dtype, device=like.device)
        self._fills[name] = fill

    def append(self, positions: Tensor, **parts: Tensor) -> None:
        """Put n new slots behind the others: positions [n], and each part (keys, values, ...) as [kv_heads, n, ...]."""
        heads, new = next(iter(parts.values())).shape[:2]
        fresh = {**parts, "positions": positions.int().expand(heads, -1)}
        need = self.length + new
        for name in {*fresh, *self._held}:
            new = fresh.get(name)
            held = self._held.get(name)
            if held is None:
                held = new.new_empty(new.shape[0], 0, *new.shape[2:])
            if held.shape[1] < need:
                wider = held.new_empty(held.shape[0], max(need, 2 * held.shape[1]), *held.shape[2:])
                wider[:, : self.length] = held[:, : self.length]
                held = wider
            held[:, self.length : need] = self._fills[name] if new is None else new
            self._held[name] = held
        self.length = need

    def __getitem__(self, name: str) -> Tensor:
        """The values held under `name`, [kv_heads, N, ...]: a view, to be changed in place."""
        return self._held[name][:, : self.length]

    @property
    def keys(self) -> Tensor:
        return self["keys"]

    @property
    def values(self) -> Tensor:
        return self["values"]

    @property
    def positions(self) -> Tensor:
        return self["positions"]

    def keep(self, index: Tensor) -> None:
        """Keep the slots `index` [kv_heads, M], ascending, and forget the others."""
        for name, held in self._held.items():
            self._held[name] = gather(held, index)
        self.length = index.shape[1]

    def bytes(self, *names: str) -> int:
        """Bytes of what is held under `names` (not of the room kept ready)."""
        return sum(self[name].nelement() * self[name].element_size() for name in names if name in self._held)

    def tensors(self) -> Iterator[Tensor]:
        """What is held, each cut to the slots in use."""
        return (self[name] for name in self._held)

    @property
    def extras(self) -> list[str]:
        """Names of what is held beside keys, values and positions."""
        return [name for name in self._held if name not in ("keys", "values", "positions")]


def gather(held: Tensor, index: Tensor) -> Tensor:
    """Rows `index` [kv_heads, M] of `held` [kv_heads, N, ...], head by head."""
    return held.gather(1, index.reshape(*index.shape, *[1] * (held.ndim - 2)).expand(-1, -1, *held.shape[2:]))
