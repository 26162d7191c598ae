"""The segmenters that learn nothing: bytes, characters, words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from labkit.tokenization.segmenter import Segmenter

WORDS = re.compile(r" ?\w+| ?[^\w\s]+|\s+(?=\s)|\s")


@dataclass
class Bytes(Segmenter):
    """Every byte of the UTF-8 is a token: 256 of them write any text."""

    name, title = "bytes", "Bytes"

    def cut(self, text):
        return list(text.encode())

    def spelling(self, token):
        return bytes([token])


@dataclass
class Characters(Segmenter):
    """Every Unicode character is a token: its number is its code point."""

    name, title = "characters", "Characters"

    def cut(self, text):
        return list(map(ord, text))

    def spelling(self, token):
        return chr(token).encode()


@dataclass
class Words(Segmenter):
    """Runs of letters and digits, runs of signs, each with the space before it.

    The vocabulary is open: a word's number is its bytes, read as one number behind a leading 1.
    """

    name, title = "words", "Words"

    def cut(self, text):
        return [int.from_bytes(b"\1" + word.encode()) for word in WORDS.findall(text)]

    def spelling(self, token):
        return token.to_bytes((token.bit_length() + 7) // 8)[1:]
