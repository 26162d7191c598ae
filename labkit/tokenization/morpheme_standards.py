"""The study of %valid and %pure (P093): what the tokens of a vocabulary mean, as it grows, and beside other segmenters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch

from labkit.errors import KnobError, LabError
from labkit.knobs import knob
from labkit.methods import Study
from labkit.tokenization.morphemes import LEXICA, bits_per_byte, correlation, tagged, valid_and_pure
from labkit.tokenization.segmenter import Segmenter, all_segmenters, build_segmenter
from labkit.tokenization.texts import domain
from labkit.tokenization.trained_bpe import TrainedBPE
from labkit.tokenization.turkish import sentences, spelled
from labkit.trace import Step

SIZES = (300, 500, 800, 1200, 2000, 3000, 5000)  # vocabularies of the sweep
SHOWN = 90  # tiles
LETTERS_A_WORD = 12  # of a text of code, for the knob that counts words
TRAINED, GOLD = "trained BPE", "gold"
OPEN = {"bytes": 256, "characters": 0x110000}  # segmenters that list no vocabulary, and yet have one


class Corpus(NamedTuple):
    """A text to learn from, another to judge by, and the gold pieces of both, where they are known."""

    train: str
    test: str
    gold_train: list[str] | None = None
    gold_test: list[str] | None = None


@cache
def corpus(lexicon: str, words: int, seed: int) -> Corpus:
    """About `words` words, half to learn from: generated Turkish, or Python of the standard library (the same for any seed)."""
    if lexicon == "turkish":
        found = [spelled(sentence) for sentence in sentences(words, seed)]
        half = len(found) // 2
        train, test = ([piece for pieces in part for piece in pieces] for part in (found[:half], found[half:]))
        return Corpus("".join(train), "".join(test), train, test)
    size = words * LETTERS_A_WORD // 2
    return Corpus(*("\n".join(domain("python", 100, held_out))[:size] for held_out in (False, True)))


def pieces_of(segmenter: Segmenter, text: str) -> list[bytes]:
    """The bytes that each token takes of the text; none for a mark."""
    data = text.encode()
    return [data[piece.start : piece.end] for piece in segmenter.encode(text)]


@dataclass
class MorphemeStandards(Study):
    """How many tokens are words or affixes (%valid), and how many are one bare morpheme (%pure)? (P093)

    Unique tokens of a text are tagged by a lexicon in which both questions have exact answers: Turkish that the lab
    generates, or Python's own names. The paper used 6,200 Turkish exam questions and morphological services; that the
    denominators are unique tokens, that white space and case do not count, and that tokens without letters are not judged, is
    inferred. A BPE is trained on half the text for every size of the sweep. Bits a byte are those of a trigram model over
    the tokens, trained on that half, on the other: r between them and the shares is printed with its interval, and proves
    nothing on so few and so related points (the paper correlates with MMLU scores of large models).
    """

    name, title, paper = "morphemes", "Which tokens mean something?", "P093"
    charts = ("morpheme_tiles", "morpheme_shares", "morpheme_bits")
    segmenter: str = knob(
        TRAINED, choices=(TRAINED, GOLD, "bytes", "characters", "words", "model", "morphs"), help="whose tokens are shown"
    )
    vocabulary: int = knob(800, 300, 5000, unit="tokens", scale="log", help="of the trained BPE on show")
    weighting: str = knob("unique", choices=("unique", "by occurrence"), help="each token once, or as often as used")
    lexicon: str = knob("turkish", choices=tuple(LEXICA), help="the language that judges")
    words: int = knob(6000, 1000, 20000, unit="words", step=1000, help="length of the text")

    def steps(self, session, rng):
        if self.segmenter == GOLD and self.lexicon != "turkish":
            raise KnobError("The segmenter is gold, which is known for generated Turkish only: set the lexicon to turkish.")
        seed = int(torch.randint(2**31, (1,), generator=rng))
        text = corpus(self.lexicon, self.words, seed if self.lexicon == "turkish" else 0)
        sizes = sorted({self.vocabulary, *SIZES})
        others = {name: cls.title for name, cls in all_segmenters().items()}
        notes = {"done": 0, "of": 1 + len(sizes) + len(others), "segmenter": self.segmenter, "lexicon": self.lexicon}
        notes |= {"weighting": self.weighting, "asked": self.vocabulary, "points": [], **self._shown(session, text)}
        for point in self._points(session, text, sizes, others):
            notes = {**notes, "done": notes["done"] + 1}
            if point:
                notes["points"] = [*notes["points"], point]
            with_bits = [one for one in notes["points"] if one["bits"] is not None]
            bits = [one["bits"] for one in with_bits]
            notes["r"] = {kind: correlation([one[kind] for one in with_bits], bits) for kind in ("valid", "pure")}
            yield Step(emitted=[], notes=notes)

    def _shown(self, session, text: Corpus) -> dict:
        """The tokens on show, the commonest first, and how many have each tag; None is a token without a letter."""
        if self.segmenter == GOLD:
            pieces = [piece.encode() for piece in text.gold_test]
        elif self.segmenter == TRAINED:
            pieces = pieces_of(TrainedBPE(text.train, self.vocabulary), text.test)
        else:
            pieces = pieces_of(self._built(self.segmenter, session), text.test)
        found = tagged(pieces, LEXICA[self.lexicon]())
        judged = [(piece.decode(errors="backslashreplace"), tag, times) for piece, tag, times in found if tag]
        counts = {tag: sum(kind == tag for _, kind, _ in judged) for tag in ("pure", "valid", "neither")}
        return {"tiles": judged[:SHOWN], "counts": counts, "judged": len(judged)}

    def _built(self, name: str, session) -> Segmenter:
        knobs = {"language": self.lexicon} if name == "morphs" else {}
        return build_segmenter(name, knobs, session.vocabulary)

    def _points(self, session, text: Corpus, sizes: list[int], others: dict[str, str]) -> Iterator[dict | None]:
        """One segmenter after the other; None where it cannot read the text."""
        if text.gold_test:
            kinds = {piece: number for number, piece in enumerate(sorted({*text.gold_train, *text.gold_test}))}
            numbers = ([kinds[piece] for piece in half] for half in (text.gold_train, text.gold_test))
            yield self._point(GOLD, len(kinds), [piece.encode() for piece in text.gold_test], *numbers, text)
        else:
            yield None
        largest = 0
        for size in sizes:
            segmenter = TrainedBPE(text.train, size)
            grown, largest = len(segmenter.vocabulary) > largest, len(segmenter.vocabulary)
            yield {**self._measured("BPE", segmenter, largest, text), "sweep": True} if grown else None  # no pairs are left
        for name, title in others.items():
            try:
                segmenter = self._built(name, session)
                size = OPEN.get(name) or (1 + max(segmenter.vocabulary.values()) if segmenter.vocabulary else None)
                yield self._measured(title, segmenter, size, text)
            except LabError:
                yield None

    def _measured(self, title: str, segmenter: Segmenter, size: int | None, text: Corpus) -> dict:
        pieces = pieces_of(segmenter, text.test)
        return self._point(title, size, pieces, segmenter.cut(text.train), segmenter.cut(text.test), text)

    def _point(self, title: str, size: int | None, pieces: list[bytes], train: list[int], test: list[int], text: Corpus) -> dict:
        """One segmenter's figures. `size` None: its vocabulary is open, and no bits can be told."""
        valid, pure = valid_and_pure(pieces, LEXICA[self.lexicon](), self.weighting == "unique")
        bits = bits_per_byte(train, test, size, len(text.test.encode())) if size else None
        return {"name": title, "size": size, "valid": valid, "pure": pure, "bits": bits, "tokens": len(test), "sweep": False}
