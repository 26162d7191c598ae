"""Less-is-Better (P091): a lexicon learned while reading, in which chunks climb and fall by how well they cut the text."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import NamedTuple

from labkit.knobs import knob
from labkit.tokenization.backend import FOLDER
from labkit.tokenization.longest import longest_match
from labkit.tokenization.segmenter import Segmenter

GAP = 2  # unknown characters in a row that are proposed as a chunk
FORGET = 0.0001  # the share of the list, at its end, that goes on probation after every document; one chunk at least
END = ""  # marks in the trie that a chunk ends here


class Lexicon:
    """Chunks in the order of their worth (rank 0 = best), with a trie beside the list that finds them in a text."""

    def __init__(self, chunks: Iterable[str] = ()):
        self.order: list[str] = []
        self.trie: dict = {}
        for chunk in chunks:
            self.add(chunk)

    def __contains__(self, chunk: str) -> bool:
        node = self.trie
        for letter in chunk:
            if (node := node.get(letter)) is None:
                return False
        return END in node

    def add(self, chunk: str) -> None:
        """Put a new chunk at the end of the list."""
        if chunk not in self:
            node = self.trie
            for letter in chunk:
                node = node.setdefault(letter, {})
            node[END] = {}
            self.order.append(chunk)

    def remove(self, chunks: Iterable[str]) -> None:
        """Take chunks out of list and trie; those that are not there are passed over."""
        gone = {chunk for chunk in chunks if chunk in self}
        for chunk in gone:
            self._forget(chunk)
        if gone:
            self.order = [chunk for chunk in self.order if chunk not in gone]

    def _forget(self, chunk: str) -> None:
        nodes = [self.trie]
        for letter in chunk:
            nodes.append(nodes[-1][letter])
        del nodes[-1][END]
        for parent, letter in zip(nodes[-2::-1], reversed(chunk)):
            if not parent[letter]:
                del parent[letter]

    def move(self, chunk: str, rate: float, back: bool = False) -> None:
        """Forward, or back, by int(rate * rank) + 1 places; who is moved back beyond the end is deleted."""
        rank = self.order.index(chunk)
        step = int(rate * rank) + 1
        del self.order[rank]
        if not back:
            self.order.insert(max(0, rank - step), chunk)
        elif rank + step <= len(self.order):
            self.order.insert(rank + step, chunk)
        else:
            self._forget(chunk)

    def matches(self, text: str, at: int, longest: int) -> list[str]:
        """Every chunk that stands in `text` at `at`, shortest first."""
        node, found = self.trie, []
        for end in range(at, min(at + longest, len(text))):
            if (node := node.get(text[end])) is None:
                break
            if END in node:
                found.append(text[at : end + 1])
        return found

    def cut(self, text: str, longest: int) -> list[str]:
        """The text in chunks, by longest match from the left; an unknown character stands alone."""
        chunks, at = [], 0
        while at < len(text):
            found = self.matches(text, at, longest)
            chunks.append(found[-1] if found else text[at])
            at += len(chunks[-1])
        return chunks


class Verdict(NamedTuple):
    """A chunk that is to move, and which way."""

    chunk: str
    back: bool


@dataclass
class Reader:
    """Reads documents and keeps a lexicon (Yang et al. 2020, whose model P091 proposes as a tokenizer).

    `life` documents without a win end a probation, `memory_in` is the chance that two neighbours are proposed as one chunk,
    `rate` how far a chunk moves, `longest` its most characters, `cap` the most chunks.

    As the release (ray306/LiB), with these differences: a test is judged where it begins, so none is lost at a sentence's end;
    both sides count their pieces alike; the first of the list can be punished too; skip-grams are left out.
    """

    life: int = 10
    memory_in: float = 0.25
    rate: float = 0.2
    longest: int = 12
    cap: int = 4096
    lexicon: Lexicon = field(default_factory=Lexicon)
    probation: dict[str, int] = field(default_factory=dict)  # documents left
    _ranks: dict[str, int] = field(default_factory=dict, init=False, repr=False)  # when the document began

    def begin(self, documents: Iterable[Iterable[str]]) -> None:
        """Start from the single characters of the documents, all on probation."""
        letters = sorted({letter for document in documents for sentence in document for letter in sentence})
        self.lexicon = Lexicon(letters)
        self.probation = dict.fromkeys(letters, self.life)

    def read(self, document: Iterable[str], coins: random.Random) -> list[str]:
        """Read one document, learn from it, and return its tokens as they were read."""
        tokens: list[str] = []
        proposals: set[str] = set()
        verdicts: list[Verdict] = []
        self._ranks = {chunk: rank for rank, chunk in enumerate(self.lexicon.order)}
        for sentence in document:
            tokens += self._read(sentence, coins, proposals, verdicts)
        self._settle(verdicts)
        return tokens

    def _read(self, text: str, coins: random.Random, proposals: set[str], verdicts: list[Verdict]) -> Iterator[str]:
        last, known, at = "", False, 0
        while at < len(text):
            found = self.lexicon.matches(text, at, self.longest)
            if not found:
                last = text[at] if known else last + text[at]
                known = False
                yield text[at]
                at += 1
                continue
            chunk = found[-1]
            if coins.random() < self.memory_in:
                self._memorise(last + chunk if known else last, self.longest if known else GAP, proposals)
            if len(found) > 1:
                verdicts += self._test(text, at, chunk, found[-2])
            else:
                self.probation.pop(chunk, None)  # used, and nothing shorter could stand in its place
            yield chunk
            last, known = chunk, True
            at += len(chunk)

    def _memorise(self, chunk: str, longest: int, proposals: set[str]) -> None:
        """What is proposed twice in one document enters the end of the list."""
        if not 0 < len(chunk) <= longest or chunk in self.lexicon:
            return
        if chunk in proposals:
            proposals.remove(chunk)
            self._ranks[chunk] = len(self.lexicon.order)
            self.lexicon.add(chunk)
        else:
            proposals.add(chunk)

    def _test(self, text: str, at: int, longer: str, shorter: str) -> list[Verdict]:
        """Is the longest chunk worth it? Read on from it and from the second-longest until both readings end together."""
        parses = ([longer], [shorter])
        ends = [at + len(longer), at + len(shorter)]
        while ends[0] != ends[1]:
            behind = int(ends[1] < ends[0])
            found = self.lexicon.matches(text, ends[behind], self.longest)
            parses[behind].append(found[-1] if found else text[ends[behind]])
            ends[behind] += len(parses[behind][-1])
        if self._badness(parses[0]) > self._badness(parses[1]):
            return [Verdict(longer, True), Verdict(shorter, False)]
        self.probation.pop(longer, None)
        return [Verdict(longer, False)]

    def _badness(self, parse: list[str]) -> tuple[int, int, int]:
        """Unknown characters, then tokens, then the sum of ranks: less is better."""
        ranks = [self._ranks[chunk] for chunk in parse if chunk in self._ranks]
        return len(parse) - len(ranks), len(parse), sum(ranks)

    def _settle(self, verdicts: list[Verdict]) -> None:
        """After a document: probations end, chunks move, the end of the list goes on probation."""
        self.probation = {chunk: left - 1 for chunk, left in self.probation.items()}
        self.lexicon.remove(chunk for chunk, left in self.probation.items() if left <= 0)
        for chunk, back in verdicts:
            if chunk in self.lexicon:
                self.lexicon.move(chunk, self.rate, back)
        self.lexicon.remove(self.lexicon.order[self.cap :])
        self.probation = {chunk: left for chunk, left in self.probation.items() if chunk in self.lexicon}
        for chunk in self.lexicon.order[int((1 - FORGET) * len(self.lexicon.order)) :]:
            self.probation.setdefault(chunk, self.life)


@dataclass
class Lib(Segmenter):
    """Longest match from the left in a lexicon that was learned by reading: words, parts of words and phrases alike (P091).

    The shipped lexicon read the docstrings of Python's standard library, spaces kept. A character that it does not know is
    written in single bytes.
    """

    name, title, paper = "lib", "Less is Better", "P091"
    size: int = knob(4096, 0, 4096, unit="chunks", help="the best chunks of the list")

    def cut(self, text):
        numbers = numbered(self.size)
        return [numbers[piece] for piece in longest_match(text.encode(), numbers, max(map(len, numbers)))]

    def spelling(self, token):
        return bytes([token]) if token < 256 else shipped()[token - 256]

    @property
    def vocabulary(self):
        """The 256 bytes, and the chunks behind them."""
        return numbered(self.size)


@cache
def shipped() -> list[bytes]:
    """The chunks of the shipped lexicon, best first; one byte each is left out, the alphabet has it."""
    chunks = json.loads((FOLDER / "lib.json").read_text(encoding="utf-8"))["chunks"]
    return [chunk.encode() for chunk in chunks if len(chunk.encode()) > 1]


@lru_cache(32)
def numbered(size: int) -> dict[bytes, int]:
    """The 256 bytes and the best `size` chunks with their numbers."""
    return {bytes([byte]): byte for byte in range(256)} | {piece: 256 + rank for rank, piece in enumerate(shipped()[:size])}
