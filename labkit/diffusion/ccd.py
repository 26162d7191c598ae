"""P146 CCD, coherent contextual decoding: trust a place that is sure in all contexts of the last rounds, not in one alone."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.diffusion.ground import SHOWN, State, Unmask, guesses, ranked, surest
from labkit.knobs import knob
from labkit.law import Law, entropy
from labkit.lm import Session

FEW = 0.1  # share of the masks at which the released code's buffer falls back to one place


@dataclass
class Ccd(Unmask):
    """The mean of a place's last laws is peaked only if they agree: H(mean) = mean H + JSD, doubt plus unrest.

    Source: P146. "exact": the full mean over the last `rounds` laws; "fixed" makes the `budget` lowest entropies final,
    "adaptive" every one below `doubt` (the paper sets that bound by a heuristic of stability; a plain bound here, inferred).
    "code": the released rule: after `warmup` rounds of the single best place, a place may join it only if it was in the buffer of
    the round before and its token is still the same. `pool` bounds that buffer.
    """

    name = "ccd"
    title = "CCD"
    paper = "P146"
    charts = (*Unmask.charts, "ccd_bars")
    form: str = knob("exact", choices=("exact", "code"), help="the theory, or the released rule")
    mode: str = knob("adaptive", choices=("fixed", "adaptive"), help="a budget, or all that are coherent")
    rounds: int = knob(3, 1, 6, help="laws that are averaged")
    doubt: float = knob(0.3, 0.01, 2.0, unit="nats", help="exact, adaptive: the highest entropy", step=0.01)
    budget: int = knob(1, 1, 8, unit="places", help="fixed: places a round")
    pool: int = knob(4, 1, 16, unit="places", help="code: the buffer's size")
    warmup: int = knob(5, 0, 10, unit="rounds", help="code: rounds before the rule begins")

    def begin(self, state: State, session: Session) -> None:
        self.laws: deque[Tensor] = deque(maxlen=self.rounds)
        self.buffer: dict[int, int] = {}  # place: its token one round ago
        self.parts: dict[str, list] = {}

    def score(self, state: State, logits: Tensor, law: Law, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        laws = logits.softmax(-1)
        tokens = guesses(state, logits, law, rng)
        if self.form == "code":
            return tokens, -entropy(laws)
        self.laws.append(laws)
        mean = sum(self.laws) / len(self.laws)
        doubt, own = entropy(mean), sum(entropy(each) for each in self.laws) / len(self.laws)
        shown = [[round(value, SHOWN) for value in row[state.masked].tolist()] for row in (own, doubt - own)]
        self.parts = {"doubts": shown[0], "unrest": shown[1]}
        return tokens, -doubt

    def select(self, state: State, tokens: Tensor, confidence: Tensor) -> Tensor:
        if self.form == "code":
            return self._released(state, tokens, confidence)
        if self.mode == "fixed":
            return surest(state, confidence, self.budget).long()
        why = (state.active & (-confidence < self.doubt)).long()
        if not why.any():
            why[surest(state, confidence, 1)] = 2
        return why

    def _released(self, state: State, tokens: Tensor, confidence: Tensor) -> Tensor:
        order = ranked(confidence, state.active)
        why = torch.zeros_like(state.ids)
        agree = [place for place in order[: self.pool] if self.buffer.get(place) == int(tokens[place])]
        if state.round < self.warmup or order[0] not in self.buffer or not agree:
            why[order[0]] = 2
        else:
            why[agree if self.mode == "adaptive" else agree[: self.budget]] = 1
        left = [place for place in order if not why[place]]
        room = state.last - state.first
        few = len(left) <= FEW * room
        size = 1 if few else min(self.pool, len(self.buffer) + 1)
        self.buffer = {place: int(tokens[place]) for place in left[:size]}
        return why

    def noted(self, state: State) -> dict:
        if self.form == "code":
            return {"buffer": [place - state.first for place in self.buffer]}
        return {**self.parts, "bound": self.doubt} if self.mode == "adaptive" else self.parts
