"""P112 AdaBlock-dLLM: a block ends where the text will, at a delimiter that the model already sees coming."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.diffusion.ground import State, Unmask, above
from labkit.knobs import knob
from labkit.lm import Session

DELIMITERS = {"newline": "\n", "newline or colon": "\n:", "newline, colon or comma": "\n:,"}
NEVER = 1.01  # no probability reaches it


def holding(session: Session, letters: str, size: int) -> Tensor:
    """Which of the `size` tokens have one of `letters` in their text: bool [V]; worked out once a vocabulary."""
    known = session.memory.setdefault("delimiters", {})
    if letters not in known:
        pieces = (session.vocabulary.piece(token) for token in range(size))
        known[letters] = torch.tensor([any(letter in piece for letter in letters) for piece in pieces])
    return known[letters]


@dataclass
class AdaBlock(Unmask):
    """Blocks that follow the statements: nothing sure has to wait outside, nothing unsure is forced inside.

    Source: P112. When a block begins, the most confident delimiter predicted within the window (`window` of the whole length)
    ends it, if its confidence reaches `sure_end`; else it has `block` places. That forward is the block's first round. Inside,
    the threshold rule. A token is a delimiter when its text holds one: line breaks bring their indentation in this vocabulary.
    """

    name = "adablock"
    title = "AdaBlock"
    paper = "P112"
    charts = (*Unmask.charts, "block_borders")
    block: int = knob(16, 4, 64, unit="places", help="a block where no delimiter is sure")
    sure_end: float = knob(0.3, 0.0, NEVER, help="a delimiter's least confidence; above 1 = never", step=0.01)
    window: float = knob(0.25, 0.05, 1.0, unit="of the text", help="how far to look for one", step=0.05)
    delimiter: str = knob("newline", choices=tuple(DELIMITERS), help="what ends a block")
    tau: float = knob(0.9, 0.3, 1.0, help="the least confidence inside", step=0.01)
    scale: str = knob("value", choices=("value", "quantile"), help="a confidence, or its rank")

    def begin(self, state: State, session: Session) -> None:
        self.session = session
        self.ended = ""

    def size(self, state: State, logits: Tensor) -> int:
        start, room = state.block[0], state.last - state.first
        reach = min(max(1, int(self.window * room)), state.last - start)
        confidence, tokens = logits[start : start + reach].softmax(-1).max(-1)
        ends = holding(self.session, DELIMITERS[self.delimiter], logits.shape[-1]).to(tokens.device)[tokens]
        best = int(torch.where(ends, confidence, -1.0).argmax())
        sure = bool(ends[best]) and float(confidence[best]) >= self.sure_end
        self.ended = "delimiter" if sure else "default"
        return best + 1 if sure else self.block

    def select(self, state: State, tokens: Tensor, confidence: Tensor) -> Tensor:
        self.bar = self.threshold(self.tau, self.scale)
        return above(state, confidence, self.bar)

    def noted(self, state: State) -> dict:
        return {"ended": self.ended, "opened": state.rounds == 0, "tau": self.bar}
