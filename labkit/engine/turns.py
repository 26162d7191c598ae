"""How many runs share one torch thread: each computes one event at its turn, as long as it has credit.

Whose turn it is: the run's that has had least of the thread (start-time fair queueing, Goyal, Vin and Cheng 1996). So who steps
by hand is served next, however many long runs go on, and sixteen runs of one visitor get no more than one of another.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from heapq import heappop, heappush
from typing import Any, Callable, Iterator

from labkit.errors import EngineError, LabError
from labkit.trace import Event

CLOSED = "This engine was closed: connect again."
LEAST = 0.001  # seconds that any turn counts as: equal runs then alternate, whatever the clock says of so short a time


class Share:
    """One visitor's part of the thread: its runs that wait, which share it."""

    def __init__(self):
        self.waiting = 0


class Line:
    """The runs that have a step due, before the `thread` that computes them one at a time.

    Each run has a clock, which its steps move on by the seconds they took, times the runs of its visitor that wait; the one
    whose clock is behind comes first. A run that was away begins where the others are.
    """

    def __init__(self, thread: ThreadPoolExecutor):
        self.thread = thread
        self._waiting: list[tuple[float, int, Turns]] = []  # a heap
        self._now = 0.0  # the clock of the run that was served last
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def join(self, turns: Turns) -> None:
        """Let `turns` compute an event when it is its turn. Raises `RuntimeError` when the thread was closed."""
        with self._lock:
            turns.clock = max(turns.clock, self._now)
            turns.share.waiting += 1
            heappush(self._waiting, (turns.clock, next(self._numbers), turns))
        self.thread.submit(self._serve)

    def _serve(self) -> None:
        with self._lock:
            self._now, _, turns = heappop(self._waiting)
            sharing = turns.share.waiting
            turns.share.waiting -= 1
        began = time.perf_counter()
        again = turns.take()
        turns.clock += sharing * max(time.perf_counter() - began, LEAST)
        if again:
            with contextlib.suppress(RuntimeError):  # the engine was closed meanwhile
                self.join(turns)


class Turns:
    """One run: its events, computed in the thread of `line` and handed to the loop that made this.

    A run is never in line twice. The thread puts it there again by itself while credit is left: between two steps it never
    waits for the event loop, which on a busy machine would cost more than the step.
    """

    def __init__(self, line: Line, share: Share, name: str, events: Iterator[Event], tell: Callable[[Turns], None]):
        self.share, self.clock = share, 0.0
        self._line, self._name, self._events, self._tell = line, name, events, tell
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[Event | LabError | None] = asyncio.Queue()
        self._lock = threading.Lock()  # the loop grants and closes, the thread computes
        self._credit = 0
        self._queued = self._over = False
        self.freed = False  # are the caches gone?

    def grant(self, credit: int) -> None:
        """Let `credit` more events be computed. Raises `EngineError` when the engine was closed."""
        with self._lock:
            self._credit += credit
            if self._queued or self._over:
                return
            self._queued = True
        try:
            self._line.join(self)
        except RuntimeError:
            raise EngineError(CLOSED) from None

    async def next(self) -> Event | None:
        """The next event that was paid for, or None after the last. Raises the run's `LabError`."""
        event = await self._arrived.get()
        if isinstance(event, LabError):
            raise event
        return event

    @property
    def ahead(self) -> int:
        """Events granted and not taken yet."""
        return self._credit + self._arrived.qsize()

    @property
    def queued(self) -> bool:
        """Is a step due that has not been computed?"""
        return self._queued

    def close(self) -> None:
        """Stop at once; `tell(self)` is called in the thread when the caches are gone, after a step under way."""
        with self._lock:
            self._over = True
        with contextlib.suppress(RuntimeError):  # the engine was closed meanwhile
            self._line.thread.submit(self._free)

    def take(self) -> bool:
        """In the thread: compute an event. Returns whether another one is paid for."""
        if self._over:
            return False
        event = guarded(f"a step of {self._name!r:.60}", lambda: next(self._events, None))
        with self._lock:
            self._credit -= 1
            self._over = self._over or event is None or isinstance(event, LabError)
            again = self._queued = self._credit > 0 and not self._over
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, event)
        return again

    def _free(self) -> None:
        guarded("the end of a run", self._events.close)  # here, since a generator must end in the thread that runs it
        self.freed = True
        self._tell(self)


class OutOfMemory(EngineError):
    """The memory of the machine or of its GPU did not suffice."""


def guarded(doing: str, work: Callable[[], Any]) -> Any:
    """What `work()` returns, or (returned as well) one `LabError`."""
    try:
        return work()
    except Exception as error:
        trouble = sentence(error, doing)
    if isinstance(trouble, OutOfMemory):
        gc.collect()
        if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
            torch.cuda.empty_cache()
    return trouble


def sentence(error: Exception, doing: str) -> LabError:
    """The one sentence of `error` for the page; what nobody foresaw is written to the engine's messages, whole.

    It carries no traceback, whose frames would hold on to caches for as long as somebody shows the error.
    """
    if isinstance(error, LabError):
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)
    words = str(error).lower() if isinstance(error, RuntimeError) else ""  # on a CPU torch says it only in words
    if isinstance(error, MemoryError) or "out of memory" in words or "can't allocate memory" in words:
        return OutOfMemory(f"The engine ran out of memory at {doing}: use a shorter prompt or fewer new tokens.")
    traceback.print_exception(error, file=sys.stderr)
    return EngineError(f"The engine failed at {doing}: try again, and look at its messages if it stays.")
