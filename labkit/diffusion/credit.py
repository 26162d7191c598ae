"""P125 CreditDecoding: a token that stays the favourite round after round earns credit, which is added to its logit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.diffusion.ground import SHOWN, State, Unmask, above, ranked
from labkit.knobs import knob
from labkit.lm import Session

FOLLOWED = 6  # places whose credit the notes tell


@dataclass
class Credit(Unmask):
    """Right tokens are the favourites rounds before they are sure: stability over time counts as evidence.

    Source: P125. In every round of a block all credit shrinks by `beta`, each masked place's favourite earns its probability to
    the power `gamma`, and logits grow by alpha ln(1 + credit). The threshold rule then reads the fused law. A new block begins
    without credit. Here the credit is whole, [L, V]; the released code keeps the same numbers.
    """

    name = "credit"
    title = "CreditDecoding"
    paper = "P125"
    charts = (*Unmask.charts, "credit_lines")
    alpha: float = knob(0.7, 0.0, 2.0, help="how much credit counts", step=0.05)
    beta: float = knob(0.8, 0.0, 0.99, help="what a round leaves of it", step=0.01)
    gamma: float = knob(0.2, 0.0, 1.0, help="how flat earnings are", step=0.05)
    tau: float = knob(0.9, 0.3, 1.0, help="the least confidence", step=0.01)
    scale: str = knob("value", choices=("value", "quantile"), help="a confidence, or its rank")

    def begin(self, state: State, session: Session) -> None:
        self.credit = torch.zeros(0)
        self.followed: list[int] = []

    def fuse(self, state: State, logits: Tensor) -> Tensor:
        if state.rounds == 0:
            self.credit = torch.zeros_like(logits)
        self.raw = logits.softmax(-1)
        chance, favourite = self.raw.max(-1)
        self.credit *= self.beta
        self.credit[state.active] += torch.zeros_like(logits).scatter_(
            -1, favourite[:, None], chance[:, None] ** self.gamma
        )[state.active]
        return logits + self.alpha * self.credit.log1p()

    def select(self, state: State, tokens: Tensor, confidence: Tensor) -> Tensor:
        self.bar = self.threshold(self.tau, self.scale)
        why = above(state, confidence, self.bar)
        raw = self.raw.gather(-1, tokens[:, None])[:, 0]
        self.early = int(((why == 1) & (raw < self.bar)).sum())  # became final by their credit alone
        self.earned = self._shown(state, tokens, raw, confidence)
        return why

    def _shown(self, state: State, tokens: Tensor, raw: Tensor, fused: Tensor) -> list[dict]:
        """Of a few active places, each followed until it is final: its token's confidence, raw and fused, and its credit.

        A place that becomes free goes to the one where credit now counts most.
        """
        self.followed = [place for place in self.followed if state.active[place]]
        fresh = [place for place in ranked(fused - raw, state.active) if place not in self.followed]
        self.followed += fresh[: FOLLOWED - len(self.followed)]
        found = []
        for place in sorted(self.followed):
            credit, ids = self.credit[place].topk(2)
            found.append({
                "place": place - state.first, "token": int(tokens[place]),
                "raw": round(float(raw[place]), SHOWN), "fused": round(float(fused[place]), SHOWN),
                "credit": [[token, round(value, SHOWN)] for token, value in zip(ids.tolist(), credit.tolist()) if value > 0],
            })  # fmt: skip
        return found

    def noted(self, state: State) -> dict:
        named = [token for place in self.earned for token, _ in place["credit"]]
        return {"earned": self.earned, "tau": self.bar, "early": self.early, "tokens": [named]}
