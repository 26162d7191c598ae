"""USCD (P001): where the model is unsure, subtract what it would have written without the examples in the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Iterator

from torch import Tensor

from labkit.errors import PromptError
from labkit.knobs import knob
from labkit.law import draw
from labkit.lm import Session
from labkit.methods import Method
from labkit.tasks import without_examples
from labkit.trace import Step

SHOWN = 5  # tokens of each law that a step names


def peakedness(p: Tensor) -> float:
    """r = sd(p) sqrt(V) of `p` [V]: about sqrt(sum p^2), 1 where one token has all, 0 where all have the same."""
    return p.std().item() * sqrt(p.shape[-1])


def contrast(p: Tensor, lame: Tensor, weight: float, floor: float) -> Tensor:
    """Scores [V]: ln(p + weight lame), -inf where that is not positive and where p is below floor / V.

    Where nothing is left, ln p. `weight` is at most 0.
    """
    kept = p >= floor / p.shape[-1]
    mixed = (p + weight * lame).where(kept, 0.0).clamp(min=0)
    return (mixed if mixed.any() else p).log()


@dataclass
class USCD(Method):
    """Where the model is unsure, subtract what it would write without the prompt's examples (P001).

    The lame prompt is the prompt with its `>>>` examples cut. Where r = sd(P) sqrt(V) is below the gate, the score of a token is
    ln(P + w1 P'), P' the law behind the lame prompt; elsewhere it is ln P. Temperature and transforms act on the score. r is
    the paper's threshold freed of the vocabulary: 0.005 at 32,000 tokens is 0.895. The paper runs both prompts in one batch;
    here the lame one is only asked where the gate opens, and catches up in one forward. Inferred: where the filter leaves no
    token, ln P stands. The shipped target hardly uses examples: on the kit's 51 one-line tasks 23 % of the tests pass in
    place of 22 %, and 7 tasks are solved either way; of the 62 whole functions none.
    """

    name, title, paper, lossless = "uscd", "USCD contrast", "P001", False
    charts = ("contrast",)
    r: float = knob(0.9, 0.0, 1.0, step=0.01, label="Gate r", help="contrast where P is less peaked; 0: off")
    w1: float = knob(-0.7, -1.0, 0.0, step=0.05, label="Weight w1", help="of the lame prompt's law")
    keep: int = knob(0, 0, 2, label="Examples kept", help="in the lame prompt")
    f: float = knob(0.67, 0.0, 1.0, step=0.01, label="Filter f", help="cut tokens below f / V; nearly inert")

    def lame(self, session: Session) -> Session:
        """A session behind the same prompt without its examples. Raises `PromptError` when nothing else stands there."""
        text = session.vocabulary.decode(session.ids)
        poorer = without_examples(text, self.keep)
        if not poorer:
            raise PromptError("The prompt is nothing but examples: write what they are examples of.")
        return session.open(session.ids if poorer == text else session.vocabulary.encode(poorer))

    def steps(self, session, rng) -> Iterator[Step]:
        lame = self.lame(session)
        while True:
            logits = session.logits  # [V]
            p = logits.double().softmax(-1)
            peaked = peakedness(p)
            other = lame.logits.double().softmax(-1) if peaked < self.r else None
            score = logits if other is None else contrast(p, other, self.w1, self.f).to(logits.dtype)
            token = int(score.argmax()) if session.law.greedy else draw(session.law(score), rng)
            notes = {"peaked": peaked, "gate": self.r, "open": other is not None, "favourite": int(p.argmax())}
            session.push(token)
            lame.push(token)
            yield session.step(logits[None], [token], sources=["target"], notes=notes | shown(token, p, other, score))


def shown(token: int, p: Tensor, other: Tensor | None, score: Tensor) -> dict:
    """The tokens worth drawing, best result first, with P, P' (where it was asked) and the result, which sums to 1."""
    result = score.double().softmax(-1)
    laws = {"P": p, "P'": other, "result": result}
    named = {token}
    for law in laws.values():
        named |= set(law.topk(min(SHOWN, law.shape[-1])).indices.tolist()) if law is not None else set()
    order = sorted(named, key=lambda one: -result[one].item())
    return {"tokens": [order]} | {name: None if law is None else law[order].tolist() for name, law in laws.items()}
