"""Locally constrained decoding: every token of the vocabulary is asked for at every step, and the law is cut to the allowed."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Iterator

import torch

from labkit.errors import LabError
from labkit.knobs import knob
from labkit.law import draw
from labkit.lm import Session
from labkit.methods import Method
from labkit.sampling.constraints import Judge
from labkit.sampling.ground import CONSTRAINTS, NOTED, curve_of, judge_of, law_of, tests_of
from labkit.trace import Step

EVERY, SHARED = "every token", "shared beginnings"


@dataclass
class LCD(Method):
    """Mask every token that the constraint forbids, then draw: as many questions a step as there are tokens.

    What grammar-constrained decoding does. No text that obeys is lost and none that disobeys is written, but the texts do not
    have the model's law among those that obey: a step never knows how little the model has left to say behind it. The
    baseline of P048. Asking once for tokens that begin alike gives the same mask from fewer questions. Raises `LabError` when
    no token is allowed.
    """

    name, title, lossless = "lcd", "Masking (LCD)", False
    charts = ("walk",)
    constraint: str = knob("JSON", choices=CONSTRAINTS, help="what the new text must be")
    ask: str = knob(EVERY, choices=(EVERY, SHARED), label="Ask for", help="shared: as with a trie")

    def steps(self, session, rng) -> Iterator[Step]:
        yield from self.under(judge_of(self.constraint, session), session, rng)

    def under(self, judge: Judge | None, session: Session, rng: torch.Generator) -> Iterator[Step]:
        """The same under any judge; None allows everything."""
        text, ends = (judge.start, judge.ends) if judge else (b"", session.ends)
        logw, moves, size, before = 0.0, 0, session.runner.vocabulary, judge.evaluations if judge else 0
        token = None
        while token not in ends:
            p, allowed = law_of(session), self.allowed(judge, text, size)
            left = torch.zeros_like(p).index_copy_(0, allowed, p[allowed])
            mass = left.sum().item()
            if mass <= 0:
                tail = text.decode(errors="replace")[-24:]
                words = f"Nothing that may be drawn behind {tail!r} is allowed ({self.constraint})"
                raise LabError(f"{words}: take off cuts of the law, or choose another seed.")
            token = int(left.argmax()) if session.law.greedy else draw(left, rng)
            logw, moves = logw + log(mass), moves + 1
            likeliest = p.topk(min(NOTED, size)).indices
            tests = tests_of(p, list(zip(likeliest.tolist(), (left[likeliest] > 0).tolist())))
            notes = {"constraint": self.constraint, "tokens": [likeliest.tolist()], "chosen": [token], "walks": [tests]}
            notes |= {"tested": [size], "z": [mass], "logw": [logw], "shown": 0, "curve": curve_of(p)}
            notes |= {"asked": judge.evaluations - before if judge else 0, "moves": moves, "size": size}
            text += judge.spellings[token] if judge else b""
            logits = session.logits
            session.push(token)
            yield session.step(logits[None], [token], sources=["target"], notes=notes)

    def allowed(self, judge: Judge | None, text: bytes, size: int) -> torch.Tensor:
        """The tokens that may follow `text`, in order."""
        if judge is None:
            return torch.arange(size)
        return torch.tensor(judge.allowed(text) if self.ask == EVERY else judge.allowed_shared(text), dtype=torch.long)
