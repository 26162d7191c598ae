"""Less-is-Better (P091) while it reads: which chunks climb and fall, and what the lexicon is worth on text it never saw."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from labkit.knobs import knob
from labkit.methods import Study
from labkit.tokenization.lib import Reader
from labkit.tokenization.metrics import boundary_f1
from labkit.tokenization.sentences import KINDS, chunk_starts, sentences, word_starts
from labkit.trace import Step

SENTENCES = 200  # a document
PROBE = 200  # held-out sentences that every lexicon is measured on
KILOBYTES = 6000  # of Python, whose docstrings or lines are read
WINDOW = 12  # documents that the ladder looks back
CLIMBERS = 6  # shown on the ladder, and as many that fall
LONGEST_TEXT = 240  # characters of the person's text that are cut as well


def documents_of(texts: tuple[str, ...], spaces: bool = True) -> list[list[str]]:
    """Sentences in documents of 200, the spaces taken out if they are not wanted."""
    seen = [text if spaces else text.replace(" ", "") for text in texts]
    return [seen[start : start + SENTENCES] for start in range(0, len(seen), SENTENCES)]


def measure(reader: Reader, texts: tuple[str, ...], spaces: bool) -> dict[str, float]:
    """Tokens for 100 characters of text (spaces not counted), and how well chunks begin where words do (micro average)."""
    seen = [text if spaces else text.replace(" ", "") for text in texts]
    return worth([reader.lexicon.cut(text, reader.longest) for text in seen], texts)


def worth(cuts: list[list[str]], texts: tuple[str, ...]) -> dict[str, float]:
    """Figures of texts that are cut already."""
    found, gold, letters = set(), set(), 0
    for chunks, text in zip(cuts, texts):
        found |= {letters + start for start in chunk_starts(chunks)}
        gold |= {letters + start for start in word_starts(text)}
        letters += len(text.replace(" ", ""))
    precision, recall, f1 = boundary_f1(found, gold)
    tokens = 100 * sum(map(len, cuts)) / letters
    return {"per_100": tokens, "precision": precision, "recall": recall, "f1": f1}


def bpe_beside(documents: list[list[str]], types: int, words: bool, longest: int) -> Tokenizer:
    """BPE of as many types, from the same text; `words`: inside words only, else over spaces too, up to `longest` characters."""
    tokenizer = Tokenizer(models.BPE())
    if words:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\w+| ?[^\w\s]+"), "isolated")
    more = {} if words else {"max_token_length": longest + 1}
    trainer = trainers.BpeTrainer(vocab_size=types, show_progress=False, **more)
    tokenizer.train_from_iterator((text for document in documents for text in document), trainer)
    return tokenizer


def ladder(window: list[dict[str, int]]) -> list[dict]:
    """The chunks of two characters and more that climbed and fell most, with their ranks after each document (None: not there).

    `window` holds rank by chunk after each of the last documents. How far is told by the ratio of the ranks; who is no longer
    there has fallen to the end.
    """
    first: dict[str, int] = {}
    best: dict[str, int] = {}
    for ranks in window:
        for chunk, rank in ranks.items():
            if len(chunk) > 1:
                first.setdefault(chunk, rank)
                best[chunk] = min(rank, best.get(chunk, rank))
    now, last = window[-1], len(window[-1])
    rose = sorted((chunk for chunk in first if chunk in now), key=lambda chunk: ((now[chunk] + 2) / (first[chunk] + 2), chunk))
    fell = sorted(first, key=lambda chunk: ((best[chunk] + 2) / (now.get(chunk, last) + 2), chunk))
    rows = [{"chunk": chunk, "climbs": True} for chunk in rose[:CLIMBERS]]
    rows += [{"chunk": chunk, "climbs": False} for chunk in fell[:CLIMBERS] if chunk not in rose[:CLIMBERS]]
    return [row | {"ranks": [ranks.get(row["chunk"]) for ranks in window]} for row in rows]


@dataclass
class LessIsBetter(Study):
    """A lexicon learned by reading: chunks that cut the text into fewer pieces climb, the others fall and are forgotten (P091).

    One document of 200 sentences a step. After the last, BPE learns as many types from the same documents, inside words and
    over spaces, and is measured on the same held-out sentences. The claim of the paper is fewer tokens than BPE at equal types;
    on these texts (a few hundred thousand characters) BPE over spaces needs fewer.
    """

    name, title, paper = "lib", "Less is Better: a lexicon that learns by reading", "P091"
    charts = ("lib_ladder", "lib_growth", "lib_words", "lib_cut")
    text: str = knob("docstrings", choices=KINDS, help="what is read")
    spaces: bool = knob(True, label="Spaces kept", help="off: words run together, as in Chinese")
    memory_in: float = knob(0.25, 0.05, 1.0, step=0.05, label="Memory in", help="how often neighbours are proposed")
    rate: float = knob(0.2, 0.05, 0.5, step=0.05, label="Update rate", help="how far a chunk moves, of its rank")
    life: int = knob(10, 1, 50, unit="documents", help="probation at the end of the list")
    longest: int = knob(12, 4, 20, unit="characters", label="Longest chunk", help="no chunk is longer")
    documents: int = knob(40, 1, 400, help="how many are read, 200 sentences each")

    def steps(self, session, rng):
        coins = random.Random(int(torch.randint(2**31, (), generator=rng)))
        pool = documents_of(sentences(self.text, KILOBYTES), self.spaces)
        probe = sentences(self.text, KILOBYTES, True)[:PROBE]
        own = " ".join(session.vocabulary.decode(session.ids).split())[:LONGEST_TEXT]
        own = own if self.spaces else own.replace(" ", "")
        reader = Reader(self.life, self.memory_in, self.rate, self.longest)
        reader.begin(pool)
        coins.shuffle(pool)
        window, read = [], []
        for number in range(self.documents):
            read.append(pool[number % len(pool)])
            reader.read(read[-1], coins)
            order = reader.lexicon.order
            window = [*window[1 - WINDOW :], {chunk: rank for rank, chunk in enumerate(order)}]
            notes = {"done": number + 1, "of": self.documents + 2, "documents": number + 1, "types": len(order)}
            notes |= measure(reader, probe, self.spaces)
            notes["ladder"] = ladder(window)
            notes["cut"] = [reader.lexicon.cut(own, self.longest)]
            notes["names"] = ["the lexicon"]
            yield Step(emitted=[], notes=notes)
        seen = [text if self.spaces else text.replace(" ", "") for text in probe]
        for name, words in (("BPE inside words", True), ("BPE over spaces", False)):
            bpe = bpe_beside(read[: len(pool)], len(order), words, self.longest)
            notes = notes | {"done": notes["done"] + 1, "bpe": notes.get("bpe", {}).copy()}
            notes["bpe"][name] = worth([bpe.encode(text).tokens for text in seen], probe)
            notes["cut"], notes["names"] = [*notes["cut"], bpe.encode(own).tokens], [*notes["names"], name]
            yield Step(emitted=[], notes=notes)
