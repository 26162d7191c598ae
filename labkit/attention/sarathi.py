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
    """What one iteration feeds: `chunk` rows of one prompt, or none, and one row for every request that is being written."""

    reader: Asked | None
    chunk: int
    writers: list[Asked]

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return self.chunk + len(self.writers)


def aligned(chunk: int, decodes: int, tile: int) -> int:
    """Rows of a prompt to take beside `decodes` rows: `chunk`, cut so that both together fill whole tiles where they can."""
    fitting = (chunk + decodes) // tile * tile - decodes
    return fitting if 0 < fitting <= chunk else chunk


@dataclass
class Scheduler:
    """Who is fed in the next iteration. Requests come from `waiting` (by arrival), at most `size` are in work at once.

    request-level: a batch is filled, read, written to its end, and only then the next one begins. prefill first: whoever comes
    is let in at once and its whole prompt goes first, alone; those who write wait. SARATHI: at most `chunk` rows of ONE prompt,
    the oldest unread, and a row for everyone who writes, so nobody waits for a whole prompt.

    Lab version: an iteration holds one prompt in every policy (other servers read several at once: the same work, in fewer and
    longer iterations). What does not fit into a tile's multiple is the end of a prompt, as in the paper.
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
        reader = next((one for one in self.active if one.read < one.prompt), None)
        writers = [one for one in self.active if one.read == one.prompt]
        if reader is None:
            return Turn(None, 0, writers) if writers else None
        if self.policy != SARATHI:
            return Turn(reader, reader.prompt, [])
        rows = aligned(self.chunk, len(writers), self.tile)
        return Turn(reader, min(rows, reader.prompt - reader.read), writers)

    def done(self, turn: Turn) -> None:
        """The batch went through the model. The last piece of a prompt brings the first token."""
        if turn.reader:
            turn.reader.read += turn.chunk
            turn.reader.written = int(turn.reader.read == turn.reader.prompt)
        for one in turn.writers:
            one.written += 1
        self.active = [one for one in self.active if one.written < one.output]


def priced(clock: Any) -> Callable[[Turn], float]:
    """What a turn takes by a clock (`serving_table.Table` or `serving_table.Roofline`), in seconds."""

    def spend(turn: Turn) -> float:
        behind = turn.reader.read if turn.reader else 0
        return clock.seconds(turn.chunk, behind, [one.prompt + one.written for one in turn.writers])

    return spend


def serve(scheduler: Scheduler, spend: Callable[[Turn], float]) -> Iterator[tuple]:
    """Serve everyone, iteration by iteration: (begin, end, reader's number or -1, its rows, writers' numbers), in seconds.

    `spend(turn)` does the work, or only knows its price, and gives its seconds. With a clock this is an exact simulation.
    """
    now = 0.0
    while scheduler.waiting or scheduler.active:
        turn = scheduler.turn(now)
        if turn is None:
            now = scheduler.waiting[0].arrival
            continue
        begin, now = now, now + spend(turn)
        reader = turn.reader.number if turn.reader else -1
        yield begin, now, reader, turn.chunk, [one.number for one in turn.writers]
        scheduler.done(turn)
