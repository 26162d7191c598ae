"""Attention of new tokens that form a tree, over what is held and among themselves, with no matrix of scores in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from labkit.kernels.launch import fits, flat, jit, shares, tile, wide
from labkit.kernels.merge import absorb, merge_triton

if TYPE_CHECKING:
    import triton.language as tl


def attend_tree(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Queries [H, g * n, D] (scaled) of n new tokens over keys and values [H, N, D], the new ones last; the like of query.

    H are the key-value heads of one sequence or, one sequence behind the other, of several. Row r of a head is token r % n of
    its query head r // n. `mask` [n, w], or [sequences, 1, n, w], is added to the scores over the last w keys (0 or -inf);
    None adds nothing. Every row must see something: for one that does not, the reference gives NaN and the kernel 0.
    """
    return (attend_tree_triton if fits(query) else attend_tree_torch)(query, keys, values, mask)


def attend_tree_torch(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """`attend_tree` in plain torch."""
    scores = torch.bmm(query, keys.transpose(1, 2))  # [H, g * n, N]
    if mask is not None:
        new, width = mask.shape[-2:]
        sequences = mask.shape[0] if mask.ndim == 4 else 1
        scores.view(sequences, -1, new, scores.shape[-1])[..., scores.shape[-1] - width :] += mask
    return torch.bmm(scores.softmax(-1), values)


def attend_tree_triton(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """`attend_tree` in Triton: rows are shared among programs, and the keys too where the rows alone leave processors idle."""
    query, keys, values = query.contiguous(), flat(keys), flat(values)
    (heads, rows, size), length = query.shape, keys.shape[1]
    new, width = mask.shape[-2:] if mask is not None else (1, 0)
    mask = query if mask is None else mask.reshape(-1, new, width).contiguous()  # never read where nothing is masked
    each = heads // mask.shape[0] if width else heads  # heads of one sequence
    block = min(tile(keys), wide(rows))
    blocks = -(-rows // block)
    share, parts = shares(length, heads * blocks, tile(keys), query.device)
    out = torch.empty(parts, heads, rows, size, dtype=query.dtype if parts == 1 else torch.float32, device=query.device)
    sums = torch.empty(parts, heads, rows, dtype=torch.float32, device=query.device)
    _attend[(blocks, heads, parts)](
        query, keys, values, mask, out, sums,
        keys.stride(0), keys.stride(1), values.stride(0), values.stride(1), rows, length, share, new, width, each,
        MASKED=width > 0, SIZE=size, BLOCK_R=block, BLOCK_D=wide(size), BLOCK_N=tile(keys), num_warps=4, num_stages=2,
    )  # fmt: skip
    return out[0] if parts == 1 else merge_triton(out, sums, query.dtype)[0]


@jit
def _attend(
    query, keys, values, mask, out, sums, key_head, key_row, value_head, value_row, rows, length, share, new, window, each,
    MASKED: tl.constexpr, SIZE: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    head, part = tl.program_id(1), tl.program_id(2)
    lines, width = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R), tl.arange(0, BLOCK_D)
    held = (lines[:, None] < rows) & (width[None, :] < SIZE)
    mine = head.to(tl.int64) * rows + lines
    asking = tl.load(query + mine[:, None] * SIZE + width[None, :], mask=held, other=0.0)
    top = tl.full([BLOCK_R], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_R], tl.float32)
    mixed = tl.zeros([BLOCK_R, BLOCK_D], tl.float32)
    keys += head.to(tl.int64) * key_head
    values += head.to(tl.int64) * value_head
    for start in range(part * share, tl.minimum((part + 1) * share, length), BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        there = (columns[:, None] < length) & (width[None, :] < SIZE)
        slots = columns.to(tl.int64)[:, None]
        key = tl.load(keys + slots * key_row + width[None, :], mask=there, other=0.0)
        value = tl.load(values + slots * value_row + width[None, :], mask=there, other=0.0)
        scores = tl.dot(asking, tl.trans(key), input_precision="tf32x3")
        scores = tl.where((columns < length)[None, :], scores, float("-inf"))
        if MASKED:
            behind = columns - (length - window)  # which column of the mask
            line = ((head // each).to(tl.int64) * new + lines % new)[:, None]
            hidden = (behind >= 0)[None, :] & (columns < length)[None, :] & (lines < rows)[:, None]
            scores += tl.load(mask + line * window + behind[None, :], mask=hidden, other=0.0).to(tl.float32)
        top, total, mixed = absorb(scores, value, top, total, mixed)
    some = tl.maximum(total, 1e-30)
    row = part.to(tl.int64) * tl.num_programs(1) * rows + mine
    tl.store(out + row[:, None] * SIZE + width[None, :], mixed / some[:, None], mask=held)
    tl.store(sums + row, top + tl.log(some), mask=lines < rows)
