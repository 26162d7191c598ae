"""Words taken apart into a root and affixes, for any language that can say how its morphemes join.

The search runs the language's own rules forwards: an affix is found where joining it gives the letters that stand there. So
whatever is found can be written again from the morphemes' names alone, and nothing is found that could not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

LONGEST = 60  # letters; a longer word is no word, and is not searched


@dataclass(frozen=True)
class Morpheme:
    """A root or an affix, by the one name that all its written forms share: "kitap", "lAr".

    `starts`: where a root stands in the grammar, one word a use. `moves`: behind which kinds of word an affix may stand, and
    what the word then is. `soft`: what a root becomes before a vowel, where it changes.
    """

    name: str
    means: str = ""
    is_root: bool = False
    starts: tuple[str, ...] = ()
    moves: tuple[tuple[str, str], ...] = ()
    soft: str = ""


class Found(NamedTuple):
    """One morpheme of a word, and its letters there."""

    morpheme: Morpheme
    written: str


class Language:
    """How a language joins its morphemes; a subclass gives the methods that raise here."""

    name: ClassVar[str] = ""
    unfinished: ClassVar[frozenset[str]] = frozenset()  # kinds of word that need one more affix

    @property
    def roots(self) -> dict[str, Morpheme]:
        """Every root by its name, commonest first where that is known."""
        raise NotImplementedError

    @property
    def affixes(self) -> dict[str, Morpheme]:
        """Every affix by its name."""
        raise NotImplementedError

    def join(self, stem: str, last: Morpheme, affix: Morpheme) -> tuple[str, str]:
        """The stem, maybe changed at its end, and the affix's letters behind it. `last` is the stem's last morpheme."""
        raise NotImplementedError

    def variants(self, morpheme: Morpheme, surface: str) -> tuple[str, ...]:
        """What the next affix may make of these letters."""
        raise NotImplementedError

    def lower(self, text: str) -> str:
        """Small letters, by the language's rules."""
        return text.lower()

    def upper(self, text: str) -> str:
        """Capitals, by the language's rules."""
        return text.upper()


def written(language: Language, root: Morpheme, affixes: Iterable[Morpheme]) -> list[str]:
    """The letters of a root and of the affixes behind it, in their places."""
    stem, starts, last = root.name, [0], root
    for affix in affixes:
        changed, surface = language.join(stem, last, affix)
        starts.append(len(changed))
        stem, last = changed + surface, affix
    return [stem[start:end] for start, end in zip(starts, [*starts[1:], len(stem)])]


def forms(language: Language, roots: Iterable[Morpheme]) -> dict[str, list[Morpheme]]:
    """Every written form of the roots, with the roots it may be."""
    found: dict[str, list[Morpheme]] = {}
    for root in roots:
        for form in (root.name, *language.variants(root, root.name)):
            found.setdefault(form, []).append(root)
    return found


def analyse(
    word: str, language: Language, roots: dict[str, list[Morpheme]], *, best: bool = False, grammar: bool = False
) -> list[Found]:
    """A word's root and affixes; what they leave of its end is not the language's. Empty where no root begins the word.

    The longest root wins, then each time the longest affix; `best`: whatever leaves the fewest letters, then has the fewest
    morphemes. `grammar`: only affixes that may stand there, and only if the whole word is a word of the language.
    `roots` is what `forms` gives; the word is in small letters.
    """
    if len(word) > LONGEST:
        return []
    memo: dict = {}

    def rest(stem: str, end: int, last: Morpheme, kind: str):
        """(letters left, morphemes, what was found) behind `word[:end]`, whose unchanged form is `stem`; None: impossible."""
        key = (stem, end, last.name, kind)
        if key in memo:
            return memo[key]
        found = (
            (len(word) - end, 0, ()) if word[:end] == stem else None
        )  # a changed end needs the affix that changes it
        if grammar and (end < len(word) or kind in language.unfinished):
            found = None
        options = []
        for affix in language.affixes.values() if end < len(word) else ():
            then = [after for before, after in affix.moves if before == kind] if grammar else [""]
            if not then:
                continue
            changed, surface = language.join(stem, last, affix)
            if changed == word[:end]:
                for letters in (surface, *language.variants(affix, surface)):
                    if word.startswith(letters, end):
                        options.append((letters, affix, changed + surface, then[0]))
        for letters, affix, whole, then in sorted(options, key=lambda option: -len(option[0])):
            tail = rest(whole, end + len(letters), affix, then)
            if tail is not None:
                option = (tail[0], tail[1] + 1, (Found(affix, letters), *tail[2]))
                if found is None or not best or option[:2] < found[:2]:
                    found = option
                if not best:
                    break
        memo[key] = found
        return found

    chosen = None
    for end in range(len(word), 0, -1):
        for root in roots.get(word[:end], ()):
            for kind in root.starts if grammar else ("",):
                tail = rest(root.name, end, root, kind)
                if tail is not None and (chosen is None or tail[:2] < chosen[:2]):
                    chosen = (*tail[:2], [Found(root, word[:end]), *tail[2]])
        if chosen and not best:
            break
    return chosen[2] if chosen else []
