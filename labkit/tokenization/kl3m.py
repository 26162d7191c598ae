"""Tokenizers for one domain, and tokenizers whose tokens are only a few characters long (P075, KL3M)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tokenizers import AddedToken, Tokenizer

from labkit.knobs import knob
from labkit.tokenization.backend import FOLDER, Backend, merges_within, shortened
from labkit.tokenization.texts import DOMAINS

LARGEST = 4096  # tokens
SIZES = ("512", "1024", "2048", "4096")
CAPS = range(1, 9)  # characters; one trained tokenizer each
# For causal and for masked models; they stand for no text, so a text that holds such a name is cut like any other.
SPECIAL = tuple(f"<|{name}|>" for name in ("start", "end", "pad", "unk", "sep", "cls", "mask"))
CUSTOM = {
    "python": ("def __init__(self", "return self.", "import numpy as np", "isinstance(", "raise ValueError(", "__name__", "None"),
    "css": ("!important", "rgba(", ":hover", "display: flex;", "background-color:", "padding: 0;", "@media", "0px"),
    "legal": (
        "Copyright (c)",
        "All rights reserved.",
        'THE SOFTWARE IS PROVIDED "AS IS"',
        "WITHOUT WARRANTY OF ANY KIND",
        "Redistribution and use in source and binary forms",
        "Apache License, Version 2.0",
        "including but not limited to",
        "MERCHANTABILITY",
        "the Licensor",
    ),
    "c++": ("#include <", "#pragma once", "static_cast<", "const auto&", "std::vector<", "template <typename T>"),
    "general": ("http://", "https://", "e.g.", "i.e.", "www.", "(c)"),
}


@dataclass
class DomainBpe(Backend):
    """BPE trained on one domain's text alone; its vocabulary is a power of two, with special and curated tokens among it (P075).

    Seven special tokens come first into the count, then the bytes, the curated tokens if wanted, and as many merges as there
    is room for. "general" learned from all domains and from phrases of twenty languages.
    """

    name, title, paper = "domain-bpe", "Domain BPE", "P075"
    domain: str = knob("python", choices=(*DOMAINS, "general"), help="the text it learned from")
    custom: bool = knob(True, label="Custom tokens", help="curated phrases are tokens of their own")
    size: str = knob("4096", choices=SIZES, help="tokens in the vocabulary, a power of two")

    @property
    def tokenizer(self) -> Tokenizer:
        file = "bpe" if self.domain == "general" else f"domain-{self.domain}"
        return padded(file, int(self.size), CUSTOM[self.domain] if self.custom else ())


@dataclass
class CharBpe(Backend):
    """BPE whose tokens have at most `max_chars` characters, so that a wrong letter stays a local matter (P075).

    As in the release, characters are those of the byte-level alphabet: a letter outside ASCII counts two to four. The
    vocabulary is the power of two that holds what was learned, 4,096 at most; the rest is spare. (The release fills it with
    long runs of spaces, which break the limit.)
    """

    name, title, paper = "char-bpe", "Character BPE", "P075"
    max_chars: int = knob(3, CAPS[0], CAPS[-1], unit="characters", help="no token is longer")

    @property
    def tokenizer(self) -> Tokenizer:
        file = f"char-{max(2, self.max_chars)}"  # one character: none of its merges
        return padded(file, 256 + len(SPECIAL) if self.max_chars == 1 else LARGEST, ())


@lru_cache(32)
def padded(name: str, size: int, custom: tuple[str, ...]) -> Tokenizer:
    """A saved BPE with special and custom tokens, its vocabulary the power of two that holds it, at most `size`."""
    file = str(FOLDER / f"{name}.json")
    room = size - len(SPECIAL) - len(custom)
    whole = Tokenizer.from_str(shortened(file, merges_within(file, room)).to_str())
    whole.encode_special_tokens = True
    whole.add_tokens([AddedToken(text, normalized=False) for text in custom])
    whole.add_special_tokens(list(SPECIAL))
    wanted = 1 << (whole.get_vocab_size() - 1).bit_length()
    whole.add_special_tokens([f"<|spare_{number}|>" for number in range(wanted - whole.get_vocab_size())])
    return whole
