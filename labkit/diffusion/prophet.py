"""P185 Prophet: stop refining when the answer is settled, and take every place that is left at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from labkit.diffusion.ground import SHOWN, State, Unmask, surest
from labkit.diffusion.masked import static
from labkit.knobs import knob
from labkit.lm import Session


@dataclass
class Prophet(Unmask):
    """Decoding as optimal stopping: how far is the favourite ahead of the second, and how late is it?

    Source: P185. `lead`: the mean gap of the two best logits over the region; all that is masked becomes final at once when it
    reaches `early`, `middle` or `late`, in the three phases of the static schedule's rounds (0.33 and 0.67). Otherwise one
    static round. The region is the first `region` masked places (0: the whole block; inferred, the released code reads five
    places behind a forced phrase, which a model of code does not have). The bounds are the paper's, for
    the logits of 8B models; `lead` is drawn beside them, so that others can be chosen.
    """

    name = "prophet"
    title = "Prophet"
    paper = "P185"
    charts = (*Unmask.charts, "prophet_exit")
    tokens: int = knob(1, 1, 16, unit="a round", help="places that become final in a static round")
    early: float = knob(7.5, 0.0, 20.0, help="lead to stop in the first third", step=0.1)
    middle: float = knob(5.0, 0.0, 20.0, help="lead to stop in the second third", step=0.1)
    late: float = knob(2.5, 0.0, 20.0, help="lead to stop in the last third", step=0.1)
    region: int = knob(5, 0, 64, unit="places", help="masked places that must be ahead; 0 = the block")
    border: float = knob(0.33, 0.0, 1.0, unit="of the rounds", help="where the second phase begins", step=0.01)
    last: float = knob(0.67, 0.0, 1.0, unit="of the rounds", help="where the last phase begins", step=0.01)

    def begin(self, state: State, session: Session) -> None:
        room = state.last - state.first
        self.schedule = -(-room // self.tokens)

    def stop(self, state: State, logits: Tensor) -> bool:
        places = (state.active if self.region == 0 else state.masked).nonzero()[:, 0]
        best = logits[places[: self.region or None]].topk(2, -1).values
        self.lead = float((best[:, 0] - best[:, 1]).mean())
        progress = state.round / self.schedule
        phase = sum(progress >= border for border in (self.border, self.last))
        self.bound = (self.early, self.middle, self.late)[phase]
        return self.lead >= self.bound

    def select(self, state: State, tokens: Tensor, confidence: Tensor) -> Tensor:
        return surest(state, confidence, static(state, self.tokens)).long()

    def noted(self, state: State) -> dict:
        starts = [0, *(math.ceil(border * self.schedule) for border in (self.border, self.last))]
        stairs = [list(stair) for stair in zip(starts, (self.early, self.middle, self.late))]
        return {"lead": round(self.lead, SHOWN), "bound": self.bound, "schedule": self.schedule, "stairs": stairs}
