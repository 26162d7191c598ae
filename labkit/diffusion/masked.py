"""Masked diffusion as LLaDA samples it, with Fast-dLLM's two rules for many tokens at once: what every policy is measured by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.diffusion.ground import State, Unmask, above, guesses, ranked, surest
from labkit.knobs import knob
from labkit.law import Law, entropy


def shares(places: int, tokens: int) -> list[int]:
    """How many places each round of a block makes final, `tokens` at most: split evenly, what is over to the earliest."""
    rounds = -(-places // tokens)
    even, over = divmod(places, rounds)
    return [even + (turn < over) for turn in range(rounds)]


def static(state: State, tokens: int) -> int:
    """How many places LLaDA's schedule makes final in this round."""
    return shares(state.block[1] - state.block[0], tokens)[state.rounds]


def by_factor(confidence: Tensor, order: list[int], factor: float) -> int:
    """Fast-dLLM's factor rule: the largest n with (n + 1)(1 - c of the n-th best) below `factor`; at least 1."""
    fitting = [n for n, place in enumerate(order, 1) if (n + 1) * (1 - float(confidence[place])) < factor]
    return max(fitting, default=1)


@dataclass
class MaskedDiffusion(Unmask):
    """Fill a row of masks in any order: each round makes the surest places final.

    Source: LLaDA's sampling (semi-autoregressive blocks, low-confidence remasking: what is not chosen stays masked, and nothing
    final is ever taken back) with the threshold and the factor rule of Fast-dLLM. Its caches are left out: every round is a
    forward over the whole text. At a temperature above 0 tokens are drawn from the law in float64.
    """

    name = "mdm"
    title = "Masked diffusion"
    rule: str = knob("threshold", choices=("static", "threshold", "factor"), help="how many become final")
    tokens: int = knob(1, 1, 16, unit="a round", help="static: places")
    tau: float = knob(0.9, 0.3, 1.0, help="threshold: least confidence", step=0.01)
    scale: str = knob("value", choices=("value", "quantile"), help="a confidence, or its rank")
    factor: float = knob(1.0, 0.05, 4.0, help="factor: (n + 1) × doubt", step=0.05)
    measure: str = knob("probability", choices=("probability", "margin", "entropy", "random"), help="static: what counts as sure")

    def score(self, state: State, logits: Tensor, law: Law, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.measure == "probability" or self.rule != "static":  # the other rules speak of probabilities
            return super().score(state, logits, law, rng)
        tokens, laws = guesses(state, logits, law, rng), logits.softmax(-1)
        if self.measure == "random":
            return tokens, torch.rand(len(tokens), generator=rng, dtype=logits.dtype).to(logits.device)
        if self.measure == "entropy":
            return tokens, -entropy(laws)
        best = laws.topk(2, -1).values
        return tokens, best[:, 0] - best[:, 1]

    def select(self, state: State, tokens: Tensor, confidence: Tensor) -> Tensor:
        if self.rule == "threshold":
            return above(state, confidence, self.threshold(self.tau, self.scale))
        if self.rule == "static":
            return surest(state, confidence, static(state, self.tokens)).long()
        order = ranked(confidence, state.active)
        why = torch.zeros_like(state.ids)
        why[order[: by_factor(confidence, order, self.factor)]] = 1
        return why
