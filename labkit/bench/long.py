"""Long traces, made by repeating the steps of a short one: as heavy as a long run's, without the hours it would take."""

from __future__ import annotations

import msgspec

from labkit.trace import Request, Trace


def lengthen(short: Trace, tokens: int) -> Trace:
    """A trace of at least `tokens` new tokens; what a step filled in any order moves on by the length of the text.

    Raises `ValueError` when `short` has no new tokens.
    """
    size = len(short.ids)
    if not size:
        raise ValueError("A trace without new tokens cannot be lengthened.")
    rounds = -(-tokens // size)
    steps = list(short.steps)
    for turn in range(1, rounds):
        for step in short.steps:
            at = None if step.at is None else [place + turn * size for place in step.at]
            steps.append(msgspec.structs.replace(step, at=at, pieces={}))
    request: Request = msgspec.structs.replace(short.opening.request, max_new_tokens=rounds * size)
    return Trace(msgspec.structs.replace(short.opening, request=request), steps, short.closing)
