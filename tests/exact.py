"""Every way the coins can fall, through the real code: the law of what it returns, without drawing anything.

The code under test is run again and again; when it asks for a coin or a draw, one answer is played and its weight kept,
until every combination was played. A coin is not a number here but an object that is decided when it is compared.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import torch

from labkit.law import draw
from labkit.speculative import variants, verify


class Dice:
    """Plays every combination of answers, depth first."""

    def __init__(self):
        self.plan: list[list] = []  # per question: [answers still to play, with their weights]

    def ask(self, answers: list[tuple]) -> object:
        """The answer to play now, of (answer, weight) pairs; weights of 0 are never played."""
        if self.at == len(self.plan):
            self.plan.append([pair for pair in answers if pair[1] > 0])
        answer, weight = self.plan[self.at][0]
        self.at += 1
        self.weight *= weight
        return answer

    def outcomes(self, play):
        """(what `play()` returned, its probability) for every combination."""
        while True:
            self.at, self.weight = 0, 1.0
            yield play(), self.weight
            while self.plan and len(self.plan[-1]) == 1:
                self.plan.pop()
            if not self.plan:
                return
            self.plan[-1].pop(0)

    def draw(self, law, rng) -> int:
        """Stands in for `labkit.law.draw`."""
        shares = (law.double() / law.double().sum()).tolist()
        return self.ask(list(enumerate(shares)))

    def rand(self, size, generator=None, dtype=None):
        """Stands in for `torch.rand`."""
        if size == ():
            return SimpleNamespace(item=lambda: Coin(self))
        return SimpleNamespace(tolist=lambda: [Coin(self) for _ in range(size)])


class Coin:
    """A uniform number in [0, 1), times `scale`."""

    def __init__(self, dice: Dice, scale: float = 1.0):
        self.dice, self.scale = dice, scale

    def __mul__(self, factor: float) -> Coin:
        return Coin(self.dice, self.scale * factor)

    def __lt__(self, threshold: float) -> bool:
        chance = min(1.0, max(0.0, threshold / self.scale))
        return self.dice.ask([(True, chance), (False, 1.0 - chance)])


class FakeTorch:
    """torch with another `rand`."""

    def __init__(self, rand):
        self.rand = rand

    def __getattr__(self, name):
        return getattr(torch, name)


def law_of(monkeypatch, play, drawing=()) -> dict:
    """What `play()` returns, with exact probabilities; its coins are those of `verify` and `variants`, and what the modules
    `drawing` draw."""
    dice, law = Dice(), defaultdict(float)
    with monkeypatch.context() as patch:
        for module in (verify, variants):
            assert module.draw is draw
            patch.setattr(module, "draw", dice.draw)
            patch.setattr(module, "torch", FakeTorch(dice.rand))
        for module in drawing:
            patch.setattr(module, "draw", dice.draw)
        for outcome, weight in dice.outcomes(play):
            law[outcome] += weight
    return dict(law)
