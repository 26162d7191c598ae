"""P034, played through: token premiums of tokenizers made alike for 74 languages, and of those that a person can choose."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import variance

from labkit.errors import LabError
from labkit.knobs import knob
from labkit.methods import Study
from labkit.tokenization.languages import TEST, called, family, locales, to_learn, to_test
from labkit.tokenization.premiums import (
    ALGORITHMS,
    BASES,
    GRID,
    WORDS,
    Recipe,
    at,
    best_size,
    explained,
    fit,
    growing,
    unigram_count,
)
from labkit.tokenization.segmenter import all_segmenters, build_segmenter
from labkit.trace import Step

PREDICTORS = {"white space": "white", "bytes": "bytes", "words seen in training": "seen", "characters a token": "length"}


def described(locale: str) -> dict:
    """A language as plain data: what it is called, and what its test phrases look like before any tokenizer."""
    texts = to_test(locale)
    whole = "".join(texts)
    seen = {word for text in to_learn(locale) for word in text.split()}
    tested = [word for text in texts for word in text.split()]
    return {
        "locale": locale,
        "name": called(locale),
        "family": family(texts),
        "bytes": len(whole.encode()),
        "white": sum(letter.isspace() for letter in whole) / len(whole),
        "seen": sum(word in seen for word in tested) / len(tested),
    }


def levelling(fixed: list[int], levelled: list[int]) -> dict[str, float]:
    """The variance of the CTC at one V and at V*, in squared tokens, their ratio F, and the chance of such an F by luck."""
    from scipy.stats import f  # slow to import

    before, after, free = variance(fixed), variance(levelled), len(fixed) - 1
    return {"fixed": before, "levelled": after, "f": before / after, "p": float(f.sf(before / after, free, free))}


@dataclass
class Premiums(Study):
    """Do equal data and an equal vocabulary serve all languages alike (P034)?

    For each of 74 languages a tokenizer of its own learns from 800 phrases of Unicode's locale data, with the same settings, and
    is measured on 400 others, the same for all. The premium is its token count over English's. A curve through the counts at
    many vocabulary sizes says at which size V* each language would need a target number of tokens; the tokenizer of that size
    is then counted for real. The paper has 300 MB a language and 8,192 to 262,144 entries; 800 phrases carry about 1,000.
    """

    name, title, paper = "premiums", "Token premiums", "P034"
    charts = ("premium_bars", "premium_curves", "premium_causes")
    size: int = knob(600, 300, 1000, unit="entries", label="Vocabulary V", step=10, help="the same for all")
    target: float = knob(5.8, 3.0, 10.0, unit="tokens", label="Target", step=0.1, help="a phrase, met by V*")
    words: str = knob("whitespace", choices=WORDS, label="Merges stay in", help="superwords: then across")
    algorithm: str = knob("BPE", choices=ALGORITHMS, help="Unigram is slower")
    base: str = knob("bytes", choices=BASES, help="the smallest entries")
    transition: float = knob(0.8, 0.5, 0.9, unit="of V", help="superwords from here")

    def steps(self, session, rng):
        transition = max(257, round(self.transition * self.size))
        recipe = Recipe(self.size, self.words, self.algorithm, self.base, transition)
        known: dict[str, list[float]] = {name: [] for name in PREDICTORS}
        rows: list[dict] = []
        share = 1 / (5 if self.algorithm == "Unigram" else 1)
        fixed = {"of": len(locales()), "size": self.size, "target": self.target, "phrases": TEST, "causes": {}, "levelling": {}}
        for done, locale in enumerate(locales()):
            learned, tested = to_learn(locale), to_test(locale)
            found: dict[int, int] = {}
            for trained, more in enumerate(growing(learned, tested, recipe), 1):
                found = more
                if trained * share < 1:
                    yield Step([], notes={**fixed, "done": done + trained * share, "language": None})
            row = described(locale) | self.measured(found, learned, tested, recipe)
            rows.append(row | {"premium": row["tokens"] / (rows[0]["tokens"] if rows else row["tokens"])})  # English is the first
            for name, key in PREDICTORS.items():
                known[name].append(row[key])
            if len(rows) > len(known) + 2:
                fixed["causes"] = explained(known, [row["premium"] for row in rows])
                fixed["levelling"] = levelling([row["tokens"] for row in rows], [row["levelled"] for row in rows])
            yield Step([], notes={**fixed, "done": done + 1, "language": rows[-1]})

    def measured(self, found: dict[int, int], learned: list[str], tested: list[str], recipe: Recipe) -> dict:
        """A language's CTC at V, its curve, V*, and the CTC there (at the largest size it has, where V* is beyond)."""
        curve, last = fit(found), max(found)
        best = best_size(curve, self.target * TEST)
        reached = min(best or last, last)
        levelled = at(found, reached) if self.algorithm == "BPE" else unigram_count(learned, tested, reached, recipe)
        sizes = [size for size in found if size >= min(300, last)]
        thinned = sorted({*sizes[:: max(1, len(sizes) // GRID)], last})
        tokens = at(found, self.size)
        return {
            "tokens": tokens,
            "length": sum(map(len, tested)) / tokens,
            "entries": min(self.size, last),
            "curve": list(curve),
            "points": [[size, found[size]] for size in thinned],
            "best": best,
            "reached": reached,
            "levelled": levelled,
        }


@dataclass
class SegmenterPremiums(Study):
    """What do other languages pay under a tokenizer that was not made for them (P034)?

    Every segmenter of the lab, and the model's own tokenizer, read the same phrases in 74 languages; the premium is the token
    count over that of English. The shipped model's tokenizer learned from Python code.
    """

    name, title, paper = "segmenter-premiums", "Premiums of the lab's tokenizers", "P034"
    charts = ("premium_rows",)
    phrases: int = knob(100, 10, TEST, unit="phrases", help="the same ones in every language")

    def steps(self, session, rng):
        segmenters = {}
        for name in all_segmenters():
            try:
                segmenters[name] = build_segmenter(name, {}, session.vocabulary)
                segmenters[name].cut("a")
            except LabError:
                segmenters.pop(name, None)  # this one cannot be had here
        titles = {name: segmenter.title for name, segmenter in segmenters.items()}
        english: dict[str, int] = {}
        for done, locale in enumerate(locales(), 1):
            texts = to_test(locale)[: self.phrases]
            found = {}
            for name, segmenter in segmenters.items():
                try:
                    found[name] = sum(len(segmenter.cut(text)) for text in texts)
                except LabError:
                    continue  # it changes this text, and has no cuts to count
            english = english or found
            row = {"locale": locale, "name": called(locale), "family": family(texts), "tokens": found}
            row["premiums"] = {name: tokens / english[name] for name, tokens in found.items() if name in english}
            yield Step([], notes={"done": done, "of": len(locales()), "titles": titles, "language": row})
