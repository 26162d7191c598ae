"""Decode attention over an index set: the keys and values of the chosen slots are read where they lie, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from labkit.kernels.launch import fits, flat, jit, shares, tile, wide
from labkit.kernels.merge import absorb, merge_triton

if TYPE_CHECKING:
    import triton.language as tl


def attend_indexed(query: Tensor, keys: Tensor, values: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """One query a head over some slots: query [..., g, D] (scaled), keys and values [..., N, D], index [..., M], ascending.

    Returns (output [..., g, D], log-sum-exp [..., g] of the scores, by which `merge` joins partial results). Query head h
    reads key-value head h // g: the leading dimensions are key-value heads, and may be sequences before. An index of -1
    stands for nothing, so that index sets may be of unequal length; a row of nothing else gives 0 and -inf.
    """
    return (attend_indexed_triton if fits(query) else attend_indexed_torch)(query, keys, values, index)


def attend_indexed_torch(query: Tensor, keys: Tensor, values: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """`attend_indexed` in plain torch: gather, then attend."""
    empty = (index < 0)[..., None, None, :]
    slots = index.clamp(min=0)[..., None]
    keys, values = keys.take_along_dim(slots, -2), values.take_along_dim(slots, -2)
    scores = query[..., None, :] @ keys[..., None, :, :].transpose(-1, -2)  # [..., g, 1, M]
    scores = scores.masked_fill(empty, float("-inf"))
    probs = scores.softmax(-1).masked_fill(empty.all(-1, keepdim=True), 0.0)
    return (probs @ values[..., None, :, :])[..., 0, :], scores.logsumexp(-1)[..., 0]


def attend_indexed_triton(query: Tensor, keys: Tensor, values: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """`attend_indexed` in Triton, split-K: programs share the index set of a head, a small kernel merges what they found."""
    shape, (group, size), count = query.shape, query.shape[-2:], index.shape[-1]
    query, index = query.reshape(-1, group, size).contiguous(), index.reshape(-1, count).contiguous()
    keys, values, heads, block = flat(keys), flat(values), query.shape[0], tile(keys)
    share, parts = shares(count, heads, block, query.device)
    out = query.new_empty(parts, heads, group, size, dtype=query.dtype if parts == 1 else torch.float32)
    sums = query.new_empty(parts, heads, group, dtype=torch.float32)
    _attend[(heads, parts)](
        query, keys, values, index, out, sums,
        keys.stride(0), keys.stride(1), values.stride(0), values.stride(1), count, share,
        GROUP=group, SIZE=size, BLOCK_G=wide(group), BLOCK_D=wide(size), BLOCK_M=block, num_warps=4, num_stages=3,
    )  # fmt: skip
    out, sums = (out[0], sums[0]) if parts == 1 else merge_triton(out, sums, query.dtype)
    return out.view(shape), sums.view(shape[:-1])


@jit
def _attend(
    query, keys, values, index, out, sums, key_head, key_row, value_head, value_row, count, share,
    GROUP: tl.constexpr, SIZE: tl.constexpr, BLOCK_G: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    head, part = tl.program_id(0), tl.program_id(1)
    lines, width = tl.arange(0, BLOCK_G), tl.arange(0, BLOCK_D)
    held = (lines[:, None] < GROUP) & (width[None, :] < SIZE)
    asking = tl.load(query + (head * GROUP + lines[:, None]) * SIZE + width[None, :], mask=held, other=0.0)
    top = tl.full([BLOCK_G], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_G], tl.float32)
    mixed = tl.zeros([BLOCK_G, BLOCK_D], tl.float32)
    keys += head.to(tl.int64) * key_head
    values += head.to(tl.int64) * value_head
    for start in range(part * share, tl.minimum((part + 1) * share, count), BLOCK_M):
        places = start + tl.arange(0, BLOCK_M)
        slots = tl.load(index + head.to(tl.int64) * count + places, mask=places < count, other=-1).to(tl.int64)
        there = (slots[:, None] >= 0) & (width[None, :] < SIZE)
        key = tl.load(keys + slots[:, None] * key_row + width[None, :], mask=there, other=0.0)
        value = tl.load(values + slots[:, None] * value_row + width[None, :], mask=there, other=0.0)
        scores = tl.dot(asking, tl.trans(key), input_precision="tf32x3")
        scores = tl.where((slots >= 0)[None, :], scores, float("-inf"))
        top, total, mixed = absorb(scores, value, top, total, mixed)
    some = tl.maximum(total, 1e-30)
    row = (part * tl.num_programs(0) + head) * GROUP + lines
    tl.store(out + row[:, None] * SIZE + width[None, :], mixed / some[:, None], mask=held)
    tl.store(sums + row, top + tl.log(some), mask=lines < GROUP)
