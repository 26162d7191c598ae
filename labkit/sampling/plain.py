"""Plain decoding: one forward a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from labkit.law import draw
from labkit.methods import Method
from labkit.trace import Step


@dataclass
class Plain(Method):
    """One token a forward: the likeliest at temperature 0, else drawn from the law the transforms leave."""

    name, title, charts = "plain", "Plain decoding", ("truncation",)

    def steps(self, session, rng) -> Iterator[Step]:
        while True:
            logits = session.logits  # [V]
            token = int(logits.argmax()) if session.law.greedy else draw(session.law(logits), rng)
            session.push(token)
            yield session.step(logits[None], [token], sources=["target"])
