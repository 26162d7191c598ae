"""Attention with its column sums, what every slot was given by all queries, and no matrix of probabilities in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from labkit.kernels.launch import fits, flat, jit, tile, wide
from labkit.kernels.merge import absorb

if TYPE_CHECKING:
    import triton.language as tl


def attend_summed(query: Tensor, keys: Tensor, values: Tensor, places: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """A prompt's queries [H, g, n, D] (scaled) at `places` [n] over keys and values [H, N, D] at `positions` [H, N].

    Returns (output [H, g, n, D], sums [H, N] of the probabilities over the n queries of all g query heads, float32 or wider).
    A query sees the positions up to its own; places and positions are ascending. One that sees nothing gives 0 to everything.
    """
    return (attend_summed_triton if fits(query) else attend_summed_torch)(query, keys, values, places, positions)


def attend_summed_torch(query: Tensor, keys: Tensor, values: Tensor, places: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """`attend_summed` in plain torch, with the whole matrix."""
    hidden = (positions[:, None, :] > places[None, :, None])[:, None]  # [H, 1, n, N]
    scores = (query @ keys[:, None].transpose(2, 3)).masked_fill_(hidden, float("-inf"))
    probs = scores.softmax(-1).masked_fill_(hidden.all(-1, keepdim=True), 0.0)
    return probs @ values[:, None], probs.sum((1, 2))


def attend_summed_triton(query: Tensor, keys: Tensor, values: Tensor, places: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """`attend_summed` in Triton, in two passes: outputs with their log-sum-exps; then, by slot, the sum of exp(score - it)."""
    query, keys, values = query.contiguous(), flat(keys), flat(values)
    (heads, group, n, size), length = query.shape, keys.shape[1]
    places, positions = places.int(), positions.int().contiguous()
    out = torch.empty_like(query)
    whole = torch.empty(heads, group, n, dtype=torch.float32, device=query.device)
    sums = torch.empty(heads, length, dtype=torch.float32, device=query.device)
    block = tile(keys)
    rows, columns = -(-n // block), -(-length // block)
    last = places[torch.arange(1, rows + 1, device=places.device).mul_(block).clamp_(max=n) - 1]  # of every block of queries
    stops = torch.searchsorted(positions, last.expand(heads, -1).contiguous(), right=True, out_int32=True)  # [H, rows]
    begins = torch.searchsorted(places, positions[:, ::block].contiguous(), out_int32=True)  # [H, columns]
    tiles = {"SIZE": size, "BLOCK_Q": block, "BLOCK_N": block, "BLOCK_D": wide(size), "num_warps": 4, "num_stages": 2}
    _attend[(rows, heads * group)](
        query, keys, values, places, positions, stops, out, whole,
        keys.stride(0), keys.stride(1), values.stride(0), values.stride(1), n, length, group, **tiles,
    )  # fmt: skip
    _columns[(columns, heads)](
        query, keys, places, positions, begins, whole, sums,
        keys.stride(0), keys.stride(1), n, length, group, **tiles,
    )  # fmt: skip
    return out, sums


@jit
def _attend(
    query, keys, values, places, positions, stops, out, whole, key_head, key_row, value_head, value_row, n, length, group,
    SIZE: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    block, asker = tl.program_id(0), tl.program_id(1)
    head = asker // group
    lines, width = block * BLOCK_Q + tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_D)
    held = (lines[:, None] < n) & (width[None, :] < SIZE)
    mine = asker.to(tl.int64) * n + lines
    asking = tl.load(query + mine[:, None] * SIZE + width[None, :], mask=held, other=0.0)
    place = tl.load(places + lines, mask=lines < n, other=-1)
    top = tl.full([BLOCK_Q], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_Q], tl.float32)
    mixed = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    keys += head.to(tl.int64) * key_head
    values += head.to(tl.int64) * value_head
    stop = tl.load(stops + head * tl.num_programs(0) + block)  # no query of this block sees what stands there or behind
    for start in range(0, stop, BLOCK_N):
        columns = start + tl.arange(0, BLOCK_N)
        there = (columns[:, None] < length) & (width[None, :] < SIZE)
        slots = columns.to(tl.int64)[:, None]
        key = tl.load(keys + slots * key_row + width[None, :], mask=there, other=0.0)
        value = tl.load(values + slots * value_row + width[None, :], mask=there, other=0.0)
        position = tl.load(positions + head.to(tl.int64) * length + columns, mask=columns < length, other=2147483647)
        scores = tl.dot(asking, tl.trans(key), input_precision="tf32x3")
        scores = tl.where(position[None, :] <= place[:, None], scores, float("-inf"))
        top, total, mixed = absorb(scores, value, top, total, mixed)
    some = tl.maximum(total, 1e-30)
    tl.store(out + mine[:, None] * SIZE + width[None, :], mixed / some[:, None], mask=held)
    tl.store(whole + mine, top + tl.log(some), mask=lines < n)


@jit
def _columns(
    query, keys, places, positions, begins, whole, sums, key_head, key_row, n, length, group,
    SIZE: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    block, head = tl.program_id(0), tl.program_id(1)
    columns, width = block * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    there = (columns[:, None] < length) & (width[None, :] < SIZE)
    slots = head.to(tl.int64) * key_head + columns.to(tl.int64)[:, None] * key_row
    key = tl.load(keys + slots + width[None, :], mask=there, other=0.0)
    position = tl.load(positions + head.to(tl.int64) * length + columns, mask=columns < length, other=2147483647)
    total = tl.zeros([BLOCK_N], tl.float32)
    begin = tl.load(begins + head * tl.num_programs(0) + block)  # the first query that sees a slot of this block
    for asker in range(head * group, (head + 1) * group):
        for start in range(begin, n, BLOCK_Q):
            lines = start + tl.arange(0, BLOCK_Q)
            mine = tl.cast(asker, tl.int64) * n + lines
            held = (lines[:, None] < n) & (width[None, :] < SIZE)
            asking = tl.load(query + mine[:, None] * SIZE + width[None, :], mask=held, other=0.0)
            place = tl.load(places + lines, mask=lines < n, other=-1)
            weight = tl.load(whole + mine, mask=lines < n, other=0.0)
            scores = tl.dot(key, tl.trans(asking), input_precision="tf32x3")
            seen = position[:, None] <= place[None, :]
            total += tl.sum(tl.where(seen, tl.exp(scores - weight[None, :]), 0.0), 1)
    tl.store(sums + head.to(tl.int64) * length + columns, total, mask=columns < length)
