"""What the methods of this theme share: who judges tokens, the law in full precision, and the tests of a step as notes."""

from __future__ import annotations

import torch
from torch import Tensor

from labkit.lm import Session
from labkit.sampling.constraints import Judge
from labkit.sampling.shipped_constraints import SHIPPED

NONE = "none"  # no constraint
CONSTRAINTS = (*SHIPPED, NONE)
NOTED = 64  # tests of one walk that go into the notes, the first of them


def judge_of(constraint: str, session: Session) -> Judge | None:
    """Who judges the tokens behind `session`'s text under the shipped constraint of that name; None for no constraint.

    Raises `PromptError` when the prompt is no beginning of what the constraint wants.
    """
    if constraint == NONE:
        return None
    spellings = session.memory.get("spellings")
    if spellings is None:
        spellings = [session.vocabulary.spelling(token) for token in range(session.runner.vocabulary)]
        session.memory["spellings"] = spellings
    return Judge(SHIPPED[constraint](), spellings, session.ends, b"".join(spellings[token] for token in session.ids))


def law_of(session: Session) -> Tensor:
    """The law of the next token, [V] on the CPU in float64; at temperature 0 the model's own, of which the best is taken."""
    logits = session.logits.double().cpu()
    law = logits.softmax(-1) if session.law.greedy else session.law(logits)
    return law / law.sum()


def tests_of(p: Tensor, tests: list[tuple[int, bool]]) -> list[list]:
    """The first NOTED tests as plain rows: token, p, its rank in `p` [V] (0 = the likeliest), was it allowed?"""
    tests = tests[:NOTED]
    chances = p[[token for token, _ in tests]]
    ranks = [int((p > chance).sum()) for chance in chances]
    return [[token, chance, rank, ok] for (token, ok), chance, rank in zip(tests, chances.tolist(), ranks)]


def curve_of(p: Tensor) -> list[list]:
    """`p` [V] sorted, at ranks 0, 1, 3, 7, ...: enough for a line over a logarithmic axis."""
    best = p.sort(descending=True).values
    ranks = [2**power - 1 for power in range(len(p).bit_length()) if 2**power <= len(p)]
    return [[rank, chance] for rank, chance in zip(ranks, best[torch.tensor(ranks)].tolist()) if chance > 0]
