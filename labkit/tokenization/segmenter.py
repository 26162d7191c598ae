"""What cuts a text into tokens: one interface for bytes, words, BPE, learned lexicons and any model's tokenizer.

Every offset is in BYTES of the text's UTF-8, every segmenter is lossless: its pieces lie end to end and spell the text. To add
one, write a dataclass with a `name` and `cut`; the ribbon, the table of metrics and the tests that no byte is lost find it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from labkit.errors import KnobError, PromptError
from labkit.knobs import build

if TYPE_CHECKING:
    from labkit.models import Vocabulary


class Piece(NamedTuple):
    """One token: the bytes from `start` up to `end`, and its number in the segmenter's vocabulary."""

    start: int
    end: int
    id: int


class Split(NamedTuple):
    """How a token came to be: the two halves that a merge joined, each taken apart in turn; a leaf has no halves.

    `rank` is the merge's place in the order they were learned (0 = first; -1 for a leaf).
    """

    piece: bytes
    halves: tuple[Split, Split] | tuple[()] = ()
    rank: int = -1


@dataclass
class Segmenter:
    """A text in, numbers of tokens out, and back.

    A subclass gives `cut` and `spelling`. `merges`, where there are any, are the pairs joined, in the order they were learned.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""  # its id in data/papers.toml; "" = nobody's paper in the catalogue

    @classmethod
    def summary(cls) -> str:
        """What it does, in one sentence for users."""
        return (cls.__doc__ or "").strip().split("\n")[0]

    def cut(self, text: str) -> list[int]:
        """The tokens of a text without half characters, in order; their spellings joined are the text's UTF-8."""
        raise NotImplementedError

    def spelling(self, token: int) -> bytes:
        """The bytes of one token; none for a token that stands for no text."""
        raise NotImplementedError

    @property
    def merges(self) -> list[tuple[bytes, bytes]] | None:
        """The pairs that were joined, in the order they were learned; None where nothing is joined."""
        return None

    @property
    def vocabulary(self) -> dict[bytes, int] | None:
        """Every spelling with its number; None where the vocabulary is open."""
        return None

    def encode(self, text: str) -> list[Piece]:
        """The text's pieces, end to end. Raises `PromptError` on half a character (a lone surrogate)."""
        checked(text)
        tokens = self.cut(text)
        ends = accumulate(len(self.spelling(token)) for token in tokens)
        start, pieces = 0, []
        for token, end in zip(tokens, ends):
            pieces.append(Piece(start, end, token))
            start = end
        return pieces

    def decode(self, tokens: list[int]) -> bytes:
        """The bytes that the tokens spell; maybe no valid UTF-8."""
        return b"".join(self.spelling(token) for token in tokens)

    def starts(self, text: str) -> list[int]:
        """Where the tokens begin, in bytes, ascending; 0 first."""
        return [piece.start for piece in self.encode(text)]

    def boundaries(self, text: str) -> list[bool]:
        """For every byte: does a token begin here?"""
        begins = [False] * len(text.encode())
        for start in self.starts(text):
            begins[start] = True
        return begins

    def is_valid(self, tokens: list[int]) -> bool:
        """Does encoding their own text give these tokens back? Tokens that spell no whole characters are not valid."""
        try:
            return self.cut(self.decode(tokens).decode()) == tokens
        except UnicodeDecodeError:
            return False

    def undo(self, piece: bytes) -> Split:
        """The merges that made one token, undone down to single bytes; a leaf when the segmenter joins nothing."""
        ranks = self._ranks()
        if len(piece) == 1 or not ranks:
            return Split(piece)
        parts = [Split(bytes([byte])) for byte in piece]
        while len(parts) > 1:
            pairs = zip(parts, parts[1:])
            rank, place = min((ranks.get((a.piece, b.piece), len(ranks)), place) for place, (a, b) in enumerate(pairs))
            if rank == len(ranks):  # this token was given, not merged
                return Split(piece)
            left, right = parts[place : place + 2]
            parts[place : place + 2] = [Split(left.piece + right.piece, (left, right), rank)]
        return parts[0]

    def _ranks(self) -> dict[tuple[bytes, bytes], int]:
        return {pair: rank for rank, pair in enumerate(self.merges or ())}


def checked(text: str) -> str:
    """The text, if it can be written as UTF-8. Raises `PromptError` on half a character (a lone surrogate)."""
    try:
        text.encode()
    except UnicodeEncodeError as half:
        raise PromptError(f"Character {half.start + 1:,} of the text is half a character: take it out.") from None
    return text


def all_segmenters() -> dict[str, type[Segmenter]]:
    """Every registered segmenter by name."""
    from labkit.methods import registered

    return registered(Segmenter)


def build_segmenter(name: str, knobs: dict, vocabulary: Vocabulary | None = None) -> Segmenter:
    """The segmenter `name` with checked knobs; `vocabulary` is the chosen model's, for "model". Raises `KnobError`."""
    known = all_segmenters()
    if name not in known:
        raise KnobError(f"There is no segmenter {name!r:.60}: choose one of {', '.join(sorted(known))}.")
    segmenter = build(known[name], knobs)
    if hasattr(segmenter, "source"):
        segmenter.source = vocabulary
    return segmenter
