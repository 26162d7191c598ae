"""Codes of a few bits packed into bytes, as policies that quantise store them."""

from __future__ import annotations

import torch
from torch import Tensor


def packed(codes: Tensor, bits: int) -> Tensor:
    """Codes [..., r] of `bits` bits (1, 2, 4 or 8) as bytes [..., ceil(r * bits / 8)]."""
    each = 8 // bits
    full = torch.nn.functional.pad(codes, (0, -codes.shape[-1] % each)).unflatten(-1, (-1, each))
    return (full << torch.arange(0, 8, bits, dtype=torch.uint8, device=codes.device)).sum(-1, dtype=torch.uint8)


def unpacked(held: Tensor, bits: int, width: int) -> Tensor:
    """The codes [..., width] that `packed` put into bytes."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=held.device)
    return ((held[..., None] >> shifts) & (2**bits - 1)).flatten(-2)[..., :width]
