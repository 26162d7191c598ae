"""BLEU of a whole batch of token ids at once, sentence by sentence, on the ids' own device (TensorBLEU, P046).

A table of all V^4 four-grams fits nowhere. The paper's trick is a small dictionary per batch: the n-grams that do occur get
numbers 0 to U-1, and one bincount makes the table of counts. Here the numbers are given in each sentence, so that the table
grows with the batch and not with its square, and one sort serves all orders: rows sorted by their windows of `max_n` tokens have
equal shorter n-grams side by side too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.errors import KnobError

SMOOTHINGS = ("none", "floor", "add-k", "exp")
FLOOR, ADD = 0.1, 1.0  # what stands for no match, and what is added: the usual values, and the paper's
RELEASED_EXP = 1e-12
_BITS = 63  # of an int64 that is not negative


class Counts(NamedTuple):
    """What BLEU is made of. All on the ids' device, int64."""

    matches: Tensor  # [B, max_n]: n-grams of the candidate that a reference has too, none counted more often than there
    windows: Tensor  # [B, max_n]: n-grams of the candidate
    length: Tensor  # [B]: tokens of the candidate
    reference: Tensor  # [B]: tokens of the reference that is closest in length


def ngram_counts(candidates: Tensor, references: Tensor, max_n: int = 4, pad: int = -1, first: bool = False) -> Counts:
    """The counts for `candidates` [B, L] and `references` [B, R, K] of token ids, 0 or more, or `pad`.

    Windows that touch padding are none, wherever it stands. Of two references as close in length the shorter counts; with `first`
    the first one. Raises `KnobError` on shapes that do not fit, or on orders other than 1 to 4.
    """
    _check(candidates, references, max_n)
    several, width = references.shape[1], max(candidates.shape[-1], references.shape[-1])
    texts = torch.cat([_wide(candidates, width, pad)[:, None], _wide(references, width, pad)], 1)  # [B, 1 + R, W]
    present = texts != pad
    lengths = present.sum(-1)
    numbers, bits = _small((texts + 1).masked_fill_(~present, 0), max_n)  # 0 = no token
    windows = F.pad(numbers, (0, max_n - 1)).unfold(-1, max_n, 1)  # [B, 1 + R, W, max_n], one begins everywhere
    keys = windows[..., 0].clone()
    for n in range(1, max_n):
        keys.bitwise_left_shift_(bits).bitwise_or_(windows[..., n])
    keys, order = keys.flatten(1).sort()  # one row a sentence, its candidate first
    own, size = order < width, keys.numel() + 1
    shelf = order.int().div_(width, rounding_mode="floor").mul_(size)  # of the table: the candidate's, then the references'
    fresh = torch.ones_like(own)  # does another n-gram begin here?
    whole = torch.ones_like(own)  # is it one without padding?
    matches, totals = [], []
    for n in range(max_n):
        heads = keys >> bits * (max_n - 1 - n)  # the first n + 1 tokens of the windows
        torch.ne(heads[:, 1:], heads[:, :-1], out=fresh[:, 1:])
        whole &= heads.bitwise_and_((1 << bits) - 1) > 0
        ids = fresh.flatten().cumsum(0, dtype=torch.int32).view_as(keys)  # of the n-grams, from 1, sentence by sentence
        ends = ids[:, -1].long()  # the last one of every sentence
        places = ids.add(shelf).masked_fill_(~whole, 0)  # nobody's place is 0
        table = torch.bincount(places.flatten(), minlength=(1 + several) * size).view(1 + several, size)
        table[0, 0] = 0
        most = table[1:].amax(0)
        clipped = torch.minimum(table[0], most, out=most).cumsum_(0)[ends]
        matches.append(clipped.diff(prepend=clipped.new_zeros(1)))
        totals.append((own & whole).sum(1))
    closest = _closest(lengths[:, 0], lengths[:, 1:], first)
    return Counts(torch.stack(matches, 1), torch.stack(totals, 1), lengths[:, 0], closest)


def sentence_bleu(
    candidates: Tensor,
    references: Tensor,
    *,
    max_n: int = 4,
    weights: tuple[float, ...] | None = None,
    smoothing: str = "exp",
    pad: int = -1,
    effective_order: bool = False,
    released: bool = False,
) -> Tensor:
    """BLEU of every sentence, [B] in 0 to 1 (float64): `candidates` [B, L] against `references` [B, R, K], see `ngram_counts`.

    Smoothing of orders without a match: "none"; "floor": 0.1 matches; "exp": a half, a quarter, an eighth of one; "add-k": one
    match and one window more in every order above the first. So do NLTK and sacrebleu, also in this: no common token, no score;
    orders longer than the sentence count as having one window, or with `effective_order` not at all, as in sacrebleu.
    `weights` are of the orders, equal by default.

    `released`: as the paper's release has it. "exp" is a precision of 1e-12; "add-k" adds to the first order too; smoothing
    also saves a sentence without a match; of two references as close in length the first counts, not the shorter.
    """
    counts = ngram_counts(candidates, references, max_n, pad, first=released)
    return score(counts, weights, smoothing, effective_order, released)


def corpus_bleu(
    candidates: Tensor,
    references: Tensor,
    *,
    max_n: int = 4,
    weights: tuple[float, ...] | None = None,
    smoothing: str = "exp",
    pad: int = -1,
) -> float:
    """BLEU of the batch as one text: matches, windows and lengths are summed first. By the usual rules of `sentence_bleu`."""
    counts = Counts(*(total.sum(0, keepdim=True) for total in ngram_counts(candidates, references, max_n, pad)))
    return score(counts, weights, smoothing).item()


def score(
    counts: Counts,
    weights: tuple[float, ...] | None = None,
    smoothing: str = "exp",
    effective_order: bool = False,
    released: bool = False,
) -> Tensor:
    """BLEU [B] from what was counted, see `sentence_bleu`."""
    max_n = counts.matches.shape[1]
    if smoothing not in SMOOTHINGS:
        raise KnobError(f"The smoothing is {smoothing!r:.40}: choose one of {', '.join(SMOOTHINGS)}.")
    weights = (1 / max_n,) * max_n if weights is None else weights
    if len(weights) != max_n or min(weights) < 0:
        raise KnobError(f"The weights are {weights!r:.60}: give {max_n} that are not negative, one an order.")
    hits, windows = counts.matches.double(), counts.windows.double()  # [B, max_n]
    share = hits.new_tensor(weights).expand_as(hits)
    if smoothing == "add-k":
        extra = torch.full_like(hits[:1], ADD)
        extra[:, 0] = ADD if released else 0.0
        hits, windows = hits + extra, windows + extra
    if effective_order:
        share = share * (windows > 0)
        share = share / share.sum(1, keepdim=True).clamp(min=1e-300)
    missed = hits == 0
    if smoothing == "floor":
        hits = hits.masked_fill(missed, FLOOR)
    elif smoothing == "exp" and not released:
        hits = torch.where(missed, torch.exp2(-missed.cumsum(1).double()), hits)
    precision = hits / windows.clamp(min=1)
    if smoothing == "exp" and released:
        precision = precision.masked_fill(missed, RELEASED_EXP)
    # xlogy: an order of weight 0 counts for nothing, even where its precision is 0
    bleu = torch.special.xlogy(share, precision).sum(1).exp() * brevity(counts.length, counts.reference)
    return bleu if released else bleu * (counts.matches[:, 0] > 0)


def brevity(length: Tensor, reference: Tensor) -> Tensor:
    """The brevity penalty, float64: exp(1 - r / c) for c tokens beside a longer reference of r; 0 for no token."""
    ratio = reference.double() / length.clamp(min=1)
    return (1 - ratio).clamp(max=0).exp() * (length > 0)


def _closest(own: Tensor, theirs: Tensor, first: bool) -> Tensor:
    """Of the lengths `theirs` [B, R] the one closest to `own` [B]."""
    gap = (theirs - own[:, None]).abs()
    if not first:  # ties go to the shorter: the same order as (gap, length)
        gap = gap * (theirs.max() + 1) + theirs
    return theirs.gather(1, gap.argmin(1, keepdim=True))[:, 0]


def _wide(ids: Tensor, width: int, pad: int) -> Tensor:
    return F.pad(ids, (0, width - ids.shape[-1]), value=pad)


def _small(tokens: Tensor, max_n: int) -> tuple[Tensor, int]:
    """`tokens` [B, 1 + R, W] so small that `max_n` of them fit into one number, and their bits; 0 stays 0.

    Ids that are too large are numbered anew in each sentence, in their order. Raises `KnobError` when it is too long for that,
    and on ids below 0.
    """
    least, most = tokens.aminmax()
    if least < 0:
        raise KnobError(f"One of the tokens is {int(least) - 1}: give ids of 0 or more, and name the id that pads.")
    bits = int(most).bit_length()
    if bits * max_n <= _BITS:
        return tokens, bits
    ordered, order = F.pad(tokens.flatten(1), (1, 0)).sort()  # a 0 in front takes the number 0
    ranks = F.pad((ordered[:, 1:] != ordered[:, :-1]).cumsum(1), (1, 0))
    bits = (ranks.shape[1] - 1).bit_length()
    if bits * max_n > _BITS:
        limit = 2 ** (_BITS // max_n) - 1
        places = f"A candidate and its references have {ranks.shape[1] - 1:,} places"
        raise KnobError(f"{places}: give at most {limit:,}, or choose shorter n-grams.")
    return torch.empty_like(ranks).scatter_(1, order, ranks)[:, 1:].view_as(tokens), bits


def _check(candidates: Tensor, references: Tensor, max_n: int) -> None:
    if max_n not in (1, 2, 3, 4):
        raise KnobError(f"The longest n-gram is {max_n!r}: choose 1 to 4.")
    fit = candidates.ndim == 2 and references.ndim == 3 and len(candidates) == len(references)
    if not fit or 0 in (*candidates.shape, *references.shape):
        shapes = f"{list(candidates.shape)} and {list(references.shape)}"
        raise KnobError(f"The shapes are {shapes}: give candidates [B, L] and references [B, R, K], none of them empty.")
