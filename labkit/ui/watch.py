"""One look at the engine every second and a half, for all benches of a kernel: is it there, does the teacher show something?"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

from labkit.engine import Status
from labkit.errors import LabError

EVERY, PATIENCE = 1.5, 1.3  # seconds between two looks, and until an engine that says nothing is gone: within three in all


class Watcher(Protocol):
    """A bench that wants to know."""

    async def seen(self, status: Status | None, trouble: str) -> None:
        """The engine's status, or None and one sentence that says why there is none."""
        ...

    async def rest(self) -> None:
        """Nobody is at the page."""
        ...


class Watch:
    """Asks the engine as long as it lives; `join` to be told."""

    def __init__(self, engine: Any):
        self.watchers: WeakSet[Watcher] = WeakSet()
        self.tasks: set[asyncio.Task] = set()  # held, so that none is collected
        self._engine = engine
        self._task = asyncio.get_running_loop().create_task(self._look())

    def join(self, watcher: Watcher) -> None:
        """Tell `watcher` of every look from now on."""
        self.watchers.add(watcher)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            status, trouble = None, ""
            try:
                status = await asyncio.wait_for(self._engine.status(), PATIENCE)
            except TimeoutError:
                if getattr(self._engine, "linked", False):
                    continue  # slow is not gone: a line that is dead is found out by its pings
                trouble = "The engine does not answer: start it again, the trace stays."
            except LabError as error:
                trouble = str(error)
            for watcher in list(self.watchers):
                await watcher.seen(status, trouble)


_watches: WeakKeyDictionary[Any, Watch] = WeakKeyDictionary()


def watch(engine: Any, watcher: Watcher) -> None:
    """Tell `watcher` what is seen of `engine`, with whoever else wants to know."""
    if engine not in _watches:
        _watches[engine] = Watch(engine)
    _watches[engine].join(watcher)


def rest() -> None:
    """Nobody is at this kernel's page: every bench lets go of what it holds in an engine."""
    for one in list(_watches.values()):
        for watcher in list(one.watchers):
            one.tasks.add(task := asyncio.get_running_loop().create_task(watcher.rest()))
            task.add_done_callback(one.tasks.discard)
