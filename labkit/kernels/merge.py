"""Partial attentions become one: each looked at some of the keys, and its log-sum-exp says how much weight lay there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from labkit.kernels.launch import fits, jit, wide

if TYPE_CHECKING:
    import triton.language as tl


def merge(parts: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs [S, ..., D] over S disjoint sets of keys and their log-sum-exps [S, ...] -> (output [..., D], log-sum-exp [...]).

    A part that saw nothing has a log-sum-exp of -inf and counts for nothing; where no part saw anything the output is 0.
    """
    return (merge_triton if fits(parts) else merge_torch)(parts, sums)


def merge_torch(parts: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """`merge` in plain torch."""
    whole = sums.logsumexp(0)
    shares = (sums - whole.masked_fill(whole == float("-inf"), 0.0)).exp()
    return (shares[..., None].to(parts.dtype) * parts).sum(0), whole


def merge_triton(parts: Tensor, sums: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
    """`merge` in one kernel, a program for each row; the output is of `dtype`."""
    shape, size = parts.shape[1:-1], parts.shape[-1]
    parts, sums = parts.contiguous(), sums.contiguous()
    out = parts.new_empty(*shape, size, dtype=dtype or parts.dtype)
    whole = sums.new_empty(shape)
    _merge[(whole.numel(),)](
        parts, sums, out, whole, whole.numel(), len(parts), SIZE=size, BLOCK_S=wide(len(parts), 1), BLOCK_D=wide(size)
    )  # fmt: skip
    return out, whole


@jit
def _merge(parts, sums, out, whole, rows, count, SIZE: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr):
    row = tl.program_id(0)
    part, width = tl.arange(0, BLOCK_S), tl.arange(0, BLOCK_D)
    weights = tl.load(sums + part * rows + row, mask=part < count, other=float("-inf"))
    top = tl.max(weights, 0)
    base = tl.where(top == float("-inf"), 0.0, top)
    weights = tl.exp(weights - base)
    total = tl.sum(weights, 0)
    held = (part[:, None] < count) & (width[None, :] < SIZE)
    mixed = tl.load(parts + (part[:, None] * rows + row) * SIZE + width[None, :], mask=held, other=0.0)
    mixed = tl.sum(weights[:, None] * mixed, 0) / tl.maximum(total, 1e-30)
    tl.store(out + row * SIZE + width, mixed, mask=width < SIZE)
    tl.store(whole + row, top + tl.log(tl.maximum(total, 1e-30)))


@jit
def absorb(scores, value, top, total, mixed):
    """One more tile of `scores` [R, N] and its values [N, D] goes into a running softmax; called by kernels.

    It holds a row's highest score `top` [R], the sum `total` [R] of exp(score - top) and the values weighed so, `mixed` [R, D].
    """
    higher = tl.maximum(top, tl.max(scores, 1))
    base = tl.where(higher == float("-inf"), 0.0, higher)  # nothing seen yet: exp(-inf - 0) is 0, never NaN
    weights = tl.exp(scores - base[:, None])
    fade = tl.exp(top - base)
    mixed = mixed * fade[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="tf32x3")
    return higher, total * fade + tl.sum(weights, 1), mixed
