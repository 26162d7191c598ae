"""What views read out of a trace: tokens with their beliefs, laws under temperature and cuts, the cost so far."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from labkit.errors import TraceError
from labkit.trace import Belief, Cost, Setting, Step, Trace
from labkit.views.cuts import CUTS


class Token(NamedTuple):
    """One token of the text: `step` is -1 for the prompt."""

    id: int
    text: str
    step: int
    source: str
    belief: Belief | None


def steps(trace: Trace, upto: int | None = None) -> list[Step]:
    """The first `upto` steps; None = all."""
    return trace.steps if upto is None else trace.steps[: max(0, upto)]


def tokens(trace: Trace, upto: int | None = None) -> list[Token]:
    """Prompt and new tokens, in order."""
    pieces = trace.pieces
    prompt = trace.opening.prompt_ids
    beliefs = [None, *trace.opening.prompt_beliefs][: len(prompt)]
    beliefs += [None] * (len(prompt) - len(beliefs))
    found = [Token(id, pieces.get(id, f"#{id}"), -1, "prompt", belief) for id, belief in zip(prompt, beliefs)]
    for number, step in enumerate(steps(trace, upto)):
        for slot, id in enumerate(step.emitted):
            source = step.sources[slot] if slot < len(step.sources) else "target"
            belief = step.beliefs[slot] if slot < len(step.beliefs) else None
            found.append(Token(id, pieces.get(id, f"#{id}"), number, source, belief))
    return found


def believed(tokens: list[Token], index: int | None) -> tuple[int, Belief]:
    """Place `index` of the text (from 0, prompt included; None = the last) and the belief there.

    Raises `TraceError` when there is no such place or no belief for it.
    """
    place = len(tokens) - 1 if index is None else index
    if not 0 <= place < len(tokens):
        raise TraceError(f"Token {place} is not in this trace: choose one from 0 to {len(tokens) - 1}.")
    belief = tokens[place].belief
    if belief is None:
        raise TraceError(f"The trace keeps no belief for token {place}: choose a token that was generated.")
    return place, belief


def step_at(trace: Trace, step: int | None) -> Step:
    """Step number `step`, counted from 1; None = the last. Raises `TraceError` when the trace has no such step."""
    size = len(trace.steps)
    if not size:
        raise TraceError("The trace has no step yet: run at least one.")
    if step is not None and not 1 <= step <= size:
        raise TraceError(f"Step {step} is not in this trace: choose one from 1 to {size}.")
    return trace.steps[-1 if step is None else step - 1]


def cost(trace: Trace, upto: int | None = None) -> Cost:
    """The sum of the costs of the first `upto` steps."""
    return sum((step.cost for step in steps(trace, upto)), Cost())


def law(belief: Belief) -> list[float] | None:
    """ln p of the whole vocabulary, [V], or None when the trace keeps no laws."""
    if belief.law is None:
        return None
    return list(struct.unpack(f"<{len(belief.law) // 2}e", belief.law))


def probability(logprob: float | None) -> float:
    """e to the power of `logprob`; None (an impossible token, since JSON has no infinity) is 0."""
    return 0.0 if logprob is None else math.exp(logprob)


class Cut(NamedTuple):
    """A law after temperature and cuts: all tokens best first, what is left of each (0 = cut) up to the last that stays.

    `cuts`: of each cut that took something away its name, the value of its first knob, and the rank behind the last that stays.
    """

    order: list[int]
    after: list[float]
    cuts: list[tuple[str, float, int]]

    @property
    def entropy(self) -> float:
        """Nats."""
        return -sum(p * math.log(p) for p in self.after if p > 0)

    @property
    def kept(self) -> int:
        """How many tokens stay."""
        return sum(p > 0 for p in self.after)


def apply(logprobs: list[float], temperature: float, transforms: list[Setting]) -> Cut:
    """Temperature, then the cuts in the order given, each on the renormalised law the one before left.

    `logprobs` is ln p, [V]. Transforms that are no cuts are passed over: their law is not in the trace.
    """
    order = sorted(range(len(logprobs)), key=lambda token: (-logprobs[token], token))
    if temperature <= 0:
        return Cut(order, [1.0], [("temperature", 0, 1)])
    best = logprobs[order[0]]
    weights = [math.exp((logprobs[token] - best) / temperature) for token in order]
    cuts: list[tuple[str, float, int]] = []
    start = 0  # the best rank that stays
    for setting in transforms:
        if setting.name not in CUTS or not setting.knobs:
            continue
        first, last = CUTS[setting.name](weights, **setting.knobs)
        if last - first < len(weights):
            cuts.append((setting.name, next(iter(setting.knobs.values())), start + last))
            weights, start = weights[first:last], start + first
    total = sum(weights)
    return Cut(order, [0.0] * start + [weight / total for weight in weights], cuts)
