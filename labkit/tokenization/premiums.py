"""Token premiums: how many tokens the same phrases cost in each language, and the vocabulary that evens them out (P034).

For each language a tokenizer of its own learns from as much text, with the same settings. CTC, the corpus token count, is what
it then needs for phrases that every language has; the premium is CTC over English's CTC.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from labkit.errors import KnobError
from labkit.tokenization.bpe import ALL_BYTES, WHITESPACE, Corpus, Word, base_characters, learn, words

SMALLEST = 300  # entries; curves are fitted from here on
GRID = 12  # sizes that a curve is fitted to
UNIGRAM_GRID = (320, 500, 750, 1070)  # entries; Unigram learns anew for each
ALGORITHMS, WORDS, BASES = ("BPE", "Unigram"), ("whitespace", "none", "superwords"), ("bytes", "characters")


@dataclass(frozen=True)
class Recipe:
    """How a tokenizer is made; `size` and `transition` count entries of the vocabulary, the 256 bytes among them."""

    size: int = 700
    words: str = "whitespace"  # merges stay inside words, or inside phrases, or cross spaces from `transition` entries on
    algorithm: str = "BPE"
    base: str = "bytes"
    transition: int = 500


def counts(learned: list[str], tested: list[str], recipe: Recipe) -> dict[int, int]:
    """The CTC of the tested phrases by size of the vocabulary, ascending, each phrase by itself.

    BPE learns one list of merges, as long as a pair occurs twice; its beginnings are the smaller vocabularies, so their CTC
    never rises. Unigram learns anew for each of some sizes. Raises `KnobError` for superwords without BPE.
    """
    *_, found = growing(learned, tested, recipe)
    return found


def growing(learned: list[str], tested: list[str], recipe: Recipe) -> Iterator[dict[int, int]]:
    """What `counts` returns, after each tokenizer that was trained for it."""
    if recipe.algorithm == "BPE":
        yield _merged(learned, tested, recipe)
        return
    if recipe.words == "superwords":
        raise KnobError("Superwords go on with BPE's merges and Unigram has none: choose BPE, or other words.")
    found: dict[int, int] = {}
    for size in sorted({*UNIGRAM_GRID, recipe.size}):
        found = found | {size: unigram_count(learned, tested, size, recipe)}
        yield found


def _merged(learned: list[str], tested: list[str], recipe: Recipe) -> dict[int, int]:
    known: set[str] = set(map(chr, range(128)))
    found = {256: sum(len(text.encode()) for text in tested)}
    if recipe.base == "characters":  # they join first, the most frequent one first
        letters = Counter(letter for text in tested for letter in text)
        for letter, seen in sorted(Counter("".join(learned)).items(), key=lambda one: (-one[1], one[0])):
            if seen >= 2 and letter not in known:
                known.add(letter)
                found[256 + len(found)] = found[255 + len(found)] - letters[letter] * (len(letter.encode()) - 1)

    def corpus(texts: list[str], pattern: str | None) -> Corpus:
        split: dict[Word, int] = {}
        for word, count in words(texts, pattern).items():
            split[base_characters(word, known)] = count
        return Corpus(split)

    inside = None if recipe.words == "none" else WHITESPACE
    spelled = ALL_BYTES | {letter.encode() for letter in known}
    merges = []
    training, measured = corpus(learned, inside), corpus(tested, inside)
    stages = 2 if recipe.words == "superwords" else 1
    for stage in range(stages):
        if stage:
            training, measured = corpus(learned, None), corpus(tested, None)
            for pair in merges:
                training.merge(pair)
                measured.merge(pair)
        for pair in learn(training):
            measured.merge(pair)
            merges.append(pair)
            spelled |= {pair[0] + pair[1]}
            found[len(spelled)] = measured.tokens
            if stages == 2 and not stage and len(spelled) >= recipe.transition:
                break
    return found


def unigram_count(learned: list[str], tested: list[str], size: int, recipe: Recipe) -> int:
    """The CTC under a Unigram model of `size` entries; a character that it never saw costs its bytes.

    Over characters 256 entries are left to those bytes, unless its alphabet alone takes more.
    """
    cut = [pre_tokenizers.Split(Regex(WHITESPACE), "isolated")] if recipe.words == "whitespace" else []
    letters: list[str] = []
    if recipe.base == "bytes":
        cut.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        letters = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.Unigram())
    if cut:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cut)
    room = size if letters else max(size - 256, len(set("".join(learned))))
    choices = {"initial_alphabet": letters, "special_tokens": ["<unk>"], "unk_token": "<unk>", "show_progress": False}
    tokenizer.train_from_iterator(learned, trainers.UnigramTrainer(vocab_size=room + 1, **choices))
    total = 0
    for text, encoded in zip(tested, tokenizer.encode_batch(tested, add_special_tokens=False)):
        for token, (start, end) in zip(encoded.ids, encoded.offsets):
            total += len(text[start:end].encode()) if token == 0 else 1
    return total


def at(found: dict[int, int], size: int) -> int:
    """The CTC at `size` entries, or at the nearest smaller size that there is."""
    return found[max((one for one in found if one <= size), default=min(found))]


def fit(found: dict[int, int]) -> tuple[float, float, float]:
    """(a, b, c) of log CTC = a + b log V + c (log V)^2, least squares over `GRID` sizes, spaced evenly in log V.

    The paper's form of the curve is inferred.
    """
    sizes = [size for size in found if size >= SMALLEST] or list(found)
    wanted = np.geomspace(sizes[0], sizes[-1], GRID)
    chosen = sorted({max(size for size in sizes if size <= one + 0.5) for one in wanted})
    c, b, a = np.polyfit(np.log(chosen), np.log([found[size] for size in chosen]), min(2, len(chosen) - 1))
    return float(a), float(b), float(c)


def best_size(curve: tuple[float, float, float], target: float) -> int | None:
    """V*: the size at which the fitted curve, on its way down, meets `target` tokens; None where it never does."""
    a, b, c = curve
    inside = b * b - 4 * c * (a - math.log(target))
    if inside < 0:
        return None
    root = (math.log(target) - a) / b if abs(c) < 1e-12 else (-b - math.sqrt(inside)) / (2 * c)
    return round(math.exp(root)) if root < 12 else None  # e^12: no vocabulary is that large


def explained(predictors: dict[str, list[float]], wanted: list[float]) -> dict[str, float]:
    """R squared of `wanted` (one value a language) from each predictor alone, and from all "together" (least squares)."""

    def r_squared(columns: Iterable[list[float]]) -> float:
        design = np.column_stack([np.ones(len(wanted)), *columns])
        left = np.asarray(wanted) - design @ np.linalg.lstsq(design, np.asarray(wanted), rcond=None)[0]
        return float(1 - left @ left / (np.var(wanted) * len(wanted)))

    return {name: r_squared([column]) for name, column in predictors.items()} | {"together": r_squared(predictors.values())}
