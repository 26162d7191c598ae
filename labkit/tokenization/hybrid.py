"""The study of tokens with meaning (P101): words as root and affixes, what that saves in the vocabulary and costs in tokens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from labkit.knobs import knob
from labkit.methods import Study
from labkit.tokenization.metrics import boundary_f1
from labkit.tokenization.morpheme_standards import corpus, pieces_of
from labkit.tokenization.morphemes import LEXICA, valid_and_pure
from labkit.tokenization.morphs import LANGUAGES, Morphs
from labkit.tokenization.segmenter import Segmenter
from labkit.tokenization.trained_bpe import TrainedBPE
from labkit.trace import Step

BATCHES = 8  # parts of the text, one a step
WORD = re.compile(r"[^\W\d_]+")
FROM_PROMPT, FROM_TEXT = 6, 3  # words on show
GOAL = 0.9  # the coverage that vocabularies are compared at
CHECKED = (10, 20, 50, 100, 200, 300, 500, 800, 1200, 2000, 3000, 5000)  # sizes at which coverage is told


def tiles(segmenter: Morphs, word: str) -> list[tuple[str, str, str]]:
    """A word's tokens: kind ("mark", "root", "affix", "piece" ...), name ("lAr"), and the letters it takes there ("lar")."""
    data = word.encode()
    found = [(piece.start, piece.end, *segmenter.says(piece.id)) for piece in segmenter.encode(word)]
    return [(kind, name, data[start:end].decode(errors="backslashreplace")) for start, end, kind, name in found]


def ranks(words: dict[tuple[int, ...], int]) -> Counter[int]:
    """How many running words need how many entries, the commonest tokens first: the place of a word's rarest token.

    `words`: a word's tokens, and how often it stands in the text.
    """
    used: Counter[int] = Counter()
    for tokens, times in words.items():
        for token in tokens:
            used[token] += times
    ordered = sorted(used, key=lambda token: (-used[token], token))
    place = {token: number for number, token in enumerate(ordered, 1)}
    needed: Counter[int] = Counter()
    for tokens, times in words.items():
        needed[max(place[token] for token in tokens)] += times
    return needed


def coverage(needed: Counter[int], sizes: Iterable[int] = CHECKED) -> list[tuple[int, float]]:
    """(entries, share of the running words that they write whole); the last point covers all. `needed` is what `ranks` gives."""
    last, total = max(needed, default=0), needed.total()
    kept = [*(size for size in sizes if size < last), last] if last else []
    return [(size, sum(times for place, times in needed.items() if place <= size) / total) for size in kept]


def entries_for(needed: Counter[int], share: float = GOAL) -> int:
    """The fewest entries, the commonest first, that write this share of the running words; 0 for no words."""
    covered = 0
    for place in sorted(needed):
        covered += needed[place]
        if covered >= share * needed.total():
            return place
    return 0


@dataclass
class Hybrid(Study):
    """Roots and affixes as tokens: what do they save, and what do they cost? (P101)

    Words of generated Turkish or of Python's names, token by token, with the name that a token has in the vocabulary and the
    letters it takes in the word. A BPE of the same size, trained on the other half of the text, stands beside it. Coverage
    counts how many entries write how many of the running words whole. Expect more tokens than BPE's: spaces and capitals are
    tokens of their own (the paper: 707,000 against 434,000 of a large model's tokenizer). The knobs are those of the
    segmenter `morphs`, which says what is inferred.
    """

    name, title, paper = "hybrid", "Roots and affixes as tokens", "P101"
    charts = ("hybrid_words", "hybrid_coverage", "hybrid_tokens")
    language: str = knob("turkish", choices=tuple(sorted(LANGUAGES, reverse=True)), help="whose roots and affixes")
    shared: bool = knob(True, label="Shared ids", help="one id for all forms: lar, ler")
    marks: bool = knob(True, label="Case tokens", help="a capital is a mark and a small letter")
    dictionary: int = knob(100, 0, 100, unit="%", label="Root dictionary", help="the commonest roots that are known")
    matching: str = knob("longest root", choices=("longest root", "best total"), help="which analysis of a word wins")
    words: int = knob(4000, 1000, 20000, unit="words", step=1000, help="length of the text")

    def steps(self, session, rng):
        seed = int(torch.randint(2**31, (1,), generator=rng))
        text = corpus(self.language, self.words, seed if self.language == "turkish" else 0)
        mine = Morphs(self.language, self.shared, self.marks, self.dictionary, self.matching)
        forms = Morphs(self.language, False, False, self.dictionary, self.matching)
        bpe = TrainedBPE(text.train, mine.size)
        rivals = {"roots and affixes": mine, "BPE": bpe, "every form by itself": forms}
        counts: Counter[str] = Counter()
        read, starts, gold = "", [], _starts(text.gold_test)
        prompt = list(dict.fromkeys(WORD.findall(session.vocabulary.decode(session.ids))))[:FROM_PROMPT]
        lines = text.test.splitlines(keepends=True)
        for done in range(1, BATCHES + 1):
            part = "".join(lines[(done - 1) * len(lines) // BATCHES : done * len(lines) // BATCHES])
            starts += [len(read.encode()) + start for start in mine.starts(part)]
            read += part
            counts.update(WORD.findall(part))
            latest = [word for word in dict.fromkeys(WORD.findall(part)) if _is_built(mine, word)][-FROM_TEXT:]
            notes = {"done": done, "of": BATCHES, "language": self.language, "read": counts.total()}
            notes["words"] = [{"word": word, "tiles": tiles(mine, word)} for word in dict.fromkeys([*prompt, *latest])]
            notes |= self._counted(rivals, counts, read)
            if gold:
                end = len(read.encode())
                notes["f1"] = boundary_f1(starts, [start for start in gold if start < end])[2]
            yield Step(emitted=[], notes=notes)

    def _counted(self, rivals: dict[str, Segmenter], counts: Counter[str], read: str) -> dict:
        """The vocabularies by what they cover, and the tokens of the text read so far."""
        needed = {name: ranks(_cut(segmenter, counts)) for name, segmenter in rivals.items()}
        needed["whole words"] = ranks({(place,): times for place, times in enumerate(counts.values())})
        mine = rivals["roots and affixes"]
        return {
            "curves": {name: coverage(found) for name, found in needed.items()},
            "goal": GOAL,
            "needed": {name: entries_for(found) for name, found in needed.items()},
            "sizes": {name: len(one.vocabulary) if name == "BPE" else one.size for name, one in rivals.items()},
            "kinds": dict(Counter(mine.says(token)[0] for token in mine.cut(read))),
            "figures": {name: self._figures(rivals[name], read) for name in ("roots and affixes", "BPE")},
        }

    def _figures(self, segmenter: Segmenter, text: str) -> dict[str, float]:
        pieces = pieces_of(segmenter, text)
        valid, pure = valid_and_pure(pieces, LEXICA[self.language]())
        return {"tokens": len(pieces), "valid": valid, "pure": pure}


def _is_built(segmenter: Morphs, word: str) -> bool:
    """Has it both a root and an affix?"""
    return {"root", "affix"} <= {segmenter.says(token)[0] for token in segmenter.cut(word)}


def _cut(segmenter: Segmenter, counts: Counter[str]) -> dict[tuple[int, ...], int]:
    """Every word as it stands behind a space, as tokens, the space's own left out."""
    found: Counter[tuple[int, ...]] = Counter()
    for word, times in counts.items():
        tokens = tuple(segmenter.cut(" " + word))
        found[tokens[isinstance(segmenter, Morphs) :]] += times
    return found


def _starts(pieces: list[str] | None) -> list[int]:
    """Where gold pieces begin, in bytes."""
    found, place = [], 0
    for piece in pieces or ():
        found.append(place)
        place += len(piece.encode())
    return found
