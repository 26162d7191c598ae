"""A language of two letters with six tokens and a model made of hashes: small enough that everything can be counted (P045)."""

from __future__ import annotations

import hashlib
from itertools import product

import numpy as np

from labkit.tokenization.byte_laws import Left
from labkit.tokenization.byte_units import Units

MERGES = [(b"a", b"b"), (b"b", b"a"), (b"ab", b"a"), (b"b", b"b")]
SPELLINGS = dict(enumerate([b"a", b"b", *(left + right for left, right in MERGES)]))


def toy_units() -> Units:
    """The six tokens; the whole text is one pre-token."""
    return Units(SPELLINGS, MERGES, lambda text: [text])


def hashed(left: Left) -> np.ndarray:
    """A raw law over the six tokens and the end, [7], that depends on all that stands before, invalid tokens included."""
    digest = hashlib.sha256(b"|".join(left)).digest()
    weights = np.array([digest[place] + 1.0 for place in range(len(SPELLINGS) + 1)]) ** 2
    return weights / weights.sum()


def sequences(units: Units, length: int) -> list[Left]:
    """Every valid sequence of at most `length` tokens, by cutting its text again."""
    found = []
    for count in range(length + 1):
        for tokens in product(units.spelled, repeat=count):
            if units.cut(b"".join(tokens)) == tokens:
                found.append(tokens)
    return found


def chance(units: Units, tokens: Left) -> float:
    """P(tokens) under the toy, each law masked to what keeps the text valid and normalised: by brute force."""
    value = 1.0
    for place, token in enumerate(tokens):
        law = hashed(tokens[:place]) * np.append([units.is_next(b"".join(tokens[:place]), one) for one in units.spelled], 1)
        value *= law[units.row[token]] / law.sum()
    return value
