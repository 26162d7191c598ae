"""The words inside Python's names, and the English endings they take: name-s, match-es, cach-ing, mapp-er.

The names are those that the standard library defines and uses most (`data/tokenizers/python_names.txt`, written by
`labkit train morphs`). A part of a name is a run of letters between underscores and case changes; roots are the parts, in small
letters, that are no other part plus endings. The joins are regular English spelling: a silent e goes before a vowel, y becomes
ie, a short word doubles its last letter. Irregular words (children, written, submitted) are roots of their own.
"""

from __future__ import annotations

import builtins
import keyword
import re
from functools import cache, cached_property

from labkit.paths import DATA
from labkit.tokenization.analysis import Language, Morpheme, analyse, forms

ENDINGS = {
    "s": "more than one; does",
    "ed": "did",
    "ing": "is doing",
    "er": "who does; more",
    "or": "who does",
    "ion": "the doing",
    "able": "can be done",
    "ize": "make so",
    "ly": "in such a manner",
    "al": "of",
    "ity": "being so",
    "ness": "being so",
    "less": "without",
    "ment": "the doing",
    "ful": "full of",
}
VOWELS = frozenset("aeiou")
SHORT = re.compile(r"[^aeiou]*[aeiou][^aeiouwxy]")  # a word that doubles its last letter: map, stop, plan
PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # HTTPServer: HTTP, Server


def parts_of(name: str) -> list[str]:
    """The words in a name of ASCII letters: `max_HTTPErrors2` gives max, HTTP, Errors."""
    return PART.findall(name)


@cache
def library_names() -> tuple[str, ...]:
    """Names of the standard library, the most used first."""
    return tuple((DATA / "tokenizers" / "python_names.txt").read_text(encoding="utf-8").split())


@cache
def all_names() -> frozenset[str]:
    """Keywords, builtins and the names of the standard library."""
    return frozenset({*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *library_names()})


@cache
def all_parts() -> frozenset[str]:
    """The words in them, in small letters."""
    return frozenset(part.lower() for name in all_names() for part in parts_of(name))


class Endings(Language):
    """English words as they stand in Python's names."""

    name = "python"

    @cached_property
    def roots(self):
        ordered = [*keyword.kwlist, *keyword.softkwlist, *library_names(), *dir(builtins)]
        words = dict.fromkeys(part.lower() for name in ordered for part in parts_of(name))
        known = {word: Morpheme(word, is_root=True) for word in words if len(word) > 1}
        index = forms(self, known.values())
        return {name: root for name, root in known.items() if not self._derived(root, index)}

    def _derived(self, root: Morpheme, index: dict[str, list[Morpheme]]) -> bool:
        """Is it another root, of three letters or more, plus endings?"""
        others = {}
        for end in range(3, len(root.name)):
            kept = [other for other in index.get(root.name[:end], ()) if len(other.name) > 2 and other is not root]
            others[root.name[:end]] = kept
        found = analyse(root.name, self, others, best=True)
        return bool(found) and sum(len(one.written) for one in found) == len(root.name)

    @cached_property
    def affixes(self):
        return {name: Morpheme(name, means) for name, means in ENDINGS.items()}

    def join(self, stem, last, affix):
        ending = affix.name
        if ending == "s":
            if stem[-1:] == "y" and stem[-2:-1] not in VOWELS:
                return stem[:-1] + "i", "es"
            return stem, "es" if stem.endswith(("s", "x", "z", "ch", "sh")) else "s"
        if stem[-1:] == "e" and ending in ("ed", "er"):
            return stem, ending[1:]
        if stem[-1:] == "e" and ending[0] in VOWELS:
            return stem[:-1], ending
        if stem[-1:] == "y" and stem[-2:-1] not in VOWELS and ending in ("ed", "er", "able"):
            return stem[:-1] + "i", ending
        if ending in ("ed", "er", "ing") and SHORT.fullmatch(stem):
            return stem + stem[-1], ending
        return stem, ending

    def variants(self, morpheme, surface):
        last = surface[-1]
        found = [surface[:-1]] * (last == "e") + [surface[:-1] + "i"] * (last == "y")
        found += [surface + last] * bool(SHORT.fullmatch(surface))
        return tuple(form for form in found if form)


@cache
def endings() -> Endings:
    """The language, read once."""
    return Endings()
