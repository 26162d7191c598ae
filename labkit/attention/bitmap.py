"""P143's storage of sparse numbers: tiles of up to 64, each with a map of its non-zeros, the non-zeros packed, and an offset."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

TILE = 64  # numbers of a tile, at most: the bits of its map
PAD = 8  # a tile's packed non-zeros are filled up to a multiple of it


class Bitmap(NamedTuple):
    """T tiles: `maps` [T] int64 (most significant bit = first number), `numbers` [all, padded], `offsets` [T] int32 into them."""

    maps: Tensor
    numbers: Tensor
    offsets: Tensor


def pack(tiles: Tensor) -> Bitmap:
    """Tiles [T, width] as a bitmap. A number is left out when it is +0; -0 is kept, so that unpacking gives every bit back."""
    kept = (tiles != 0) | tiles.signbit()
    room = -(-kept.sum(-1) // PAD) * PAD
    offsets = room.cumsum(0) - room
    numbers = tiles.new_zeros(int(room.sum()))
    numbers[_places(kept, offsets)[kept]] = tiles[kept]
    return Bitmap((kept.long() << _shifts(kept)).sum(-1), numbers, offsets.int())


def unpack(held: Bitmap, width: int) -> Tensor:
    """The tiles [T, width] that were packed, bit for bit."""
    maps = held.maps[:, None].expand(-1, width)
    kept = (maps >> _shifts(maps)) & 1
    places = _places(kept, held.offsets)
    return torch.where(kept.bool(), functional.pad(held.numbers, (1, 0))[places + 1], 0)


def joined(first: Bitmap, second: Bitmap) -> Bitmap:
    """The tiles of both, one behind the other."""
    behind = second.offsets + len(first.numbers)
    return Bitmap(*(torch.cat(pair) for pair in zip(first, second._replace(offsets=behind))))


def nonzeros(held: Bitmap) -> int:
    """Numbers packed, their padding not counted: the ones in all maps."""
    return int(((held.maps[:, None] >> torch.arange(TILE, device=held.maps.device)) & 1).sum())


def _shifts(kept: Tensor) -> Tensor:
    return torch.arange(TILE - 1, TILE - 1 - kept.shape[-1], -1, device=kept.device)


def _places(kept: Tensor, offsets: Tensor) -> Tensor:
    """Where each number of a tile lies among the packed ones (of those left out: where the last one before it lies)."""
    return kept.cumsum(-1, dtype=torch.int32) + (offsets[:, None].int() - 1)
