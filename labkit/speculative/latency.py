"""What a forward costs on this machine, by how many tokens it feeds: the clock that decides which method pays."""

from __future__ import annotations

import statistics
import time
from bisect import bisect_left
from dataclasses import dataclass
from itertools import islice
from typing import Iterator

import torch

from labkit.errors import LabError
from labkit.knobs import knob
from labkit.lm import Session
from labkit.methods import Study, all_methods, build_method
from labkit.trace import Step, Tree

MOST, REPEATS = 128, 9  # tokens in one forward, forwards of each size
ROUNDS = 24  # steps of a method, the first thrown away: it reads the prompt


@dataclass(frozen=True)
class Latency:
    """Median seconds of a forward of target and draft that feeds `tokens` tokens; between the measured sizes a straight line."""

    tokens: tuple[int, ...]
    target: tuple[float, ...]
    draft: tuple[float, ...]  # empty without a draft model

    def target_at(self, tokens: float) -> float:
        """Seconds of a target forward that feeds `tokens` tokens: a tree of n nodes and the root before it are n + 1."""
        return self._at(self.target, tokens)

    def draft_at(self, tokens: float) -> float:
        """Seconds of a draft forward that feeds `tokens` tokens; 0 without a draft model."""
        return self._at(self.draft, tokens) if self.draft else 0.0

    def speedup(self, tau: float, tokens: float, drafting: float = 0.0) -> float:
        """Over plain decoding, for steps that bring `tau` tokens, feed `tokens` and take `drafting` seconds to draft.

        tau L(1) / (L(tokens) + drafting): forwards only, what else a step does is left out.
        """
        return tau * self.target_at(1) / (self.target_at(tokens) + drafting)

    def _at(self, seconds: tuple[float, ...], tokens: float) -> float:
        right = min(max(bisect_left(self.tokens, tokens), 1), len(self.tokens) - 1)
        (x, y), (far, high) = ((self.tokens[place], seconds[place]) for place in (right - 1, right))
        return y + (high - y) * (tokens - x) / (far - x)


def sizes(most: int) -> list[int]:
    """1, 2, 4 … and `most`."""
    return [*(2**power for power in range(most.bit_length()) if 2**power < most), most]


def timed(session: Session, tokens: int, repeats: int) -> list[float]:
    """Seconds of `repeats` forwards that feed a binary tree of `tokens` nodes, the root among them, behind the context."""
    length, tree = len(session.ids), Tree(session.ids[-1:] * (tokens - 1), [(node - 1) // 2 for node in range(tokens - 1)])
    found = []
    session.logits  # noqa: B018  # what stands before is fed already
    for _ in range(repeats):
        session.push(session.ids[-1])
        before = session.ledger.seconds
        session.score(tree)
        found.append(session.ledger.seconds - before)
        session.rewind(length)
    return found


def measured(session: Session) -> Latency:
    """The table of this session's models at about this length of context; measured once (a third of a second here), then kept.

    The forwards are no part of the session's own work: its ledger does not count them. A method that steers by the table writes
    traces that depend on the machine and its other load: same prompt, same text (when it is lossless), perhaps other trees.
    """
    key = ("latency", len(session.ids).bit_length())
    if key not in session.memory:
        models = [Session(one.runner, session.ids) for one in (session, session.draft) if one]
        spent = [[statistics.median(timed(model, size, REPEATS)) for size in sizes(MOST)] for model in models]
        session.memory[key] = Latency(tuple(sizes(MOST)), tuple(spent[0]), tuple(spent[1]) if spent[1:] else ())
    return session.memory[key]


@dataclass
class LatencyStudy(Study):
    """Time forwards of target and draft against the tokens they feed; then say which method pays on this machine.

    Nobody's paper: the virtual clock behind the hardware-aware ones. First the table, size by size, behind the prompt given
    (median and quartiles of the repeats). Then each drafting method writes a few steps behind that prompt at its default knobs;
    its tokens per target forward, tokens fed and draft seconds go into tau L(1) / (L(n) + draft time). The speedup by the clock
    stands beside it, over plain decoding a moment before: it holds what the formula leaves out. One prompt and two dozen steps
    say little about a method's acceptance: see `labkit bench speculative` for that.
    """

    name, title, drafts, charts = "latency", "What a forward costs here", "model", ("latency",)
    most: int = knob(MOST, 16, 256, unit="tokens", label="Largest forward", help="fed at once")
    repeats: int = knob(REPEATS, 3, 40, label="Repeats", help="the median counts")
    place: bool = knob(True, label="Place the methods", help="run each for a few steps")

    def steps(self, session: Session, rng: torch.Generator) -> Iterator[Step]:
        ids = list(session.ids)
        names = [name for name, cls in all_methods().items() if cls.drafts] if self.place else []
        forwards, methods, table, of = [], [], [], len(sizes(self.most)) + len(names)

        def frame(done: int) -> Step:
            known = {"forwards": list(forwards), "methods": list(methods), "context": len(ids)}
            return Step(emitted=[], notes={**known, "done": done, "of": of})

        target = session.open(ids)
        for size in sizes(self.most):
            spent = [timed(one, size, self.repeats) for one in (target, target.draft)]
            table.append((size, *map(statistics.median, spent)))
            forwards.append({"tokens": size, "target_ms": spread(spent[0]), "draft_ms": spread(spent[1])})
            yield frame(len(forwards))
        latency = Latency(*zip(*table))
        for done, name in enumerate(names, len(forwards) + 1):
            try:
                plain, spot = (placed(one, session.open(ids), rng.initial_seed(), latency) for one in ("plain", name))
            except LabError:  # a trained part that does not fit these models, a context that is full: it has no place here
                continue
            methods.append({**spot, "measured": plain["ms"] / spot["ms"]})
            yield frame(done)


def spread(seconds: list[float]) -> list[float]:
    """Lower quartile, median, upper quartile in milliseconds."""
    return [1e3 * cut for cut in statistics.quantiles(seconds, n=4, method="inclusive")]


def placed(name: str, session: Session, seed: int, latency: Latency) -> dict:
    """A method's place on the map: tokens it brings and feeds per target forward, ms a token, and its speedup by the table."""
    steps = build_method(name, {}).steps(session, torch.Generator().manual_seed(seed))
    next(steps)
    before, started = session.cost(), time.perf_counter()
    tokens = sum(len(step.emitted) for step in islice(steps, ROUNDS - 1))
    seconds, cost = time.perf_counter() - started, session.cost()
    forwards = cost.target_forwards - before.target_forwards
    fed = (cost.target_tokens - before.target_tokens) / forwards
    drafting = (cost.draft_seconds - before.draft_seconds) / forwards
    return {
        "name": name,
        "tokens": tokens / forwards,
        "fed": fed,
        "draft_ms": 1e3 * drafting,
        "ms": 1e3 * seconds / tokens,
        "predicted": latency.speedup(tokens / forwards, fed, drafting),
    }
