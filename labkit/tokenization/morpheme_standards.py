"""The study of %valid and %pure (P093): what the tokens of a vocabulary mean, as it grows, and beside other segmenters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import torch

from labkit.errors import KnobError, LabError
from labkit.knobs import knob
from labkit.methods import Study
from labkit.tokenization.morphemes import (
    LEXICA,
    NEITHER,
    PURE,
    VALID,
    bits_per_byte,
    correlation,
    tagged,
    valid_and_pure,
)
from labkit.tokenization.segmenter import Segmenter, all_segmenters, build_segmenter
from labkit.tokenization.texts import domain
from labkit.tokenization.trained_bpe import TrainedBPE
from labkit.tokenization.turkish import sentences, spelled
from labkit.trace import Step

SIZES = (300, 500, 800, 1200, 2000, 3000, 5000)  # vocabularies of the sweep
SHOWN = 90  # tiles
LETTERS_A_WORD = 20  # of a text of code, for the knob that counts words
TRAINED, GOLD = "trained BPE", "gold"
OPEN = {"bytes": 256, "characters": 0x110000}  # segmenters that list no vocabulary, and yet have one


Turn = tuple[str, tuple[list[bytes], list[int], list[int]], int | None]
"""A segmenter's name ("" = it cannot read the text); its pieces of the test text, its tokens of both; its vocabulary."""


class Corpus(NamedTuple):
    """A text to learn from, another to judge by, and the gold pieces of both, where they are known."""

    train: str
    test: str
    gold_train: list[str] | None = None
    gold_test: list[str] | None = None


@cache
def corpus(lexicon: str, words: int, seed: int) -> Corpus:
    """About `words` words, half to learn from: generated Turkish, or Python of the standard library (the same for any seed).

    The Python is what the lab's models never saw, and every second file is for learning.
    """
    if lexicon == "turkish":
        found = [spelled(sentence) for sentence in sentences(words, seed)]
        half = len(found) // 2
        train, test = ([piece for pieces in part for piece in pieces] for part in (found[:half], found[half:]))
        return Corpus("".join(train), "".join(test), train, test)
    texts, size = domain("python", 300, held_out=True), words * LETTERS_A_WORD // 2
    return Corpus(*("\n".join(part)[:size] for part in (texts[::2], texts[1::2])))


def pieces_of(segmenter: Segmenter, text: str) -> list[bytes]:
    """The bytes that each token takes of the text; none for a mark."""
    data = text.encode()
    return [data[piece.start : piece.end] for piece in segmenter.encode(text)]


@dataclass
class MorphemeStandards(Study):
    """How many tokens are words or affixes (%valid), and how many are one bare morpheme (%pure)? (P093)

    Unique tokens of a text are tagged by a lexicon in which both questions have exact answers: Turkish that the lab
    generates, or Python's own names. The paper used 6,200 Turkish exam questions and morphological services; that the
    denominators are unique tokens, that white space and case do not count, and that tokens without letters are not judged,
    is inferred. A step is one segmenter: gold pieces, a BPE of every size, and whatever else the lab has. The tokens shown
    are that step's, and after the last those of the knob. BPEs learn from one half of the text, the other half is tagged.
    Bits a byte are those of a trigram model over the tokens, from one half on the other: r between them and the shares is
    printed with its interval, and proves nothing on so few and so related points. The paper correlates with exam scores of
    large models.
    """

    name, title, paper = "morphemes", "Which tokens mean something?", "P093"
    charts = ("morpheme_tiles", "morpheme_shares", "morpheme_bits")
    segmenter: str = knob(
        TRAINED,
        choices=(TRAINED, GOLD, "bytes", "characters", "words", "model", "morphs"),
        help="whose tokens are shown",
    )
    vocabulary: int = knob(800, 300, 5000, unit="tokens", scale="log", help="of the trained BPE on show")
    weighting: str = knob("unique", choices=("unique", "by occurrence"), help="each token once, or as often as used")
    lexicon: str = knob("turkish", choices=tuple(LEXICA), help="the language that judges")
    words: int = knob(6000, 1000, 20000, unit="words", step=1000, help="length of the text")

    def steps(self, session, rng):
        if self.segmenter == GOLD and self.lexicon != "turkish":
            raise KnobError(
                "The segmenter is gold, which is known for generated Turkish only: set the lexicon to turkish."
            )
        seed = int(torch.randint(2**31, (1,), generator=rng))
        text = corpus(self.lexicon, self.words, seed if self.lexicon == "turkish" else 0)
        sizes, others = sorted({self.vocabulary, *SIZES}), all_segmenters()
        turns = [partial(self._gold, text)] * bool(text.gold_test)
        turns += [partial(self._bpe, text, size) for size in sizes]
        turns += [partial(self._other, text, name, session) for name in others]
        notes = {"of": len(turns) + 1, "lexicon": self.lexicon, "weighting": self.weighting, "points": []}
        for done, turn in enumerate(turns, 1):
            segmenter, numbers, size = turn()
            if segmenter and size not in [one["size"] for one in notes["points"] if one["name"] == segmenter == "BPE"]:
                pieces, train, test = numbers
                notes["points"] = [*notes["points"], self._point(segmenter, size, pieces, train, test, text)]
                notes |= self._shown(segmenter, size, pieces)
            bits = [one for one in notes["points"] if one["bits"] is not None]
            by_kind = {kind: [one[kind] for one in bits] for kind in ("valid", "pure")}
            notes["r"] = {kind: correlation(shares, [one["bits"] for one in bits]) for kind, shares in by_kind.items()}
            yield Step(emitted=[], notes={**notes, "done": done})
        chosen = {GOLD: turns[0], TRAINED: partial(self._bpe, text, self.vocabulary)}
        segmenter, numbers, size = chosen.get(self.segmenter, partial(self._other, text, self.segmenter, session))()
        if segmenter:
            notes |= self._shown(segmenter, size, numbers[0])
        yield Step(emitted=[], notes={**notes, "done": len(turns) + 1})

    def _gold(self, text: Corpus) -> Turn:
        kinds = {piece: number for number, piece in enumerate(sorted({*text.gold_train, *text.gold_test}))}
        train, test = ([kinds[piece] for piece in half] for half in (text.gold_train, text.gold_test))
        return GOLD, ([piece.encode() for piece in text.gold_test], train, test), len(kinds)

    def _bpe(self, text: Corpus, size: int) -> Turn:
        segmenter = TrainedBPE(text.train, size)
        return "BPE", _read(segmenter, text), len(segmenter.vocabulary)

    def _other(self, text: Corpus, name: str, session) -> Turn:
        knobs = {"language": self.lexicon} if name == "morphs" else {}
        segmenter = build_segmenter(name, knobs, session.vocabulary)
        try:
            listed = segmenter.vocabulary
            return (
                segmenter.title,
                _read(segmenter, text),
                OPEN.get(name) or (1 + max(listed.values()) if listed else None),
            )
        except LabError:  # a tokenizer that changes the text
            return "", ([], [], []), None

    def _point(
        self, name: str, size: int | None, pieces: list[bytes], train: list[int], test: list[int], text: Corpus
    ) -> dict:
        """One segmenter's figures. `size` None: its vocabulary is open, and no bits can be told."""
        valid, pure = valid_and_pure(pieces, LEXICA[self.lexicon](), self.weighting == "unique")
        bits = bits_per_byte(train, test, size, len(text.test.encode())) if size else None
        return {"name": name, "size": size, "valid": valid, "pure": pure, "bits": bits, "tokens": len(test)}

    def _shown(self, name: str, size: int | None, pieces: list[bytes]) -> dict:
        """The tokens on show, the commonest first, and how many different ones have each tag."""
        found = tagged(pieces, LEXICA[self.lexicon]())
        judged = [(piece.decode(errors="backslashreplace"), tag, times) for piece, tag, times in found if tag]
        counts = {tag: sum(kind == tag for _, kind, _ in judged) for tag in (PURE, VALID, NEITHER)}
        return {"segmenter": name, "size": size, "tiles": judged[:SHOWN], "counts": counts}


def _read(segmenter: Segmenter, text: Corpus) -> tuple[list[bytes], list[int], list[int]]:
    return pieces_of(segmenter, text.test), segmenter.cut(text.train), segmenter.cut(text.test)
