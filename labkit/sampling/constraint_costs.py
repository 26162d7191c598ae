"""P048, measured: how few questions AWRS asks, and what masking gets wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import count, zip_longest
from math import exp, log
from typing import Iterator

import torch

from labkit.knobs import knob
from labkit.law import draw
from labkit.lm import Session
from labkit.methods import Study
from labkit.sampling.awrs import AWRS, Particle
from labkit.sampling.ground import judge_of, law_of
from labkit.sampling.lcd import LCD
from labkit.sampling.shipped_constraints import SHIPPED
from labkit.sampling.toy import END, SPELLINGS, A, Trap
from labkit.trace import Step

SETTINGS = """# Settings, one JSON object a line
{"name": "width", "default": 80, "unit": "px"}
{"name": "debug", "default": false}
"""
QUEUE = """class Queue:
    # add an item
    def put(self, item): ...

    # return the next item
    def get(self): ...

    #"""
PROMPTS = {
    "JSON": SETTINGS,
    "Python": "class Queue:\n    def __init__(self):\n        self.items = []\n\n    def put(self, item):",
    "a date": "# 1.0.0: 2019-03-14\n# 1.1.0: 2020-11-02\n# 1.2.0: ",
    "no letter e": QUEUE,
    "word list": QUEUE,
}
EDGES = (0.01, 0.1, 0.5, 1.0, 2.0, 4.0)  # nats of -ln Z; between them lie the classes of the right-hand picture
COUNTS = (1, 4, 16)  # particles on the toy
ROUNDS = 4  # toy texts a step, of every number of particles
TOKENS = 16  # of every text of the shipped constraints, at most


@dataclass
class ConstraintCosts(Study):
    """How many questions does a constraint cost, and does the text keep the model's law (P048)?

    On a toy of four letters whose law is known: masking, AWRS with 1, 4 and 16 particles, and throwing away whole texts that
    disobey, all really run. With the model, the shipped constraints behind prompts of their own: at every token AWRS asks its
    few, and the whole mask is asked for too (by shared beginnings; once a constraint token by token), which gives the exact Z.
    """

    name, title, paper = "constraints", "Constraints: questions and dead ends", "P048"
    charts = ("constraint_costs", "constraint_toy")
    texts: int = knob(3, 1, 20, unit="texts", label="Texts", help="of every constraint")
    rounds: int = knob(40, 1, 100, label="Toy rounds", help=f"{ROUNDS} texts each")
    left: float = knob(0.01, 0.001, 0.9, scale="log", label="Left behind a", help="toy: the chance of c behind a")

    def steps(self, session, rng):
        known = {"of": len(SHIPPED) * self.texts * TOKENS, "size": session.runner.vocabulary, "edges": list(EDGES)}
        toy = Toy(Trap(left=self.left), rng)
        for play, measured in zip_longest(range(self.rounds), self.measured(session, rng)):
            if play is not None:
                toy.play()
            known |= {"done": known["of"]} if measured is None else measured
            yield Step([], notes={**known, "toy": toy.known()})

    def measured(self, session: Session, rng: torch.Generator) -> Iterator[dict]:
        """The shipped constraints in turn, a token at a time: what is known after each."""
        costs = {name: Counter() for name in SHIPPED}
        bins = [Counter() for _ in range(len(EDGES) + 1)]
        goals = count(0, TOKENS)  # texts end early
        for number in range(self.texts):
            for (name, counts), goal in zip(costs.items(), goals):
                for place, (tests, mass) in enumerate(self.along(session, name, counts, number == 0, rng), 1):
                    if mass > 0:
                        bins[sum(-log(mass) >= edge for edge in EDGES)].update(moves=1, tests=tests)
                    seen = {one: dict(found) for one, found in costs.items() if found}
                    yield {"done": goal + place, "costs": seen, "bins": [dict(one) for one in bins]}

    def along(self, session, name: str, counts: Counter, scan: bool, rng) -> Iterator[tuple[int, float]]:
        """Write a text under the constraint `name` and count; gives (tests, exact allowed mass) of every token."""
        ids = session.vocabulary.encode(PROMPTS[name])
        fresh = session.open(ids)
        judge, method = judge_of(name, fresh), AWRS(constraint=name, count=1)
        one = Particle(fresh, judge.start)
        for place in range(TOKENS):
            before, p = judge.evaluations, law_of(one.session)
            mass = p[judge.allowed_shared(one.text)].sum().item()
            counts["shared"] += judge.evaluations - before
            if scan and place == 0:
                before = judge.evaluations
                judge.allowed(one.text)
                counts["every"] = judge.evaluations - before
            walk, _ = method.move(one, judge, rng)
            counts.update(moves=1, tests=len(walk.tests))
            yield len(walk.tests), mass
            if not one.runs:
                return


class Toy:
    """Texts of the trap written in every way: how many went through a, what they cost, what the weights say of Z."""

    MASKING, AGAIN = "masking", "whole texts again"

    def __init__(self, trap: Trap, rng: torch.Generator):
        self.trap, self.rng = trap, rng
        self.found: dict[str, Counter] = {}
        self.masses: dict[int, list[float]] = {particles: [] for particles in COUNTS}

    def play(self) -> None:
        """ROUNDS texts in every way."""
        for _ in range(ROUNDS):
            self.decode(self.MASKING, LCD())
            for particles in COUNTS:
                last = self.decode(f"AWRS, N = {particles}", AWRS(count=particles))
                self.masses[particles].append(exp(last.notes["logz"]))
            self.again()

    def decode(self, name: str, method: AWRS | LCD) -> Step:
        """One text under the constraint; the last step."""
        session, text = self.trap.session(), []
        for step in method.under(self.trap.judge(), session, self.rng):
            text += step.emitted
        self.count(name, text, step.notes["asked"], session)
        return step

    def again(self) -> None:
        """Plain texts, thrown away until one obeys."""
        session, judge = self.trap.session(), self.trap.judge()
        while True:
            one, text = session.open(session.ids), []
            while END not in text:
                text.append(draw(one.law(one.logits), self.rng))
                one.push(text[-1])
            if judge.complete(b"".join(SPELLINGS[token] for token in text)):
                return self.count(self.AGAIN, text, judge.evaluations, session)

    def count(self, name: str, text: list[int], asked: int, session: Session) -> None:
        counts = self.found.setdefault(name, Counter())
        counts.update(texts=1, trapped=text[0] == A, asked=asked, forwards=session.ledger.forwards)

    def known(self) -> dict:
        """Plain data: the exact figures of the trap, counts by way, mean and standard deviation of the estimates of Z."""
        masses = {str(many): torch.tensor(found, dtype=torch.float64) for many, found in self.masses.items()}
        return {
            "exact": {"share": self.trap.share, "masking": self.trap.likely, "mass": self.trap.mass},
            "found": {name: dict(counts) for name, counts in self.found.items()},
            "masses": {many: [found.mean().item(), found.std().item()] for many, found in masses.items()},
        }
