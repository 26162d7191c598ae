"""P170 SARATHI: a piece of one prompt and many decodes in every batch; beside it, the two schedulers it came after."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator, NamedTuple

REQUEST, PREFILL, SARATHI = "request-level", "prefill first", "SARATHI"
POLICIES = (REQUEST, PREFILL, SARATHI)
GOLDEN = 0.6180339887  # lengths that step by it fill their range evenly, however many there are


@dataclass(eq=False)  # a request is itself, whatever it holds
class Asked:
    """A request as a scheduler sees it: when it came (seconds), tokens of its prompt, tokens it is to write; how far it is."""

    number: int
    arrival: float
    prompt: int
    output: int
    read: int = 0
    written: int = 0


def asked(count: int, prompt: int, output: int, gap: float = 0.0, spread: float = 0.0) -> list[Asked]:
    """`count` requests, one every `gap` seconds; their lengths lie within `spread` (a share) of `prompt` and `output`."""
    found = []
    for number in range(count):
        size = 1 + spread * (2 * (number * GOLDEN % 1) - 1)
        found.append(Asked(number, number * gap, max(1, round(prompt * size)), max(1, round(output * size))))
    return found


class Turn(NamedTuple):
    """What one iteration feeds: rows of prompts, by request, and one row for every request that is being written."""

    reads: list[tuple[Asked, int]]
    writers: list[Asked]


def aligned(chunk: int, decodes: int, tile: int) -> int:
    """Rows of a prompt to take beside `decodes` rows: `chunk`, cut so that both together fill whole tiles where they can."""
    fitting = (chunk + decodes) // tile * tile - decodes
    return fitting if 0 < fitting <= chunk else chunk


@dataclass
class Scheduler:
    """Who is fed in the next iteration. Requests come from `waiting` (by arrival), at most `size` are in work at once.

    request-level: a batch is filled, read, written to its end, and only then the next one begins. prefill first: whoever comes
    is let in at once, and whole prompts go first, alone; those who write wait. SARATHI: at most `chunk` rows of ONE prompt, the
    oldest unread, and a row for everyone who writes, so nobody waits for a whole prompt.

    As in the paper, the end of a prompt is the one piece that may leave a tile unfilled.
    """

    policy: str
    size: int
    chunk: int
    tile: int
    waiting: deque[Asked]
    active: list[Asked] = field(default_factory=list)

    def turn(self, now: float) -> Turn | None:
        """The batch of an iteration that begins at `now`; None when nobody is there."""
        if not (self.policy == REQUEST and self.active):
            while self.waiting and self.waiting[0].arrival <= now and len(self.active) < self.size:
                self.active.append(self.waiting.popleft())
        unread = [one for one in self.active if one.read < one.prompt]
        writers = [one for one in self.active if one.read == one.prompt]
        if not unread:
            return Turn([], writers) if writers else None
        if self.policy != SARATHI:
            return Turn([(one, one.prompt) for one in unread], [])
        rows = aligned(self.chunk, len(writers), self.tile)
        return Turn([(unread[0], min(rows, unread[0].prompt - unread[0].read))], writers)

    def done(self, turn: Turn) -> None:
        """The batch went through the model. The last piece of a prompt brings the first token."""
        for one, rows in turn.reads:
            one.read += rows
            one.written = int(one.read == one.prompt)
        for one in turn.writers:
            one.written += 1
        self.active = [one for one in self.active if one.written < one.output]


def priced(clock: Any) -> Callable[[Turn], float]:
    """What a turn takes by a clock (`serving_table.Table` or `serving_table.Roofline`), in seconds."""

    def spend(turn: Turn) -> float:
        reads = [(rows, one.read) for one, rows in turn.reads]
        return clock.seconds(reads, [one.prompt + one.written for one in turn.writers])

    return spend


def serve(scheduler: Scheduler, spend: Callable[[Turn], float]) -> Iterator[tuple]:
    """Serve everyone, iteration by iteration: (begin, end, [(number, rows of its prompt), ...], [writers' numbers]), in seconds.

    `spend(turn)` does the work, or only knows its price, and gives its seconds. With a clock this is an exact simulation.
    """
    now = 0.0
    while scheduler.waiting or scheduler.active:
        turn = scheduler.turn(now)
        if turn is None:
            now = scheduler.waiting[0].arrival
            continue
        begin, now = now, now + spend(turn)
        yield begin, now, [(one.number, rows) for one, rows in turn.reads], [one.number for one in turn.writers]
        scheduler.done(turn)
