"""P119 LocalLeap: a confident place vouches for its neighbours, which then need less confidence of their own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.diffusion.ground import State, Unmask, above
from labkit.knobs import knob


def near(anchors: Tensor, width: int) -> Tensor:
    """Places [L] at most `width` away from one of the anchors [L]."""
    wide = F.max_pool1d(anchors[None].float(), 2 * width + 1, 1, width)
    return wide[0].bool()


@dataclass
class LocalLeap(Unmask):
    """Near a sure place a lower threshold is enough: predictions there are mostly final already.

    Source: P119. Anchors are the masked places at `tau` or above; within `width` of one a place becomes final from `relaxed` on.
    With no anchor the single best place does. One round a step: what an anchor brought in is no anchor itself. Checked against a
    third party's copy of the released sampler, since the authors' own was not to be had.
    """

    name = "local-leap"
    title = "LocalLeap"
    paper = "P119"
    charts = (*Unmask.charts, "leap_halos")
    reasons = ("", "sure", "best", "near an anchor", "settled")
    tau: float = knob(0.9, 0.5, 0.99, help="an anchor's least confidence", step=0.01)
    relaxed: float = knob(0.75, 0.1, 0.99, help="the least confidence near an anchor", step=0.01)
    width: int = knob(4, 0, 16, unit="places", help="how far an anchor reaches")
    scale: str = knob("value", choices=("value", "quantile"), help="are they confidences or ranks?")

    def select(self, state: State, tokens: Tensor, confidence: Tensor) -> Tensor:
        tau, relaxed = self.threshold(self.tau, self.scale), self.threshold(self.relaxed, self.scale)
        why = above(state, confidence, tau)
        anchors = why == 1
        self.bounds = {"tau": tau, "relaxed": min(relaxed, tau)}
        self.anchors = (anchors.nonzero()[:, 0] - state.first).tolist()
        halo = near(anchors, self.width) & state.active & ~anchors & (confidence >= min(relaxed, tau))
        return torch.where(halo, 3, why)

    def noted(self, state: State) -> dict:
        return {"anchors": self.anchors, "width": self.width, **self.bounds}
