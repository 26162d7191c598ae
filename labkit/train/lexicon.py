"""The lexicon of Less-is-Better (P091) that ships: learned by reading docstrings, and measured beside BPE of as many types."""

import json
import random
from collections.abc import Callable

from labkit.tokenization.backend import FOLDER
from labkit.tokenization.lib import Reader
from labkit.tokenization.lib_study import bpe_beside, documents_of, measure, worth
from labkit.tokenization.sentences import sentences

DOCUMENTS = 1000
KILOBYTES = 20_000  # of Python, whose docstrings are read


def train_lexicon(report: Callable[[str], None], documents: int = DOCUMENTS, seed: int = 0) -> dict:
    """Read documents drawn at random, write data/tokenizers/lib.json; returns its figures."""
    read, held_out = (sentences("docstrings", KILOBYTES, away) for away in (False, True))
    pool, coins, reader = documents_of(read), random.Random(seed), Reader()
    reader.begin(pool)
    for number in range(1, documents + 1):
        reader.read(coins.choice(pool), coins)
        if number % 100 == 0:
            report(f"lib: document {number}, {len(reader.lexicon.order)} chunks, {measure(reader, held_out, True)}")
    text = json.dumps({"chunks": reader.lexicon.order}, ensure_ascii=False, separators=(",", ":"))
    (FOLDER / "lib.json").write_text(text + "\n", encoding="utf-8")
    return figures(reader, pool, held_out) | {"documents": documents, "sentences": len(read), "seed": seed}


def figures(reader: Reader, pool: list[list[str]], held_out: tuple[str, ...]) -> dict:
    """What the lexicon is worth on held-out sentences, beside BPE of as many types, inside words and over spaces."""
    found = {"types": len(reader.lexicon.order), "lib": measure(reader, held_out, True)}
    for name, words in (("bpe inside words", True), ("bpe over spaces", False)):
        bpe = bpe_beside(pool, len(reader.lexicon.order), words, reader.longest)
        found[name] = worth([bpe.encode(text).tokens for text in held_out], held_out)
    return found
