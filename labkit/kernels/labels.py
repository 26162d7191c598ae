"""Which slots look best by their labels: a product with codes of a few bits, unpacked on the way, and the top of its scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from labkit.attention.codes import unpacked
from labkit.kernels.launch import fits, jit, wide

if TYPE_CHECKING:
    import triton.language as tl

BLOCK = 256  # labels that a program reads at once


def best(scores: Tensor, count: int) -> Tensor:
    """The `count` slots with the highest of `scores` [H, N]: an index set [H, count], ascending."""
    return scores.topk(count, -1).indices.sort(-1).values


def label_scores(part: Tensor, held: dict[str, Tensor], bits: str) -> Tensor:
    """The product [H, N] of `part` [H, r] with all labels of its head.

    `held` has a "label" for each slot: "whole" numbers [H, N, r], or codes of `bits` bits packed into bytes [H, N, bytes] with
    their minimum "low" and "step", [H, N, 1] each.
    """
    return (label_scores_triton if fits(part) else label_scores_torch)(part, held, bits)


def label_scores_torch(part: Tensor, held: dict[str, Tensor], bits: str) -> Tensor:
    """`label_scores` in plain torch: unpack, then multiply."""
    label = dequantised(held, bits, part.shape[-1])
    return (part[:, None].to(label.dtype) @ label.transpose(1, 2))[:, 0]


def dequantised(held: dict[str, Tensor], bits: str, width: int) -> Tensor:
    """The labels [H, N, r] of `width` numbers, as near as their bits say."""
    if bits == "whole":
        return held["label"]
    codes = unpacked(held["label"], int(bits), width)
    return codes.float() * held["step"].float() + held["low"].float()


def label_scores_triton(part: Tensor, held: dict[str, Tensor], bits: str) -> Tensor:
    """`label_scores` in Triton: every label is read once, as it is stored; a score is step * (part . codes) + low * sum(part)."""
    label = held["label"].contiguous()
    packed = bits != "whole"
    low, step = held.get("low", label).contiguous(), held.get("step", label).contiguous()  # not read when whole
    (heads, count, width), part = label.shape, part.contiguous()
    scores = torch.empty(heads, count, dtype=torch.float32, device=part.device)
    _scores[(-(-count // BLOCK), heads)](
        part, label, low, step, scores, count,
        BITS=int(bits) if packed else 8, PACKED=packed, SIZE=part.shape[1], WIDTH=width, BLOCK_W=wide(width, 1), BLOCK_N=BLOCK,
    )  # fmt: skip
    return scores


@jit
def _scores(
    part, label, low, step, scores, count,
    BITS: tl.constexpr, PACKED: tl.constexpr, SIZE: tl.constexpr, WIDTH: tl.constexpr, BLOCK_W: tl.constexpr,
    BLOCK_N: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1).to(tl.int64)
    slots, columns = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_W)
    there = (slots[:, None] < count) & (columns[None, :] < WIDTH)
    held = tl.load(label + (head * count + slots[:, None]) * WIDTH + columns[None, :], mask=there, other=0)
    score = tl.zeros([BLOCK_N], tl.float32)
    if PACKED:
        sum_of_part = 0.0
        for place in tl.static_range(8 // BITS):  # of a code in its byte
            channels = columns * (8 // BITS) + place
            mine = tl.load(part + head * SIZE + channels, mask=channels < SIZE, other=0.0).to(tl.float32)
            codes = (held.to(tl.int32) >> (place * BITS)) & ((1 << BITS) - 1)
            score += tl.sum(codes.to(tl.float32) * mine[None, :], 1)
            sum_of_part += tl.sum(mine, 0)
        steps = tl.load(step + head * count + slots, mask=slots < count, other=0.0).to(tl.float32)
        lows = tl.load(low + head * count + slots, mask=slots < count, other=0.0).to(tl.float32)
        score = steps * score + lows * sum_of_part
    else:
        mine = tl.load(part + head * SIZE + columns, mask=columns < WIDTH, other=0.0).to(tl.float32)
        score = tl.sum(held.to(tl.float32) * mine[None, :], 1)
    tl.store(scores + head * count + slots, score, mask=slots < count)
