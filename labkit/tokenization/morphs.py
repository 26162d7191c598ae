"""Tokens with meaning (P101): a root and its affixes are the tokens of a word, whatever form they take there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import NamedTuple

from labkit.knobs import knob
from labkit.tokenization.analysis import LONGEST, Language, Morpheme, analyse, forms
from labkit.tokenization.backend import FOLDER, read, spelled
from labkit.tokenization.endings import endings
from labkit.tokenization.segmenter import Piece, Segmenter, checked
from labkit.tokenization.turkish import turkish

LANGUAGES = {"python": endings, "turkish": turkish}
SPACES = (" ", "\n", "\t")
UPPERCASE, CAPITALS = 3, 4  # behind the three spaces: the next letter, the next run of letters, is in capitals
SPECIAL = ("<space>", "<newline>", "<tab>", "<uppercase>", "<capitals>")
CASED = 0x1E944  # no character from here on has a capital
SMALL, TITLE, LARGE = range(3)


class Entry(NamedTuple):
    """What stands behind one number: a morpheme, in all its forms or (`form`) in one."""

    morpheme: Morpheme
    form: str = ""


class Book:
    """One language's numbers: the special tokens, the roots, the affixes, and byte-level BPE pieces for all the rest."""

    def __init__(self, language: Language, shared: bool, dictionary: int, best: bool, fallback: bool = True):
        """`dictionary`: the share of the roots in per cent, the commonest. `fallback`: False = single bytes, no BPE."""
        self.language, self.best = language, best
        roots = list(language.roots.values())
        self.roots = roots[: round(len(roots) * dictionary / 100)]
        self.index = forms(language, self.roots)
        self.surfaces = surfaces(language)
        kept = [*self.roots, *language.affixes.values()]
        if shared:
            self.entries = [Entry(morpheme) for morpheme in kept]
        else:
            self.entries = [Entry(one, form) for one in kept for form in self._forms(one)]
        self.numbers = {entry: number for number, entry in enumerate(self.entries, len(SPECIAL))}
        self.shared, self.base = shared, len(SPECIAL) + len(self.entries)
        self._bpe = (
            read(f"morphs_{language.name}")
            if fallback and (FOLDER / f"morphs_{language.name}.json").is_file()
            else None
        )
        if self._bpe:
            names = sorted(self._bpe.get_vocab().items(), key=lambda item: item[1])
            self.pieces = [spelled(name) for name, _ in names]
        else:
            self.pieces = [bytes([byte]) for byte in range(256)]
        self.size = self.base + len(self.pieces)
        capitals = "".join(filter(self._is_capital, map(chr, range(CASED))))
        small = rf"[^\W\d_{capitals}]"
        self.words = re.compile(
            rf"(?P<space>[ \n\t])|(?P<large>[{capitals}]{{2,}}(?!{small}))|(?P<title>[{capitals}]{small}*)|(?P<small>{small}+)"
            rf"|(?:[\d_]|[^\w \n\t])+"
        )
        self._known_word, self._known_rest = (lru_cache(1 << 16)(find) for find in (self._word, self._rest))

    def _forms(self, morpheme: Morpheme) -> tuple[str, ...]:
        if morpheme.is_root:
            return (morpheme.name, *self.language.variants(morpheme, morpheme.name))
        return self.surfaces[morpheme.name]

    def _is_capital(self, letter: str) -> bool:
        """Can it be written as a mark and a small letter, and back? A title-case digraph cannot, nor, in English, İ."""
        small = self.language.lower(letter)
        return len(small) == 1 and small != letter and self.language.upper(small) == letter

    def word(self, word: str) -> list[tuple[int, str]]:
        """The root and affixes of a word in small letters, as numbers with their letters; they may leave some of its end."""
        return self._known_word(word) if len(word) <= LONGEST else []

    def rest(self, text: str) -> list[tuple[int, bytes]]:
        """What the language does not know, in pieces of the BPE."""
        return self._known_rest(text) if len(text) <= LONGEST else self._rest(text)

    def _word(self, word: str) -> list[tuple[int, str]]:
        found = analyse(word, self.language, self.index, best=self.best)
        return [(self.numbers[Entry(one, "" if self.shared else written)], written) for one, written in found]

    def _rest(self, text: str) -> list[tuple[int, bytes]]:
        if self._bpe:
            tokens = self._bpe.encode(text, add_special_tokens=False).ids
        else:
            tokens = text.encode()
        return [(self.base + token, self.pieces[token]) for token in tokens]


def surfaces(language: Language) -> dict[str, tuple[str, ...]]:
    """Every affix's written forms, the one behind the first root first: what it is behind roots, and behind other affixes."""
    stems = [(root.name, root) for root in language.roots.values()]
    found: dict[str, dict[str, None]] = {name: {} for name in language.affixes}
    while stems:
        fresh = []
        for affix in language.affixes.values():
            seen = found[affix.name]
            for stem, last in stems:
                _, surface = language.join(stem, last, affix)
                if surface not in seen:
                    fresh.append((surface, affix))
                    seen.update(dict.fromkeys((surface, *language.variants(affix, surface))))
        stems = fresh
    return {name: tuple(seen) for name, seen in found.items()}


@cache
def book(language: str, shared: bool = True, dictionary: int = 100, best: bool = False, fallback: bool = True) -> Book:
    """A language's numbers under these knobs, made once."""
    return Book(LANGUAGES[language](), shared, dictionary, best, fallback)


@dataclass
class Morphs(Segmenter):
    """A root and affixes with one number for all their forms, marks for capitals, BPE pieces for the rest (P101).

    A word in small letters is its longest root, then each time the longest affix; what is left is cut by a BPE that was
    trained on such rests. (So sorup, sor-up, becomes soru-p: the best total finds it.) One number stands for every form
    (kitap, kitab; lar, ler), and decoding joins them anew by the language's sound rules; a form is only found where those
    rules would write it, hence any text comes back byte for byte.
    A capital is <uppercase> and a small letter, with dotted and dotless i by the language; a run of two or more is
    <capitals> and the run in small letters, up to its end (ours: the paper leaves it open), so HTTPServer is <capitals> http
    <uppercase> server. A letter that does not survive the change of case stays as it is, and is cut by the BPE.
    Ours, inferred: an affix stands only behind a root; words of over 60 letters go to the BPE whole. Without shared numbers
    every written form has its own; without marks, so has every form with a capital and in capitals.
    Left out: the paper's 22,000 roots and its vocabulary of 32,768.
    """

    name, title, paper = "morphs", "Roots and affixes", "P101"
    language: str = knob("python", choices=tuple(LANGUAGES), help="whose roots and affixes")
    shared: bool = knob(True, label="Shared ids", help="one id for all forms: lar, ler")
    marks: bool = knob(True, label="Case tokens", help="a capital is a mark and a small letter")
    dictionary: int = knob(100, 0, 100, unit="%", label="Root dictionary", help="the commonest roots that are known")
    matching: str = knob("longest root", choices=("longest root", "best total"), help="which analysis of a word wins")

    @cached_property
    def book(self) -> Book:
        """The numbers in use."""
        return book(self.language, self.shared, self.dictionary, self.matching == "best total")

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return self.book.size * (1 if self.marks else 3)

    def cut(self, text):
        return [token for token, _ in self._written(text)]

    def encode(self, text):
        checked(text)
        start, pieces = 0, []
        for token, size in self._written(text):
            pieces.append(Piece(start, start + size, token))
            start += size
        return pieces

    def _written(self, text: str) -> list[tuple[int, int]]:
        """The tokens with the bytes each takes of the text; a mark takes none."""
        found: list[tuple[int, int]] = []
        seen: dict[str, list[tuple[int, int]]] = {}
        for match in self.book.words.finditer(text):
            word = match[0]
            if word not in seen:
                seen[word] = self._tokens(word, match.lastgroup)
            found += seen[word]
        return found

    def _tokens(self, word: str, kind: str | None) -> list[tuple[int, int]]:
        """One space, one word in one case, or one run of other signs (None)."""
        if kind == "space":
            return [(SPACES.index(word), 1)]
        if kind is None:
            return [(token, len(piece)) for token, piece in self.book.rest(word)]
        return self._marked(word, kind) if self.marks else self._cased(word, kind)

    def _small(self, word: str, kind: str) -> str:
        """The word with its capitals made small, each by itself: other letters stay, and a final sigma is no final one."""
        capitals = {"small": 0, "title": 1, "large": len(word)}[kind]
        return "".join(map(self.book.language.lower, word[:capitals])) + word[capitals:]

    def _marked(self, word: str, kind: str) -> list[tuple[int, int]]:
        """A word as its mark, if it needs one, and the tokens of its small letters."""
        small = self._small(word, kind)
        tokens = self.book.word(small)
        known = sum(len(written) for _, written in tokens)
        pieces = [(token, written.encode()) for token, written in tokens]
        pieces += self.book.rest(small[known:]) if known < len(small) else []
        if kind == "small":
            return [(token, len(piece)) for token, piece in pieces]
        places = _places(word, small)
        sizes, start, end = [], 0, 0
        for _, piece in pieces:
            end += len(piece)
            sizes.append(places[end] - places[start])
            start = end
        return [
            (UPPERCASE if kind == "title" else CAPITALS, 0),
            *((token, size) for (token, _), size in zip(pieces, sizes)),
        ]

    def _cased(self, word: str, kind: str) -> list[tuple[int, int]]:
        """A word as tokens that each know their case."""
        small = self._small(word, kind)
        case = {"small": SMALL, "title": TITLE, "large": LARGE}[kind]
        found, start = [], 0
        for token, written in self.book.word(small):
            own = SMALL if case == TITLE and start else case
            found.append((token + own * self.book.size, len(word[start : start + len(written)].encode())))
            start += len(written)
        return found + [
            (token, len(piece)) for token, piece in (self.book.rest(word[start:]) if start < len(word) else [])
        ]

    def spelling(self, token):
        case, number = divmod(token, self.book.size)
        if number >= self.book.base:
            return self.book.pieces[number - self.book.base]
        if number < len(SPECIAL):
            return SPACES[number].encode() if number < len(SPACES) else b""
        return self._in_case(self._form(number), case).encode()

    def _form(self, number: int) -> str:
        """A morpheme's own form, or its first."""
        morpheme, form = self.book.entries[number - len(SPECIAL)]
        return form or (morpheme.name if morpheme.is_root else self.book.surfaces[morpheme.name][0])

    def _in_case(self, text: str, case: int) -> str:
        upper = self.book.language.upper
        return text if case == SMALL else upper(text) if case == LARGE else upper(text[:1]) + text[1:]

    def decode(self, tokens):
        out, stretch = bytearray(), bytearray()  # the stretch stands behind `mark`
        mark, stem, last, cases = 0, "", None, []
        for token in (*tokens, None):
            case, number = divmod(token, self.book.size) if token is not None else (SMALL, None)
            is_word = number is not None and len(SPECIAL) <= number < self.book.base
            entry = self.book.entries[number - len(SPECIAL)] if is_word else None
            if entry and not entry.morpheme.is_root and last and self.shared:
                stem, surface = self.book.language.join(stem, last, entry.morpheme)
                cases.append((len(stem), case))
                stem, last = stem + surface, entry.morpheme
                continue
            ends = [start for start, _ in cases[1:]] + [len(stem)]
            for (start, own), end in zip(cases, ends):  # the word that ends here
                stretch += self._in_case(stem[start:end], own).encode()
            stem, last, cases = "", None, []
            if entry:
                stem, last, cases = self._form(number), entry.morpheme, [(0, case)]
            elif number in (UPPERCASE, CAPITALS, None):
                out += self._raised(bytes(stretch), mark)
                stretch.clear()
                mark = number
            else:
                stretch += self.spelling(number)
        return bytes(out)

    def _raised(self, stretch: bytes, mark: int) -> bytes:
        """Its first letter, or its first run of letters, in capitals, as the mark says."""
        if not mark or not stretch:
            return stretch
        text = stretch.decode(errors="surrogateescape")
        size = 1 if mark == UPPERCASE else re.match(r"[^\W\d_]*", text).end()
        return (self.book.language.upper(text[:size]) + text[size:]).encode(errors="surrogateescape")

    @cached_property
    def vocabulary(self):
        return {piece: token for token in reversed(range(self.size)) if (piece := self.spelling(token))}

    def says(self, token: int) -> tuple[str, str]:
        """What a token is ("mark", "space", "root", "affix", "piece") and its name: "lAr", "<uppercase>"."""
        number = token % self.book.size
        if number < len(SPECIAL):
            return "space" if number < len(SPACES) else "mark", SPECIAL[number]
        if number >= self.book.base:
            return "piece", self.spelling(number).decode(errors="backslashreplace")
        morpheme, form = self.book.entries[number - len(SPECIAL)]
        return "root" if morpheme.is_root else "affix", form or morpheme.name


def _places(word: str, small: str) -> list[int]:
    """For every byte boundary of `small` the one of `word`, the same letters in capitals; inside a letter as far as it goes."""
    places, start = [], 0
    for large, little in zip(word, small):
        size = len(large.encode())
        places += [start + min(inner, size) for inner in range(len(little.encode()))]
        start += size
    return [*places, start]
