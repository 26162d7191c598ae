"""The table that smooths superposed drafts (P171): bigrams to six-grams of the training text, pruned and measured."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from labkit import parts
from labkit.models import SHIPPED
from labkit.sampling.ngrams import LONGEST, PART, NGrams
from labkit.sampling.superposed import WEIGHTS
from labkit.train.ngrams import MODEL, Counts, count
from labkit.train.tokenizer import RESERVED, load_tokenizer
from labkit.train.tokens import load_tokens

BIGRAMS_SEEN = 20  # so that few tokens are ruled out for want of a bigram: they take a fifth of the file
ENTRY, CONTEXT = 4, 6  # bytes in the file: a token and its probability; a key and how many entries it has
TRIED = 20_000  # places of the held-out text


def prune(orders: list[Counts], budget: float) -> tuple[list[Counts], int]:
    """Bigrams seen `BIGRAMS_SEEN` times, and of the longer ones the most frequent that fit into `budget` bytes with them.

    One bound holds for all the longer orders, so that a context is never kept without its shorter ones. Returns them and that
    bound. Raises ValueError when nothing longer than bigrams fits.
    """
    bigrams = orders[0].where(orders[0].counts >= BIGRAMS_SEEN)
    room = budget - ENTRY * len(bigrams.tokens)
    low, high = BIGRAMS_SEEN, int(max(grams.counts.max(initial=0) for grams in orders[1:])) + 1
    while low < high:  # bisect for the smallest bound that fits
        least = (low + high) // 2
        low, high = (low, least) if _bytes(orders[1:], least) <= room else (least + 1, high)
    longer = [grams.where(grams.counts >= low) for grams in orders[1:]]
    if room < 0 or not len(longer[0].tokens):
        raise ValueError(f"{budget / 1e6:g} megabytes can't hold more than bigrams: give at least 1")
    return [bigrams, *longer], low


def _bytes(orders: list[Counts], least: int) -> int:
    kept = [grams.where(grams.counts >= least) for grams in orders]
    return sum(ENTRY * len(grams.tokens) + CONTEXT * len(np.unique(grams.contexts)) for grams in kept)


def table(orders: list[Counts], vocabulary: int) -> dict[str, torch.Tensor]:
    """What the file holds for each length m of context: `keys_m` [C] (see `NGrams`; none for m = 1), `sizes_m` [C], and row
    after row `tokens_m` and `chances_m` [N]."""
    tensors = {}
    known, rows = np.arange(vocabulary), np.arange(vocabulary)  # contexts of the order before, ascending, and their rows
    for m, grams in enumerate(orders, 1):
        contexts, sizes = np.unique(grams.contexts, return_counts=True)
        if m == 1:
            sizes = np.bincount(grams.contexts, minlength=vocabulary)
            order = np.arange(len(grams.tokens))
        else:
            first, rest = np.divmod(contexts, vocabulary ** (m - 1))
            keys = rows[np.searchsorted(known, rest)] * vocabulary + first
            by_key = np.argsort(keys)
            known, rows = contexts, np.argsort(by_key)
            order = np.argsort(np.repeat(rows, sizes), kind="stable")
            sizes = sizes[by_key]
            tensors[f"keys_{m}"] = torch.from_numpy(keys[by_key]).int()
        tensors[f"sizes_{m}"] = torch.from_numpy(sizes).short()
        tensors[f"tokens_{m}"] = torch.from_numpy(grams.tokens[order]).short()
        tensors[f"chances_{m}"] = torch.from_numpy((grams.counts / grams.totals)[order]).bfloat16()
    return tensors


def measure(grams: NGrams, held_out: np.ndarray) -> dict:
    """What the table foretells at the first places of `held_out` behind `LONGEST` tokens none of which is reserved.

    `top_1`, `top_9`: the share of places where the next token is the likeliest, or one of nine, of the paper's mix;
    `possible`: where it has any probability; `known`: for each length, the share of places whose context is in the table.
    """
    windows = np.lib.stride_tricks.sliding_window_view(held_out, LONGEST + 1)
    windows = torch.from_numpy(windows[(windows >= len(RESERVED)).all(1)][:TRIED].astype(np.int64))
    known, hits = [], {"top_1": 0, "top_9": 0, "possible": 0}
    for some in windows.split(500):
        mass = grams.mixed(some[:, :-1], WEIGHTS)
        own = mass.gather(1, some[:, -1:])
        better = (mass > own).sum(1, keepdim=True)
        for name, found in (("top_1", better < 1), ("top_9", better < 9), ("possible", own > 0)):
            hits[name] += int((found & (own > 0)).sum())
        alone = [grams.mixed(some[:, :-1], (0.0,) * m + (1.0,)).any(1).sum().item() for m in range(LONGEST)]
        known.append(alone)
    places = len(windows)
    return {"places": places, "known": [sum(column) / places for column in zip(*known)]} | {
        name: number / places for name, number in hits.items()
    }


def train_ngrams_super(
    megabytes: float = 3.4, seed: int = 0, folder: Path = parts.FOLDER, report: Callable[[str], None] = print
) -> Path:
    """Count the training text, keep what fits into `megabytes`, measure it on the held-out text; returns the part's file.

    About five minutes and 4 GB of memory. Raises ValueError as `prune` does.
    """
    tokenizer = load_tokenizer(SHIPPED[MODEL])
    vocabulary = tokenizer.get_vocab_size()
    report("the text as tokens")
    text = load_tokens(tokenizer, seed)
    ids = np.asarray(text.train)
    orders = []
    for order in range(2, LONGEST + 2):
        report(f"counting runs of {order} in {len(ids) / 1e6:.1f} M tokens")
        orders.append(count(ids, order, vocabulary, width=vocabulary))
    kept, least = prune(orders, megabytes * 1e6)
    tensors = table(kept, vocabulary)
    held = measure(NGrams({name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}), text.held_out)
    figures = {
        "corpus": text.manifest["fingerprint"],
        "tokens": len(ids),
        "seed": seed,
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()),
        "contexts": [len(tensors[f"sizes_{m}"]) for m in range(1, LONGEST + 1)],
        "entries": [len(grams.tokens) for grams in kept],
        "bigrams_seen_at_least": BIGRAMS_SEEN,
        "longer_seen_at_least": least,
        "held_out": held,
    }
    figures["summary"] = (
        f"N-grams that tell superposed drafts (P171) apart: {', '.join(f'{n:,}' for n in figures['entries'])} of two to six "
        f"tokens, bigrams seen {BIGRAMS_SEEN} times or more, longer ones {least} times. On held-out text the next token has a "
        f"probability at {held['possible']:.1%} of the places and is the likeliest at {held['top_1']:.1%}."
    )
    report(figures["summary"])
    return parts.save(PART, tensors, MODEL, figures, folder, parts.TOKENIZER)
