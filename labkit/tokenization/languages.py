"""The same phrases in many languages, fairly dealt: as many to learn from for each, and the same ones to be measured by."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from functools import cache

from labkit.tokenization.texts import parallel, phrases

LEAST = 1_200  # phrases, for a language to take part
LEARN, TEST = 800, 400  # phrases of each
ENGLISH = "en"
FAMILIES = {
    "Latin": ("LATIN",),
    "Cyrillic": ("CYRILLIC",),
    "right to left": ("ARABIC", "HEBREW"),
    "East Asian": ("CJK", "HIRAGANA", "KATAKANA", "HANGUL"),
    "Greek, Georgian": ("GREEK", "GEORGIAN"),
}
OTHERS = "South Asian"  # Devanagari, Bengali, Tamil, Thai, Lao and their relatives


@cache
def locales() -> tuple[str, ...]:
    """Babel's languages with at least `LEAST` phrases, English first; one that repeats another is left out."""
    from babel.localedata import locale_identifiers

    found: dict[frozenset, str] = {}
    for name in sorted(locale_identifiers()):
        if "_" not in name and len(known := phrases(name)) >= LEAST:
            found.setdefault(frozenset(known.items()), name)
    return ENGLISH, *(name for name in found.values() if name != ENGLISH)


@cache
def keys_to_test() -> tuple[str, ...]:
    """The keys of the phrases to be measured by: `TEST` of those that all the languages have, never learned from."""
    return tuple(sorted(_mixed(parallel(locales()))[:TEST]))


def to_learn(locale: str) -> list[str]:
    """`LEARN` of a language's other phrases."""
    known, away = phrases(locale), set(keys_to_test())
    return [known[key] for key in _mixed(known) if key not in away][:LEARN]


def to_test(locale: str) -> list[str]:
    """A language's phrases of the test keys, in the order of the keys."""
    return [phrases(locale)[key] for key in keys_to_test()]


def _mixed(keys) -> list[str]:
    return sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())


def called(locale: str) -> str:
    """A language's name in English; its code where English has no name for it."""
    return phrases(ENGLISH).get(f"languages.{locale}", locale)


def family(texts: list[str]) -> str:
    """The family of the script that most letters of the texts belong to."""
    letters = Counter(letter for text in texts for letter in text if letter.isalpha())
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        scripts[unicodedata.name(letter, "unknown").split()[0]] += count
    script = max(scripts, key=scripts.get, default="LATIN")
    return next((name for name, members in FAMILIES.items() if script in members), OTHERS)
