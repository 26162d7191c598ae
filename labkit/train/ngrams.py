"""The tri-gram table that ADED (P113) drafts from: counted over the training text, pruned to a few megabytes, measured."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from labkit import parts
from labkit.models import SHIPPED
from labkit.speculative.trigrams import LEFT, PART, WIDTH
from labkit.train.tokenizer import RESERVED, load_tokenizer
from labkit.train.tokens import load_tokens

MODEL = "lab-target"  # whose tokenizer the table is bound to
RAREST = 3  # what was seen less often is not kept, whatever the budget
BLOCKS = 16  # the text is counted in so many passes, so that one needs little memory
ENTRY, CONTEXT = 4, 5  # bytes in the file: a token and its probability; a pair and how many entries it has


class Counts(NamedTuple):
    """N-grams, sorted by context, then by falling count. All int64 [N]."""

    contexts: np.ndarray  # v, or u * vocabulary + v
    tokens: np.ndarray
    counts: np.ndarray
    totals: np.ndarray  # how often the context was seen

    def where(self, chosen: np.ndarray) -> "Counts":
        return Counts(*(column[chosen] for column in self))


def count(ids: np.ndarray, order: int, vocabulary: int, width: int = WIDTH) -> Counts:
    """The `order`-grams (2 to 6) of `ids` without a reserved token: at most `width` a context, each seen `RAREST` times."""
    plain = ids >= len(RESERVED)
    starts = np.flatnonzero(np.logical_and.reduce([plain[i : len(ids) - order + 1 + i] for i in range(order)]))
    blocks = []
    for block in range(BLOCKS):
        here = starts[ids[starts] % BLOCKS == block]
        contexts = np.zeros(len(here), dtype=np.int64)
        for place in range(order - 1):
            contexts = contexts * vocabulary + ids[here + place]
        contexts, places = np.unique(contexts, return_inverse=True)  # six tokens at once would not fit into 64 bits
        grams, counts = np.unique(places * vocabulary + ids[here + order - 1], return_counts=True)
        blocks.append(_best(contexts[grams // vocabulary], grams % vocabulary, counts, width))
    columns = [np.concatenate(column) for column in zip(*blocks)]
    return Counts(*columns).where(np.argsort(columns[0], kind="stable"))


def _best(contexts: np.ndarray, tokens: np.ndarray, counts: np.ndarray, width: int) -> Counts:
    """The `width` most frequent of every context; `contexts` are sorted."""
    order = np.lexsort((tokens, -counts, contexts))
    tokens, counts = tokens[order], counts[order]
    sizes = np.unique(contexts, return_counts=True)[1]
    totals = np.add.reduceat(counts, sizes.cumsum() - sizes) if len(sizes) else counts
    found = Counts(contexts, tokens, counts, np.repeat(totals, sizes))
    return found.where((_rank(sizes) < width) & (counts >= RAREST))


def _rank(sizes: np.ndarray) -> np.ndarray:
    """0, 1, 2 ... within each group, for groups of `sizes` one after another."""
    return np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes)


def prune(grams: Counts, budget: float) -> tuple[Counts, int]:
    """The most frequent n-grams that fit into `budget` bytes, and how often the rarest of them was seen."""
    for least in np.unique(grams.counts).tolist():
        kept = grams.where(grams.counts >= least)
        if ENTRY * len(kept.tokens) + CONTEXT * len(np.unique(kept.contexts)) <= budget:
            return kept, least
    return grams.where(np.zeros(len(grams.tokens), dtype=bool)), 0


def _rows(grams: Counts) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The contexts, their number of entries, and their tokens and probabilities as rows padded with 0, [C, WIDTH]."""
    contexts, sizes = np.unique(grams.contexts, return_counts=True)
    place = np.repeat(np.arange(len(contexts)), sizes), _rank(sizes)
    tokens, chances = np.zeros((len(contexts), WIDTH), dtype=np.int64), np.zeros((len(contexts), WIDTH))
    tokens[place], chances[place] = grams.tokens, grams.counts / grams.totals
    return contexts, sizes, tokens, chances


def table(pairs: Counts, singles: Counts, vocabulary: int) -> dict[str, torch.Tensor]:
    """What the file holds: `pairs` [C] ascending with their `sizes` [C]; row after row, `tokens` and `chances` [N]; and padded
    rows of single tokens, `after_one` and `after_one_chances` [V, WIDTH], where a probability of 0 means no entry."""
    contexts, sizes, _, _ = _rows(pairs)
    own, _, tokens, chances = _rows(singles)
    after, after_chances = np.zeros((vocabulary, WIDTH), dtype=np.int64), np.zeros((vocabulary, WIDTH))
    after[own], after_chances[own] = tokens, chances
    return {
        "pairs": torch.from_numpy(contexts).int(),
        "sizes": torch.from_numpy(sizes).to(torch.uint8),
        "tokens": torch.from_numpy(pairs.tokens).short(),
        "chances": torch.from_numpy(pairs.counts / pairs.totals).bfloat16(),
        "after_one": torch.from_numpy(after).short(),
        "after_one_chances": torch.from_numpy(after_chances).bfloat16(),
    }


def measure(pairs: Counts, singles: Counts, held_out: np.ndarray, vocabulary: int) -> dict:
    """What the table foretells of `held_out`, over the places whose three tokens are no reserved ones.

    `known`: the share of places whose pair has a row. Then with rows of pairs (and of single tokens behind them), and with
    single tokens alone: `top_1`, `top_8`, the share of places where the next token is the likeliest, or one of eight;
    `loss` and `entropy`, nats a token, with what a row leaves of 1 (`LEFT` at least) spread evenly over the vocabulary.
    """
    u, v, w = (held_out[place : len(held_out) - 2 + place].astype(np.int64) for place in range(3))
    plain = np.minimum(np.minimum(u, v), w) >= len(RESERVED)
    u, v, w = u[plain], v[plain], w[plain]
    contexts, _, tokens, chances = _rows(pairs)
    own, _, one_tokens, one_chances = _rows(singles)
    place = np.searchsorted(contexts, u * vocabulary + v).clip(max=len(contexts) - 1)
    known = contexts[place] == u * vocabulary + v
    single = np.searchsorted(own, v).clip(max=len(own) - 1)
    rare = (own[single] != v)[:, None]
    alone = np.where(rare, 0, one_tokens[single]), np.where(rare, 0.0, one_chances[single])
    both = [np.where(known[:, None], of_pairs[place], of_one) for of_pairs, of_one in zip((tokens, chances), alone)]
    found = {"places": len(w), "known": float(known.mean())}
    return found | {"pairs": _foretold(*both, w, vocabulary), "singles": _foretold(*alone, w, vocabulary)}


def _foretold(tokens: np.ndarray, chances: np.ndarray, came: np.ndarray, vocabulary: int) -> dict[str, float]:
    """`tokens`, `chances` [n, WIDTH] against the token that `came` [n]."""
    hits = (tokens == came[:, None]) & (chances > 0)
    mass = chances.sum(1)
    left = np.maximum(1 - mass, LEFT)
    law = chances * ((1 - left) / np.maximum(mass, 1e-9))[:, None]
    even = left / vocabulary  # every token's share of what is left
    named = law + even[:, None] * (chances > 0)
    unnamed = (vocabulary - (chances > 0).sum(1)) * even * np.log(even)
    return {
        "top_1": float(hits[:, 0].mean()),
        "top_8": float(hits[:, :8].any(1).mean()),
        "loss": float(-np.log((law * hits).sum(1) + even).mean()),
        "entropy": float(-((named * np.log(np.where(named > 0, named, 1))).sum(1) + unnamed).mean()),
    }


def train_ngrams(
    megabytes: float = 2.0, seed: int = 0, folder: Path = parts.FOLDER, report: Callable[[str], None] = print
) -> Path:
    """Count the training text, keep what fits into `megabytes`, measure it on the held-out text; returns the part's file.

    Some minutes, most of them spent on cutting the text into tokens when no cache of it is there yet. Raises ValueError when
    the budget is too small for the rows of single tokens.
    """
    tokenizer = load_tokenizer(SHIPPED[MODEL])
    vocabulary = tokenizer.get_vocab_size()
    room = megabytes * 1e6 - ENTRY * WIDTH * vocabulary
    if room <= 0:
        raise ValueError(f"{megabytes:g} megabytes can't hold the rows of single tokens: give at least 0.5")
    report("the text as tokens")
    text = load_tokens(tokenizer, seed)
    ids = np.asarray(text.train)
    report(f"counting {len(ids) / 1e6:.1f} M tokens")
    singles, pairs = count(ids, 2, vocabulary), count(ids, 3, vocabulary)
    kept, least = prune(pairs, room)
    tensors = table(kept, singles, vocabulary)
    figures = {
        "corpus": text.manifest["fingerprint"],
        "tokens": len(ids),
        "seed": seed,
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()),
        "pairs": len(tensors["pairs"]),
        "entries": len(kept.tokens),
        "seen_at_least": least,
        "held_out": measure(kept, singles, np.asarray(text.held_out), vocabulary),
    }
    held = figures["held_out"]
    figures["summary"] = (
        f"Tri-grams that ADED (P113) drafts from: {figures['pairs']:,} pairs of tokens, {figures['entries']:,} continuations "
        f"seen {least} times or more. On held-out text {held['known']:.1%} of the pairs are known, the next token is the "
        f"likeliest at {held['pairs']['top_1']:.1%} of the places and among the first eight at {held['pairs']['top_8']:.1%}."
    )
    report(figures["summary"])
    return parts.save(PART, tensors, MODEL, figures, folder, parts.TOKENIZER)
