"""A virtual clock: what target and draft calls would take if each model had a machine of its own. Unit: one target call.

A call of the target over one token takes 1, whatever the seconds; the rest is typed in (a draft call is 1/c) or measured here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable

from labkit.lm import Session
from labkit.trace import Tree

SIZES = (1, 2, 4, 8, 17)  # tokens of a target call that are measured; between them a straight line
TRIES = 6  # the quickest counts: whatever else the machine does can only slow a call down
CONTEXT = 32  # tokens before them; longer contexts cost more than is measured here


@dataclass(frozen=True)
class Clock:
    """`draft` = one draft call in target calls; `seconds` = one target call over each of `SIZES` tokens, () = all take 1."""

    draft: float
    seconds: tuple[float, ...] = ()

    def target(self, tokens: int) -> float:
        """A target call over `tokens` tokens, in calls over one token."""
        if not self.seconds or tokens <= 1:
            return 1.0
        over = next((place for place, size in enumerate(SIZES) if size >= tokens), len(SIZES) - 1)
        low, high = SIZES[over - 1], SIZES[over]
        share = (tokens - low) / (high - low)
        return (self.seconds[over - 1] * (1 - share) + self.seconds[over] * share) / self.seconds[0]


def measured(session: Session) -> Clock:
    """The clock of this machine, from the quickest of a few calls of each size; kept in the session's memory.

    These calls are not the method's, so they are not counted; their seconds are in the first step's.
    """
    key = "clock", getattr(session.draft.runner, "name", "")
    if key not in session.memory:
        ids = session.ids[: max(1, min(CONTEXT, session.runner.context - SIZES[-1], session.draft.runner.context - 2))]
        target, draft = Session(session.runner, ids), Session(session.draft.runner, ids)
        seconds = []
        for size in SIZES:
            tree = Tree([ids[-1]] * (size - 1), list(range(-1, size - 2)))
            seconds.append(_quickest(lambda tree=tree: target.score(tree), target))
        step = _quickest(lambda: draft.push(ids[-1]) or draft.logits, draft)
        session.memory[key] = Clock(step / seconds[0], tuple(seconds))
    return session.memory[key]


def _quickest(call: Callable[[], object], session: Session) -> float:
    """Seconds of the quickest of a few calls; the session goes back to where it stood."""
    length, best = len(session.ids), float("inf")
    for _ in range(1 + TRIES):  # the first one also reads the context
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
        session.rewind(length)
        session.push()  # forgets the last row, so that the next call computes it again
    return best
