"""The study of schedulers: the same requests served three ways, by the real model or by a clock alone."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any, Iterator

from labkit.attention.packed import Live
from labkit.attention.sarathi import POLICIES, Asked, Scheduler, aligned, asked, priced, serve
from labkit.attention.serving_table import KEY, PRESETS, measure
from labkit.errors import KnobError
from labkit.knobs import knob
from labkit.lm import Session
from labkit.methods import Study
from labkit.prompts import needles
from labkit.speculative.batch_spec import alone, compare
from labkit.trace import Step

TABLE, REAL = "this machine's table", "this machine, real run"
CLOCKS = (*PRESETS, TABLE, REAL)
FRAMES = 12  # steps of a simulation: the finished schedule, from its begin to its end
ROWS, TURNS = 192, 16  # of a real run's step: it ends behind so many rows or iterations

WHOLE = 4096  # prompt tokens that a real iteration may read: a step must not take many seconds


def clock_of(session: Session, name: str) -> Any:
    """The clock called `name`; one of this machine must have been measured."""
    return PRESETS[name] if name in PRESETS else session.memory[KEY]


def measuring(session: Session, name: str) -> Iterator[dict]:
    """Notes while the table that this clock needs is measured; none when it is there, or not needed."""
    for done, of in measure(session) if name not in PRESETS else ():
        yield {"done": done, "of": of, "doing": "measuring this machine", "runs": {}}


def texts(session: Session, count: int, tokens: int) -> list[list[int]]:
    """`count` prompts of exactly so many tokens: pieces of held-out code, one behind the other."""
    ids = list(chain.from_iterable(session.vocabulary.encode(one["text"]) for one in needles()))
    return [ids[number * tokens : (number + 1) * tokens] for number in range(count)]


def fed(run: list[tuple]) -> int:
    """Rows of all iterations of a run."""
    return sum(rows for _, _, reads, writers in run for rows in [*(rows for _, rows in reads), len(writers)])


@dataclass
class Sarathi(Study):
    """Who waits for whom in a server, and what does a decode cost that rides along with a prompt? (P170)

    Three schedulers serve the same requests: request-level, prefill first, and SARATHI, which cuts prompts into chunks and fills
    each iteration with ONE chunk and the decodes of all others. A real run feeds an iteration to the model in one forward (its
    products over all rows at once, attention by request; whole prompts that share an iteration go one after the other), takes its
    seconds, and lays every text beside what its prompt gives alone. The other clocks price schedules without a model run: a table
    measured here, or the roofline of a 13B model.

    Always greedy; every request writes all its tokens, an end of text stops none. Requests come every few decode steps, one
    such step being a lone decode by the same clock, so that the same knobs mean the same load on any device. Time is that of the
    iterations: it stands still while a run is paused or its picture drawn. Raises `KnobError` when a real iteration would be too
    long to be stopped.
    """

    name, title, paper = "sarathi", "Prompts and decodes in one batch", "P170"
    charts = ("serving_gantt", "serving_waits", "serving_cost")
    clock: str = knob(CLOCKS[0], choices=CLOCKS, label="Time by", help="on paper, measured, or real")
    chunk: int = knob(256, 16, 1024, unit="rows", label="Chunk (C)", help="of a prompt, at most", step=16, live=True)
    size: int = knob(8, 1, 32, unit="requests", label="Batch (B)", help="in work at once", live=True)
    prompt: int = knob(512, 32, 1024, unit="tokens", label="Prompt (P)", help="of every request", step=32, live=True)
    ratio: int = knob(8, 4, 64, label="P : D", help="tokens read : written", live=True)
    every: int = knob(8, 0, 64, unit="decode steps", label="A request every", help="0: all at once", live=True)
    tile: str = knob("128", choices=("1", "64", "128"), label="Tile", help="batches fill whole ones")
    count: int = knob(8, 2, 16, unit="requests", label="Requests", help="in all", live=True)

    def steps(self, session, rng):
        if self.clock == REAL and self.size * self.prompt > WHOLE:
            raise KnobError(
                f"A real run may read B x P = {self.size * self.prompt:,} tokens in one iteration: choose a smaller batch or "
                f"prompt, {WHOLE:,} together at most."
            )
        for notes in measuring(session, self.clock):
            yield Step(emitted=[], notes=notes)
        clock = clock_of(session, self.clock)
        self.output = max(2, round(self.prompt / self.ratio))
        self.gap = self.every * clock.seconds([], [self.prompt])
        told = {name: getattr(self, name) for name in ("clock", "chunk", "size", "prompt", "output")}
        told |= {"tile": int(self.tile), "arrivals": [one.arrival for one in self.requests()], "cost": self.cost(clock)}
        if self.clock in PRESETS:
            told["most"] = clock.most(self.prompt + self.output)
        notes = self.real(session) if self.clock == REAL else self.simulated(clock)
        for one in notes:
            yield Step(emitted=[], notes=told | one)

    def requests(self) -> list[Asked]:
        """The trace of requests: the same for every scheduler."""
        return asked(self.count, self.prompt, self.output, self.gap)

    def scheduler(self, policy: str) -> Scheduler:
        """A scheduler before its first request."""
        return Scheduler(policy, self.size, self.chunk, int(self.tile), deque(self.requests()))

    def cost(self, clock: Any) -> list[tuple[int, float, float, float]]:
        """By number of decodes: their seconds alone, those they add to a chunk beside them, and the chunk's own."""
        found = []
        for decodes in range(1, max(self.size, 2)):
            rows, contexts = aligned(self.chunk, decodes, int(self.tile)), [self.prompt] * decodes
            own, both = clock.seconds([(rows, 0)], []), clock.seconds([(rows, 0)], contexts)
            found.append((decodes, clock.seconds([], contexts), both - own, own))
        return found

    def simulated(self, clock: Any) -> Iterator[dict]:
        """Notes of the three schedules, whole in milliseconds, shown up to one moment after another."""
        runs = {policy: list(serve(self.scheduler(policy), priced(clock))) for policy in POLICIES}
        end = max(run[-1][1] for run in runs.values())
        for frame in range(1, FRAMES + 1):
            now = end * (frame / FRAMES)  # the last one is `end` itself, unrounded
            seen = {policy: [turn for turn in run if turn[1] <= now] for policy, run in runs.items()}
            yield {"runs": seen, "now": now, "end": end, "checked": {}, "done": frame, "of": FRAMES}

    def real(self, session: Session) -> Iterator[dict]:
        """Notes of the three schedules as the model goes through them, each followed by the check of its texts."""
        prompts = texts(session, self.count, self.prompt)
        own = cache(lambda number: alone(session, prompts[number], self.output, frozenset()))
        runs, checked = {}, {}
        work = self.prompt + self.output - 1  # rows of a request
        of = len(POLICIES) * self.count * (work + 1)

        def now() -> dict:
            rows = sum(fed(run) for run in runs.values())
            end = max((run[-1][1] for run in runs.values() if run), default=0.0)
            known = {"runs": {policy: list(run) for policy, run in runs.items()}, "now": end, "end": end}
            known["checked"] = {policy: list(found) for policy, found in checked.items()}
            return {**known, "done": rows + sum(map(len, checked.values())), "of": of}

        for policy in POLICIES:
            live, run, told = Live(session, prompts), runs.setdefault(policy, []), 0
            for turn in serve(self.scheduler(policy), live.spend):
                run.append(turn)
                if fed(run[told:]) >= ROWS or len(run) - told >= TURNS:
                    told = len(run)
                    yield now()
            for row in live.rows:
                checked.setdefault(policy, []).append((row.number, *compare(row, own(row.number))))
                yield now()
