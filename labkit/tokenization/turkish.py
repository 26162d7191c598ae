"""A small, exact Turkish: roots, suffixes, and the sound rules by which they join; words come with their true morphemes.

A suffix is written with letters that change: A = a, e (after the last vowel, back or front); I = ı, i, u, ü (back or front, round
or not); D = d, t and C = c, ç (t, ç behind a voiceless consonant); K = k, which softens to ğ before a vowel; V = the aorist's
vowel. A bracket comes and goes: a vowel in it stands only behind a consonant, a buffer letter (y, s, n, ş) only behind a vowel.

Regular words only. Left out: loans that break harmony (saat-ler), roots that lose or double a letter (burun, burn-u; hak,
hakk-ı), su and ne, the verbs de- and ye-, passives and causatives (their form depends on the verb), the negative of
-(y)Abil-, the first persons of the negative aorist (gelmem), and everything that is written as a word of its own. The grammar
knows which suffix may follow which, not whether the word makes sense.
"""

from __future__ import annotations

import random
import tomllib
from functools import cache, cached_property, lru_cache
from itertools import accumulate
from typing import NamedTuple

from labkit.paths import DATA
from labkit.tokenization.analysis import Found, Language, Morpheme, analyse, forms, written

BACK, ROUND, VOWELS = frozenset("aıou"), frozenset("oöuü"), frozenset("aeıioöuü")
VOICELESS = frozenset("çfhkpsşt")
CLOSE = {(True, False): "ı", (False, False): "i", (True, True): "u", (False, True): "ü"}  # by (back, round)
CLOSE_AORIST = frozenset("al bil bul dur gel gör kal ol öl san var ver vur".split())  # one syllable, and yet gel-ir
AFTER_N = {"(y)I": "nI", "(y)A": "nA", "DA": "nDA", "DAn": "nDAn"}  # cases behind "his" and behind ki
STOP = 0.35  # the chance that a word ends where it may end; ours, for words of two to three morphemes


class Turkish(Language):
    """Turkish by the rules above, over the roots and suffixes of `data/tokenizers/turkish.toml`."""

    name, unfinished = "turkish", frozenset({"deed", "able"})

    @cached_property
    def _data(self) -> dict:
        return tomllib.loads((DATA / "tokenizers" / "turkish.toml").read_text(encoding="utf-8"))

    @cached_property
    def roots(self):
        found: dict[str, Morpheme] = {}
        for kind in ("noun", "adjective", "number", "verb"):
            for name, (means, *soft) in self._data[kind].items():
                other = found.get(name, Morpheme(name))  # at: a horse, and to throw
                means = f"{other.means}; to {means}" if other.means else f"to {means}" if kind == "verb" else means
                found[name] = Morpheme(name, means, True, (*other.starts, kind), soft=soft[0] if soft else other.soft)
        return found

    @cached_property
    def affixes(self):
        found = {}
        for name, (moves, means) in self._data["suffix"].items():
            pairs = [part.split(" > ") for part in moves.split(", ")]
            steps = tuple((before, after.strip()) for befores, after in pairs for before in befores.split())
            found[name] = Morpheme(name, means, moves=steps)
        return found

    def join(self, stem, last, affix):
        shape = affix.name
        if last.name in ("(s)I", "ki"):
            shape = AFTER_N.get(shape, shape)
        if shape == "(I)yor" and stem[-1:] in ("a", "e") and self._loses_vowel(last):
            bare = stem[:-1]
            return bare, _close(bare if VOWELS & set(bare) else stem) + "yor"
        surface = _spelled(stem, shape)
        if surface[0] in VOWELS:
            stem = _softened(stem, last)
        return stem, surface

    def variants(self, morpheme, surface):
        soft = _softened(surface, morpheme)
        bare = surface[:-1] if self._loses_vowel(morpheme) and surface[-1] in "ae" else surface
        return tuple(form for form in (soft, bare) if form != surface)

    def _loses_vowel(self, last: Morpheme) -> bool:
        """Does its final a or e go before -(I)yor? bekle, bekl-iyor; gel-me, gel-m-iyor."""
        return last.name == "mA" or "verb" in last.starts

    def lower(self, text):
        return text.replace("I", "ı").replace("İ", "i").lower()

    def upper(self, text):
        return text.replace("i", "İ").replace("ı", "I").upper()


def _softened(stem: str, last: Morpheme) -> str:
    if last.soft:
        return stem[: len(stem) - len(last.name)] + last.soft
    return stem[:-1] + "ğ" if last.name.endswith("K") and not last.is_root else stem


def _last_vowel(text: str) -> str:
    return next((letter for letter in reversed(text) if letter in VOWELS), "e")


def _close(text: str) -> str:
    """The close vowel that harmony puts behind `text`."""
    vowel = _last_vowel(text)
    return CLOSE[vowel in BACK, vowel in ROUND]


def _aorist(stem: str) -> str:
    """Its vowel: yap-ar, but konuş-ur, and gel-ir by exception."""
    open_ = sum(letter in VOWELS for letter in stem) == 1 and stem not in CLOSE_AORIST
    return ("a" if _last_vowel(stem) in BACK else "e") if open_ else _close(stem)


def _spelled(stem: str, shape: str) -> str:
    """The letters of a suffix behind `stem`."""
    after_vowel = stem[-1:] in VOWELS
    if shape[0] == "(":
        shape = shape[1] * (after_vowel != (shape[1] in "AI")) + shape[3:]
    elif shape[0] == "V":
        shape = shape[after_vowel:]
    text = stem
    for letter in shape:
        if letter == "A":
            letter = "a" if _last_vowel(text) in BACK else "e"
        elif letter == "I":
            letter = _close(text)
        elif letter == "V":
            letter = _aorist(stem)
        elif letter in "DC":
            letter = {"D": "dt", "C": "cç"}[letter][text[-1:] in VOICELESS]
        text += "k" if letter == "K" else letter
    return text[len(stem) :]


@cache
def turkish() -> Turkish:
    """The language, read once."""
    return Turkish()


@cache
def _forms() -> dict[str, list[Morpheme]]:
    return forms(turkish(), turkish().roots.values())


@lru_cache(1 << 16)
def gold(word: str) -> tuple[Found, ...]:
    """The morphemes of a word in small letters, by sound rules and grammar; empty where the lab's Turkish has no such word."""
    return tuple(analyse(word, turkish(), _forms(), best=True, grammar=True))


class Word(NamedTuple):
    """A generated word with its true morphemes: `morphemes[0]` is the root, `pieces` are their letters, which make the text."""

    text: str
    pieces: tuple[str, ...]
    morphemes: tuple[Morpheme, ...]


def generate(count: int, seed: int = 0) -> list[Word]:
    """`count` words: roots drawn by Zipf's law in an order of the seed's, then suffixes while the grammar offers some."""
    rng, language = random.Random(seed), turkish()
    roots = list(language.roots.values())
    rng.shuffle(roots)
    zipf = list(accumulate(1 / rank for rank in range(1, len(roots) + 1)))
    return [_word(rng, language, rng.choices(roots, cum_weights=zipf)[0]) for _ in range(count)]


def _word(rng: random.Random, language: Turkish, root: Morpheme) -> Word:
    kind, affixes = rng.choice(root.starts), []
    while True:
        offered = [
            (affix, after) for affix in language.affixes.values() for before, after in affix.moves if before == kind
        ]
        bare_verb = kind == "verb" and not affixes
        if not offered or (rng.random() < STOP and not bare_verb and kind not in language.unfinished):
            pieces = written(language, root, affixes)
            return Word("".join(pieces), tuple(pieces), (root, *affixes))
        affix, kind = rng.choice(offered)
        affixes.append(affix)


def sentences(count: int, seed: int = 0) -> list[list[Word]]:
    """`count` generated words in sentences of four to nine. See `spelled` for their text."""
    words, rng, found = generate(count, seed), random.Random(seed), []
    while words:
        size = rng.randint(4, 9)
        found.append(words[:size])
        words = words[size:]
    return found


def spelled(sentence: list[Word]) -> list[str]:
    """A sentence's gold pieces, which joined are its text: a capital first, a space behind each word, a full stop at the end."""
    pieces = [piece for word in sentence for piece in (*word.pieces, " ")]
    pieces[0] = turkish().upper(pieces[0][0]) + pieces[0][1:]
    return [*pieces[:-1], ".", "\n"]
