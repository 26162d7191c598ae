"""The tokenizers that most models use: byte-level BPE, Unigram and WordPiece, all trained by the lab on the same mixed text.

`labkit train tokenizers` makes them. None changes the text, none knows an unknown character: what was never learned is
written in single bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from tokenizers import Tokenizer

from labkit.knobs import knob
from labkit.tokenization.backend import FOLDER, Backend, merges_within, read, shortened, spelled
from labkit.tokenization.longest import longest_match

INNER = "…"  # how the file marks a piece that goes on a word; BERT's ## would be taken for two signs of the text


@dataclass
class Bpe(Backend):
    """Byte-pair encoding: the most frequent pair of neighbours becomes one token, again and again.

    The merges are nested: a vocabulary of 1,000 is the first 744 merges of the one of 8,192, exactly what training would have
    given, had it stopped there.
    """

    name, title = "bpe", "BPE"
    size: int = knob(4096, 256, 8192, unit="tokens", scale="log", help="bytes and merges in the vocabulary")

    @property
    def tokenizer(self) -> Tokenizer:
        file = str(FOLDER / "bpe.json")
        return shortened(file, merges_within(file, self.size))


@dataclass
class Unigram(Backend):
    """Of all ways to cut a word, the likeliest when every token has one probability of its own (Kudo 2018); 4,096 tokens."""

    name, title = "unigram", "Unigram"

    @property
    def tokenizer(self) -> Tokenizer:
        return read("unigram")

    @property
    def merges(self):
        return None


@dataclass
class WordPiece(Backend):
    """Every word is cut from the left into the longest pieces known; 4,096 tokens.

    Pieces that begin a word and pieces that go on one are two lists, so the same bytes may have two numbers. The alphabet is
    bytes, not characters, and no word is too long: both differ from BERT's, and make it lossless. The pieces are learned as the
    `tokenizers` library does it, by BPE's counts.
    """

    name, title = "wordpiece", "WordPiece"

    @property
    def tokenizer(self) -> Tokenizer:
        return read("wordpiece")

    def cut(self, text):
        first, inner, longest = _pieces()
        tokens = []
        for word, _ in self.tokenizer.pre_tokenizer.pre_tokenize_str(text):
            data = spelled(word)
            head = longest_match(data[:longest], first, longest)[0]
            tokens.append(first[head])
            tokens += [inner[piece] for piece in longest_match(data[len(head) :], inner, longest)]
        return tokens

    def spelling(self, token):
        return _spellings()[token]

    @property
    def vocabulary(self):
        """Every spelling with its number: that of the piece that begins a word, where both lists have it."""
        first, inner, _ = _pieces()
        return inner | first

    @property
    def merges(self):
        return None


@cache
def _pieces() -> tuple[dict[bytes, int], dict[bytes, int], int]:
    """WordPiece's two lists with their numbers: what begins a word and what goes on; and the longest piece in bytes."""
    names = read("wordpiece").get_vocab()
    first = {spelled(name): token for name, token in names.items() if not name.startswith(INNER)}
    inner = {spelled(name.removeprefix(INNER)): token for name, token in names.items() if name.startswith(INNER)}
    return first, inner, max(map(len, [*first, *inner]))


@cache
def _spellings() -> dict[int, bytes]:
    first, inner, _ = _pieces()
    return {token: piece for pieces in (first, inner) for piece, token in pieces.items()}
