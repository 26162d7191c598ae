"""Segmenters that the `tokenizers` library runs: the shipped models' own, and any that was trained and saved by it."""

from __future__ import annotations

import gzip
import json
from functools import cache, cached_property, lru_cache
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers import models as kinds

from labkit.models import byte_letters
from labkit.paths import DATA
from labkit.tokenization.segmenter import Segmenter

FOLDER = DATA / "tokenizers"  # one JSON file each, written by `labkit train tokenizers`


def spelled(name: str) -> bytes:
    """The bytes of a token of byte-level BPE from its name in the file."""
    letters = byte_letters()
    return bytes(letters[letter] for letter in name)


class Backend(Segmenter):
    """A byte-level tokenizer of the `tokenizers` library; a subclass gives `tokenizer`."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The library's tokenizer."""
        raise NotImplementedError

    def cut(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def spelling(self, token):
        return self._spellings[token]

    @cached_property
    def _spellings(self) -> dict[int, bytes]:
        added = self.tokenizer.get_added_tokens_decoder()
        names = self.tokenizer.get_vocab(with_added_tokens=False)
        learned = {token: spelled(name) for name, token in names.items() if token not in added}
        return learned | {token: b"" if given.special else given.content.encode() for token, given in added.items()}

    @cached_property
    def vocabulary(self):
        return {piece: token for token, piece in self._spellings.items() if piece}

    @cached_property
    def merges(self):
        model = json.loads(self.tokenizer.to_str())["model"]
        return [(spelled(left), spelled(right)) for left, right in model.get("merges", ())] or None


def load(file: str) -> Tokenizer:
    """A saved tokenizer, from a JSON file or a gzipped one."""
    if file.endswith(".gz"):
        return Tokenizer.from_str(gzip.decompress(Path(file).read_bytes()).decode())
    return Tokenizer.from_file(file)


@cache
def read(name: str) -> Tokenizer:
    """A saved tokenizer of the lab, by the name of its file."""
    return Tokenizer.from_file(str(FOLDER / f"{name}.json"))


@cache
def merges_within(file: str, types: int) -> int:
    """How many merges of a saved BPE a vocabulary of `types` holds, its bytes among them; two merges may make one type."""
    model = json.loads(load(file).to_str())["model"]
    made = [left + right for left, right in model["merges"]]
    known = set(model["vocab"]) - set(made)
    for count, name in enumerate(made):
        if len(known) >= types:
            return count
        known.add(name)
    return len(made)


@lru_cache(32)
def shortened(file: str, merges: int) -> Tokenizer:
    """A saved BPE with only its first `merges` merges: what training would have given, had it stopped there."""
    whole = load(file)
    model = json.loads(whole.to_str())["model"]
    pairs = [tuple(pair) for pair in model["merges"][:merges]]
    later = {left + right for left, right in model["merges"][merges:]} - {left + right for left, right in pairs}
    whole.model = kinds.BPE(vocab={name: token for name, token in model["vocab"].items() if name not in later}, merges=pairs)
    return whole
