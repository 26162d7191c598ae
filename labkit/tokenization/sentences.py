"""Sentences of docstrings and lines of code, as documents to read."""

from __future__ import annotations

import re
from functools import cache

from labkit.tokenization.texts import domain

KINDS = ("docstrings", "code")
DOCSTRING = re.compile(r'^ *[rRuU]?"""(.+?)"""', re.MULTILINE | re.DOTALL)  # or another long string that begins a line
PROSE = 0.9  # letters and spaces in a sentence; below, it is an example or a table
WORDS = re.compile(r"\w+|[^\w\s]")
SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
SHORTEST, LONGEST = 12, 400  # characters of a sentence


@cache
def sentences(kind: str, kilobytes: int = 400, held_out: bool = False) -> tuple[str, ...]:
    """The sentences of the docstrings, or the lines of code, of that much Python; whitespace inside is one space each."""
    take = _docstrings if kind == "docstrings" else str.splitlines
    found = (" ".join(text.split()) for source in domain("python", kilobytes, held_out) for text in take(source))
    return tuple(text for text in found if SHORTEST <= len(text) <= LONGEST)


def _docstrings(source: str) -> list[str]:
    return [sentence for text in DOCSTRING.findall(source) for sentence in SENTENCE_ENDS.split(text) if _is_prose(sentence)]


def _is_prose(text: str) -> bool:
    return sum(letter.isalpha() or letter == " " for letter in text) >= PROSE * len(text)


def word_starts(text: str) -> set[int]:
    """Where the words and signs of a text begin, counted in characters that are no space."""
    return _starts(WORDS.findall(text))


def chunk_starts(chunks: list[str]) -> set[int]:
    """Where chunks begin, counted alike; a chunk that begins with a space begins with what follows it."""
    return _starts(["".join(chunk.split()) for chunk in chunks])


def _starts(pieces: list[str]) -> set[int]:
    starts, at = set(), 0
    for piece in pieces:
        starts.add(at)
        at += len(piece)
    return starts - {at}
