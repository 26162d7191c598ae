"""CNTP (P033): cautious next token prediction, several trials where the model is unsure."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

import torch
from torch import Tensor

from labkit.errors import KnobError
from labkit.knobs import knob
from labkit.law import draw, draws, entropy
from labkit.lm import Session
from labkit.methods import Method
from labkit.sampling.branches import Branch, commit, feed, room
from labkit.trace import Tree

PAPER, CODE, REVERSED, CONSTANT = "paper", "code", "reversed", "constant"
PUNCTUATION, LINES = "punctuation", "line ends"
STOPS = {PUNCTUATION: frozenset(".,\n?!:;)]}"), LINES: frozenset("\n")}


@dataclass
class CNTP(Method):
    """Where it is unsure it writes several trials up to the next punctuation and keeps the one of lowest perplexity (P033).

    Entropy H in nats and all probabilities are those after temperature and cuts. N trials, independent samples, run side by
    side from the same place, each to its first punctuation token, which it keeps, or to an end of text; the whole trial with
    the lowest exp(mean of -ln p) is appended. N = 1 is plain sampling of one token. At temperature 0, H is 0 and N is 1.

    N grows with x = (H - H min) / (H max - H min), between 0 and 1: paper: floor(Nmax x), at least 1; code (the released one,
    which differs): floor(1 + (Nmax - 1) x); reversed: the same with 1 - x; constant: always Nmax.

    Inferred: a token is punctuation when its last character is, spaces at its end put aside (the release compares ten
    single-character tokens, but ours merges "):" and line ends with the indent behind them); a trial ends at 48 tokens.
    The paper's majority vote over several answers is left out. Raises `KnobError` when H min does not lie below H max.
    """

    name, title, paper, lossless = "cntp", "CNTP", "P033", False
    charts = ("comb",)
    most: int = knob(10, 1, 20, unit="trials", label="Trials Nmax", help="where it is least sure")
    lowest: float = knob(0.01, 0.0, 5.0, step=0.01, unit="nats", label="H min", help="up to here one sample")
    highest: float = knob(1.5, 0.0, 5.0, step=0.05, unit="nats", label="H max", help="from here on Nmax trials")
    mapping: str = knob(PAPER, choices=(PAPER, CODE, REVERSED, CONSTANT), label="Trials by", help="how N follows from H")
    stops: str = knob(PUNCTUATION, choices=(PUNCTUATION, LINES), label="A trial ends at", help="the end is part of it")
    longest: int = knob(48, 1, 48, unit="tokens", label="Longest trial", help="cut off behind")

    def steps(self, session, rng):
        if self.lowest >= self.highest:
            raise KnobError(f"H min is {self.lowest:g} and H max is {self.highest:g}: choose an H min below H max.")
        while True:
            law = session.law(session.logits)  # [V]
            spread = entropy(law).item()
            notes = {"entropy": spread, "count": (count := self.trials(spread))}
            if count == 1:
                rows, tokens = session.logits[None], [draw(law, rng)]
                session.push(*tokens)
            else:
                tries, logits = self.run(session, count, rng)
                scores = [perplexity(way) for way in tries]
                kept = scores.index(min(scores))
                rows, tokens = torch.stack(logits[kept]), tries[kept].tokens
                commit(session, tries[kept], len(tokens))
                shown = [{"tokens": way.tokens, "perplexity": score} for way, score in zip(tries, scores)]
                notes |= {"trials": shown, "kept": kept, "tokens": [way.tokens for way in tries]}
            yield session.step(rows, list(tokens), sources=["target"] * len(tokens), notes=notes)

    def trials(self, spread: float) -> int:
        """N at an entropy of `spread` nats; never fewer where H is higher, but for "reversed"."""
        x = min(1.0, max(0.0, (spread - self.lowest) / (self.highest - self.lowest)))
        if self.mapping == PAPER:
            return max(1, int(self.most * x))
        if self.mapping == CONSTANT:
            return self.most
        return int(1 + (self.most - 1) * (x if self.mapping == CODE else 1 - x))

    def run(self, session: Session, count: int, rng: torch.Generator) -> tuple[list[Branch], list[list[Tensor]]]:
        """`count` trials behind the context, and the logits [V] that each of their tokens was drawn from."""
        tries, seen, tree = [Branch([], []) for _ in range(count)], [[] for _ in range(count)], Tree([], [])
        going, logits = list(range(count)), session.logits.expand(count, -1)  # [len(going), V]
        for written in range(min(self.longest, room(session) + 1)):
            if written:
                logits = feed(session, tree, [tries[number] for number in going])
            law = session.law(logits)
            tokens = draws(law, list(range(len(going))), rng)
            logs = law[range(len(going)), tokens].log().tolist()
            for row, number in enumerate(going):
                tries[number].add(tokens[row], logs[row])
                seen[number].append(logits[row])
            going = [number for number in going if not self.over(session, tries[number].tokens[-1])]
            if not going:
                break
        return tries, seen

    def over(self, session: Session, last: int) -> bool:
        """Does a trial end with the token `last`: punctuation, or an end of text?"""
        return last in session.ends or session.vocabulary.piece(last).rstrip(" ")[-1:] in STOPS[self.stops]


def perplexity(way: Branch) -> float:
    """exp of the mean of -ln p over a trial's tokens, after temperature and cuts."""
    return exp(-sum(way.logprobs) / len(way.logprobs))
