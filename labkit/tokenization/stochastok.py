"""StochasTok (P099): split tokens at random while training, so that a model sees what its tokens are made of.

A tokenizer's own cut is one of many ways to write a text with the same vocabulary. StochasTok takes the cut and splits some of
its tokens in two, again and again, wherever both halves are tokens. BPE-dropout leaves out merges instead, and so needs the
merges; splitting into single bytes is the far end of both. All three leave the text as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

Table = dict[int, list[tuple[int, int]]]


def expansions(vocabulary: dict[bytes, int]) -> Table:
    """Of every token all pairs of tokens whose bytes joined are its own; tokens without a pair are left out.

    Any cut counts, not only the one of the merge that made the token. The release caches this table as JSON, which turns its
    keys into strings: from the second run on no token is found in it, and nothing is ever split. Ours is not stored.
    """
    found: Table = {}
    for piece, token in vocabulary.items():
        halves = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        pairs = [(vocabulary[left], vocabulary[right]) for left, right in halves if left in vocabulary and right in vocabulary]
        if pairs:
            found[token] = pairs
    return found


def below(number: int, rng: torch.Generator) -> int:
    """A whole number from 0 to `number` - 1, all alike."""
    return int(torch.randint(number, (), generator=rng))


def stochastok(ids: Sequence[int], table: Table, p: float, rng: torch.Generator, most: int | None = None) -> list[int]:
    """Another way to write the same text: int(len(ids) * p) times a place is drawn, and its token split if that can be done.

    Places are drawn from the sequence as it is by then, so a half may be split again; of a token's pairs all are equally likely.
    A token without a pair (a single byte, a special token) costs the attempt. `most` ends it after so many splits; None = none.
    """
    ids, first = list(ids), len(ids)
    for _ in range(int(len(ids) * p)):
        if most is not None and len(ids) - first >= most:
            break
        place = below(len(ids), rng)
        if pairs := table.get(ids[place]):
            ids[place : place + 1] = pairs[below(len(pairs), rng)]
    return ids


def merged(word: bytes, ranks: dict[tuple[bytes, bytes], int], p: float, rng: torch.Generator) -> list[bytes]:
    """BPE-dropout (Provilkov et al. 2020) of one pre-token: before every merge each that could be done is left out with chance p.

    Ends when none is left in. p = 0 is plain BPE, p = 1 leaves single bytes. Written out here because the `tokenizers` library
    draws from a source that has no seed.
    """
    parts = [word[at : at + 1] for at in range(len(word))]
    while len(parts) > 1:
        ready = [(rank, at) for at, pair in enumerate(zip(parts, parts[1:])) if (rank := ranks.get(pair)) is not None]
        if p:
            coins = torch.rand(len(ready), generator=rng).tolist()
            ready = [one for one, coin in zip(ready, coins) if coin >= p]
        if not ready:
            break
        at = min(ready)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts
