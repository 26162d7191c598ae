"""Which tokens mean something (P093): %valid are words or affixes of a language, %pure are one bare root or one bare affix."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import NamedTuple

from labkit.tokenization import endings, turkish
from labkit.tokenization.analysis import Language, forms
from labkit.tokenization.morphs import surfaces

PURE, VALID, NEITHER = "pure", "valid", "neither"
SHORTEST = 2  # letters of a Python name or part of one; every single letter is somebody's variable, and says nothing


class Lexicon(NamedTuple):
    """A language's two questions to a text: is it one bare morpheme, and is it a whole word?"""

    name: str
    is_morpheme: Callable[[str], bool]
    is_word: Callable[[str], bool]

    def tag(self, piece: bytes) -> str | None:
        """ "pure", "valid" (a word of several morphemes) or "neither"; None for a token without a letter, which is not judged.

        White space around the piece does not count. Part of a character is "neither". What is pure is valid too.
        """
        try:
            text = piece.decode().strip()
        except UnicodeDecodeError:
            return NEITHER
        if not any(map(str.isalpha, text)):
            return None
        return PURE if self.is_morpheme(text) else VALID if self.is_word(text) else NEITHER


@cache
def turkish_lexicon() -> Lexicon:
    """The lab's Turkish: pure = any form of a root or a suffix; valid = those, and every word that its grammar makes.

    Two suffixes without their root (lar-ım) are neither a word nor an affix. Case does not count.
    """
    language = turkish.turkish()
    known = _written(language)
    return Lexicon(
        "turkish", lambda text: language.lower(text) in known, lambda text: bool(turkish.gold(language.lower(text)))
    )


@cache
def python_lexicon() -> Lexicon:
    """Keywords, builtins and names of the standard library; pure = one part of such a name (max, Error), also as it
    stands before an ending (cach-ing), or an ending (ing).

    A part is cut at underscores and changes of case; names and parts of one letter do not count. The endings: `endings.py`.
    """
    parts = {part for part in endings.all_parts() if len(part) >= SHORTEST}
    known = parts | _written(endings.endings())
    return Lexicon(
        "python",
        lambda text: text.lower() in known and endings.parts_of(text) == [text],
        lambda text: len(text) >= SHORTEST and text in endings.all_names(),
    )


def _written(language: Language) -> frozenset[str]:
    suffixes = [form for found in surfaces(language).values() for form in found]
    return frozenset([*forms(language, language.roots.values()), *suffixes])


LEXICA = {"turkish": turkish_lexicon, "python": python_lexicon}


def tagged(pieces: Iterable[bytes], lexicon: Lexicon) -> list[tuple[bytes, str | None, int]]:
    """Every different piece, its tag and how often it stands there, the commonest first."""
    counts = sorted(Counter(iter(pieces)).items(), key=lambda item: (-item[1], item[0]))
    return [(piece, lexicon.tag(piece), times) for piece, times in counts]


def valid_and_pure(pieces: Iterable[bytes], lexicon: Lexicon, unique: bool = True) -> tuple[float, float]:
    """The shares of the pieces that are valid and that are pure, of those with a letter; (0, 0) where there is none.

    `unique` as in the paper: every different piece counts once; otherwise as often as it stands there.
    """
    counts = dict.fromkeys((PURE, VALID, NEITHER), 0)
    for _, tag, times in tagged(pieces, lexicon):
        if tag:
            counts[tag] += 1 if unique else times
    judged = sum(counts.values())
    return ((counts[PURE] + counts[VALID]) / judged, counts[PURE] / judged) if judged else (0.0, 0.0)


def bits_per_byte(train: Sequence[int], test: Sequence[int], vocabulary: int, size: int) -> float:
    """What a trigram model of `train` (Witten-Bell smoothing) needs to write `test`, `size` bytes long; bits a byte.

    Behind what it has seen stands an even chance for each of the `vocabulary` tokens.
    """
    followers: list[dict[tuple[int, ...], Counter[int]]] = [{}, {}, {}]  # by the length of the context
    for at, token in enumerate(train):
        for length in range(min(at, 2) + 1):
            followers[length].setdefault(tuple(train[at - length : at]), Counter())[token] += 1
    sums = [{context: counts.total() for context, counts in order.items()} for order in followers]
    bits = 0.0
    for at, token in enumerate(test):
        chance = 1 / vocabulary
        for length in range(min(at, 2) + 1):
            context = tuple(test[at - length : at])
            if counts := followers[length].get(context):
                chance = (counts[token] + len(counts) * chance) / (sums[length][context] + len(counts))
        bits -= math.log2(chance)
    return bits / size if size else 0.0


def correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float] | None:
    """Pearson's r with its 95 % interval by Fisher's z: (low, r, high); None for under four points, or a constant."""
    n = len(x)
    mean_x, mean_y = (sum(values) / n if n else 0.0 for values in (x, y))
    spread = math.sqrt(sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y))
    if n < 4 or spread < 1e-12:
        return None
    r = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / spread
    z, half = math.atanh(max(-0.999999, min(0.999999, r))), 1.96 / math.sqrt(n - 3)
    return math.tanh(z - half), r, math.tanh(z + half)
