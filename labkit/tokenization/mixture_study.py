"""P106, played through: a tokenizer is trained on a secret mixture, and its merges betray the recipe."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from labkit.errors import KnobError, ModelError
from labkit.knobs import knob
from labkit.methods import Study
from labkit.tokenization.bpe import Corpus, learn
from labkit.tokenization.mixture import MEGABYTE, TOLERANCE, Guess, History, infer, mixed, sample
from labkit.tokenization.texts import domain, phrases
from labkit.trace import Step

CATEGORIES = {"Python": "python", "C++": "c++", "CSS": "css", "Finnish": "fi", "Russian": "ru"}
LONGEST = 160  # characters of a line; longer ones are data more often than text
POOL = 400  # kB of files, out of which lines are drawn
SHOWN = 12  # merges in the list
AT_ONCE = 10  # merges in a step
FEWER = (10, 30, 100, 300)  # merges; the attack is repeated with so few
SIDE = 20  # steps along the triangle's edge
HERE, MODEL = "trained here", "the model's own"


def lines(category: str, kilobytes: int) -> tuple[list[str], list[str]]:
    """About `kilobytes` of a category's lines for the trainer, and as many others for the attacker.

    The line's end stands before it, for indentation is cut together with it.
    """
    name = CATEGORIES[category]
    languages = name in ("fi", "ru")
    found = list(phrases(name).values()) if languages else "".join(domain(name, POOL)).split("\n")
    mixed_up = sorted(
        ("\n" + line for line in found if len(line) <= LONGEST), key=lambda line: hashlib.sha256(line.encode()).digest()
    )
    ends = np.cumsum([len(line.encode()) for line in mixed_up])
    kept = mixed_up[: int(np.searchsorted(ends, 2000 * kilobytes)) + 1]
    return kept[::2], kept[1::2]


@dataclass
class Mixture(Study):
    """Can one read off a tokenizer's merges what it was trained on (P106)?

    A BPE tokenizer is trained on a mixture that the knobs set, then attacked with other lines of the same categories: one merge
    after the other is applied to them, and a linear programme finds the mixture under which every merge was the commonest pair.
    The attacker has to know how words were cut before merging; here both cut as the shipped tokenizer does. Sizes are ours:
    Finnish and Russian have at most 11 and 17 kB a half.
    """

    name, title, paper = "mixture", "Mixture inference", "P106"
    charts = ("mixture_shares", "mixture_triangle", "mixture_merges", "mixture_errors")
    merges: int = knob(100, 10, 1000, scale="log", unit="merges", label="Merges T", help="seen by the attacker")
    python: int = knob(40, 0, 100, unit="parts", help="of the mixture")
    cpp: int = knob(20, 0, 100, unit="parts", label="C++", help="of the mixture")
    css: int = knob(10, 0, 100, unit="parts", label="CSS", help="of the mixture")
    finnish: int = knob(20, 0, 100, unit="parts", help="of the mixture")
    russian: int = knob(10, 0, 100, unit="parts", help="of the mixture")
    withheld: str = knob("none", choices=("none", *CATEGORIES), help="the attacker has no sample of it")
    samples: str = knob("held out", choices=("held out", "the same"), label="Attacker's lines", help="others, or the trainer's")
    victim: str = knob(HERE, choices=(HERE, MODEL), help="whose merges are attacked")
    kilobytes: int = knob(100, 5, 150, unit="kB", label="Sample size", help="of each category, each half")

    def steps(self, session, rng):
        from labkit.train.tokenizer import PRE_TOKENIZER

        parts = dict(zip(CATEGORIES, (self.python, self.cpp, self.css, self.finnish, self.russian)))
        names = [name for name in CATEGORIES if name != self.withheld]
        secret = {} if self.victim == MODEL else self.shares(parts)
        known = {"categories": names, "true": secret, "withheld": self.withheld, "merges": self.merges, "learned": 0}
        known |= {"of": len(CATEGORIES) + 2 * self.merges, "done": 0, "phase": "reading"}

        def step(done: int, **more) -> Step:
            known.update(more, done=done)
            return Step([], notes=dict(known))

        halves = {}
        for number, name in enumerate(CATEGORIES, 1):
            halves[name] = [sample(half, PRE_TOKENIZER) for half in lines(name, self.kilobytes)]
            yield step(number)
        taught = [halves[name][0] for name in CATEGORIES]
        if self.victim == MODEL:
            merges = (session.vocabulary.merges or [])[: self.merges]
            if not merges:
                raise ModelError("The chosen model's tokenizer has no merges to attack: choose one that was trained by BPE.")
        else:
            merges = []
            for pair in islice(learn(Corpus(mixed(taught, list(secret.values()))), least=1), self.merges):
                merges.append(pair)
                if len(merges) % AT_ONCE == 0:
                    yield step(number + len(merges), phase="training", learned=len(merges))
        known |= {"phase": "applying", "merges": len(merges), "learned": len(merges), "of": number + 2 * len(merges)}

        half = 1 if self.samples == "held out" else 0
        history = History([halves[name][half] for name in names], merges)
        even = np.full(len(names), 1 / len(names))
        truth = np.array([secret.get(name, 0.0) for name in names])
        triangle = Triangle(names, truth if secret else (np.arange(len(names)) < 3) / 3)
        evidence = Evidence(history, even, truth if secret else None)
        for applied in history.record():
            if applied % AT_ONCE == 0 or applied == len(merges):
                first = (applied - 1) // AT_ONCE * AT_ONCE
                for merge, rates in enumerate(history.rates(first, applied), first):
                    triangle.see(rates, history.winners[merge])
                    evidence.see(rates, merge)
                seen = {"list": evidence.rows[-SHOWN:], "triangle": triangle.known(), "applied": applied}
                yield step(number + len(merges) + applied, **seen)

        rounds: list[list[float]] = []
        for guess in infer(history):
            rounds.append([guess.constraints, guess.objective])
            yield step(known["of"], phase="solving", inferred=shares_of(names, guess), rounds=list(rounds))
        yield step(known["of"], list=evidence.loudest(guess), phase="the loudest merges")
        yield from self.with_fewer(history, guess, known, step)

    def shares(self, parts: dict[str, int]) -> dict[str, float]:
        """The secret mixture. Raises `KnobError` when it has nothing in it, or nothing that the attacker knows."""
        total = sum(parts.values())
        if total - parts.get(self.withheld, 0) == 0:
            raise KnobError("The mixture has nothing in it that the attacker knows: give some other category a part.")
        return {name: part / total for name, part in parts.items()}

    def with_fewer(self, history: History, whole: Guess, known: dict, step) -> Iterator[Step]:
        """The same attack with fewer merges: how the answer settles."""
        found: list[dict] = []
        for count in [few for few in FEWER if few < len(history.merges)]:
            for guess in infer(history, count):
                last = guess
                yield step(known["of"], phase="with fewer merges")
            found.append(settled(known["categories"], count, last))
            yield step(known["of"], settling=list(found))
        yield step(known["of"], settling=[*found, settled(known["categories"], len(history.merges), whole)], phase="done")


def settled(names: list[str], merges: int, guess: Guess) -> dict:
    """The answer from so many merges as plain data."""
    return {"merges": merges, "inferred": shares_of(names, guess), "objective": guess.objective}


def shares_of(names: list[str], guess: Guess) -> dict[str, float]:
    """The guess by category."""
    return dict(zip(names, guess.alpha.tolist()))


class Triangle:
    """How far the merges contradict each mixture of the three largest categories; the others keep their shares.

    The shortfall of a merge is by how much the commonest pair was commoner than the one that was merged, in occurrences a byte:
    0 at every merge where the mixture is feasible.
    """

    def __init__(self, names: list[str], centre: np.ndarray):
        self.names, centre = names, centre.astype(float)
        self.corners = sorted(np.argsort(-centre, kind="stable")[:3].tolist())
        self.room = float(centre[self.corners].sum())
        places = [(i, j, SIDE - i - j) for i in range(SIDE + 1) for j in range(SIDE + 1 - i)]
        self.mixtures = np.tile(centre, (len(places), 1))
        self.mixtures[:, self.corners] = np.array(places) / SIDE * self.room
        self.shortfall = np.zeros(len(places))

    def see(self, rates: np.ndarray, winner: int) -> None:
        """One merge more."""
        scores = rates @ self.mixtures.T  # [pairs, mixtures]
        self.shortfall += (scores.max(0) - scores[winner]) / MEGABYTE

    def known(self) -> dict:
        """Plain data; places run over the first corner's share, then the second's, in steps of 1 / `side`."""
        corners = [self.names[corner] for corner in self.corners]
        return {"corners": corners, "room": self.room, "side": SIDE, "shortfall": self.shortfall.tolist()}


class Evidence:
    """For every merge: the pair that came next, and by how much the merge beats all others under one mixture and another."""

    def __init__(self, history: History, even: np.ndarray, truth: np.ndarray | None):
        self.history, self.even, self.truth = history, even, truth
        self.pairs = {}
        self.rows: list[dict] = []

    def see(self, rates: np.ndarray, number: int) -> None:
        """Merge `number`, before which the pairs occur at these rates."""
        winner = self.history.winners[number]
        beaten, margin = self.rival(rates, winner, self.even)
        row = {"number": number + 1, "merge": self.spelled(winner), "even": margin}
        row["rival"] = self.spelled(beaten)
        if self.truth is not None:
            row["true"] = self.rival(rates, winner, self.truth)[1]
        self.rows.append(row)

    @staticmethod
    def rival(rates: np.ndarray, winner: int, alpha: np.ndarray) -> tuple[int, float]:
        """The commonest other pair, and by which share of the larger of the two the winner is commoner (below 0: rarer)."""
        scores = rates @ alpha
        mine, scores[winner] = scores[winner], -1.0
        other = int(scores.argmax())
        return other, float((mine - scores[other]) / max(mine, scores[other], TOLERANCE))

    def spelled(self, pair: int) -> list[str]:
        if len(self.pairs) < len(self.history.index):
            self.pairs = {number: pair for pair, number in self.history.index.items()}
        return [half.decode("utf-8", "backslashreplace") for half in self.pairs[pair]]

    def loudest(self, guess: Guess) -> list[dict]:
        """The merges that contradict the even mixture most, in order, with what they say of the guess."""
        chosen = sorted(sorted(self.rows, key=lambda row: row["even"])[:SHOWN], key=lambda row: row["number"])
        wanted = {row["number"] - 1: row for row in chosen}
        for number, rates in enumerate(self.history.rates()):
            if number in wanted:
                margin = self.rival(rates, self.history.winners[number], guess.alpha)[1]
                wanted[number] = {**wanted[number], "inferred": margin}
        return list(wanted.values())
