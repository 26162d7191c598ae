"""Bubbles in a pipeline of devices: stages that wait because one micro-batch is longer than the next (P170)."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from typing import Any, Callable, Iterator, NamedTuple

from labkit.attention.sarathi import POLICIES, Scheduler, Turn, asked, priced
from labkit.attention.serving import CLOCKS, TABLE, clock_of, measuring
from labkit.attention.serving_table import PRESETS
from labkit.knobs import knob
from labkit.methods import Study
from labkit.trace import Step

WAVES = 4  # requests for every place in the pipeline: enough that places are filled again and again
SHOWN = 16  # micro-batches on show, besides those that only fill the lanes at either end


class Micro(NamedTuple):
    """A micro-batch: rows of prompts and of decodes, when it enters each stage, seconds in each; did requests wait then?"""

    reads: int
    decodes: int
    enters: list[float]
    seconds: float
    queued: bool


def pipeline(groups: list[Scheduler], spend: Callable[[Turn], float], stages: int) -> Iterator[Micro]:
    """Micro-batches in the order in which they enter a pipeline whose stages hold equal shares of the layers.

    Each of `groups`, one a stage, schedules requests of its own from a queue that all share. Its next micro-batch is made up when
    the last one has left the pipeline (inferred), since its tokens are known only then; whoever is ready first enters first.
    """
    free = [0.0] * stages
    ready = [(0.0, place) for place in range(len(groups))]
    while ready:
        at, place = heapq.heappop(ready)
        group, begin = groups[place], max(at, free[0])
        turn = group.turn(begin)
        if turn is None:
            if group.waiting:
                heapq.heappush(ready, (group.waiting[0].arrival, place))
            continue
        seconds, enters = spend(turn) / stages, []
        for stage in range(stages):
            begin = max(begin, free[stage])
            enters.append(begin)
            begin = free[stage] = begin + seconds
        yield Micro(sum(rows for _, rows in turn.reads), len(turn.writers), enters, seconds, bool(group.waiting))
        group.done(turn)
        heapq.heappush(ready, (begin, place))


def bubbles(run: list[Micro]) -> float:
    """The share of the stages' time in which they wait, while requests queue: how a run fades out is not counted."""
    steady = [micro for micro in run if micro.queued] or run
    spans = [last + steady[-1].seconds - first for first, last in zip(steady[0].enters, steady[-1].enters)]
    return 1 - len(spans) * sum(micro.seconds for micro in steady) / sum(spans)


@dataclass
class Stages(Study):
    """How long do the devices of a pipeline wait for each other, and does it help to make all batches alike? (P170)

    The layers are spread over 1, 2, ... devices; as many micro-batches are under way at once. A long one makes the others wait:
    a whole prompt before a few decodes, or a batch of long texts before one of short. SARATHI's chunks make them nearly equal.
    A simulation by a clock, exact for it; sending states from stage to stage takes no time.
    """

    name, title, paper = "sarathi-stages", "Bubbles in a pipeline", "P170"
    charts = ("pipeline_lanes", "pipeline_bubbles")
    clock: str = knob(CLOCKS[0], choices=(*PRESETS, TABLE), label="Time by", help="on paper, or measured")
    stages: int = knob(4, 1, 8, label="Stages", help="devices that share the layers", live=True)
    chunk: int = knob(256, 16, 1024, unit="rows", label="Chunk (C)", help="of a prompt, at most", step=16, live=True)
    size: int = knob(8, 1, 32, unit="requests", label="Batch (B)", help="in each micro-batch", live=True)
    ratio: int = knob(16, 4, 64, label="P : D", help="tokens read : written", live=True)
    spread: float = knob(0.5, 0.0, 0.9, step=0.1, label="Spread", help="of the lengths, a share", live=True)
    prompt: int = knob(1024, 32, 1024, unit="tokens", label="Prompt (P)", help="on average", step=32, live=True)
    tile: str = knob("128", choices=("1", "64", "128"), label="Tile", help="batches fill whole ones")

    def steps(self, session, rng):
        for notes in measuring(session, self.clock):
            yield Step(emitted=[], notes=notes)
        clock = clock_of(session, self.clock)
        told: dict[str, Any] = {"clock": self.clock, "chunk": self.chunk, "size": self.size}
        shares: dict[str, list[float]] = {policy: [] for policy in POLICIES}
        for stages in range(1, self.stages + 1):
            runs = {policy: list(pipeline(self.groups(policy, stages), priced(clock), stages)) for policy in POLICIES}
            for policy, run in runs.items():
                shares[policy].append(bubbles(run))
            known = {"bubbles": {policy: list(found) for policy, found in shares.items()}, "runs": window(runs)}
            yield Step(emitted=[], notes={**told, **known, "stages": stages, "done": stages, "of": self.stages})

    def groups(self, policy: str, stages: int) -> list[Scheduler]:
        """One scheduler a stage, behind one queue."""
        count = WAVES * stages * self.size
        queue = deque(asked(count, self.prompt, max(2, round(self.prompt / self.ratio)), spread=self.spread))
        return [Scheduler(policy, self.size, self.chunk, int(self.tile), queue) for _ in range(stages)]


def window(runs: dict[str, list[Micro]]) -> dict[str, list[tuple]]:
    """A few micro-batches of each run, from halfway through its queue on: rows read, decodes, entry into each stage, seconds."""
    shown = {}
    for policy, run in runs.items():
        middle, count = sum(micro.queued for micro in run) // 2, SHOWN + 2 * len(run[0].enters)
        shown[policy] = [tuple(micro[:4]) for micro in run[middle : middle + count]]
    return shown
