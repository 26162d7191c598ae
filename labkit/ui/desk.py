"""Messages in, one task that works them off: the widget's callbacks only leave messages, from whatever thread."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from labkit.errors import LabError
from labkit.ui.lane import sentence

log = logging.getLogger(__name__)


class Job:
    """One thing a person asked for, and the flag that stops it."""

    def __init__(self, message: dict[str, Any], data: bytes | None = None):
        self.message, self.data = message, data
        self.verb: str = message["do"]
        self.halt = asyncio.get_running_loop().create_future()

    def stop(self) -> None:
        """Ask the job to end after the event under way."""
        if not self.halt.done():
            self.halt.set_result(None)


class Desk:
    """A queue of jobs and the one task that does them: `_do_<verb>(job)` of the subclass."""

    def __init__(self):
        self.jobs: list[Job] = []
        self._tasks: set[asyncio.Task] = set()
        self._serving: asyncio.Task | None = None
        try:
            self._loop = asyncio.get_running_loop()  # the cell's own; callbacks may come on another thread (T4)
        except RuntimeError:
            self._loop = None

    @property
    def verbs(self) -> set[str]:
        """What a page may ask for."""
        return {name.removeprefix("_do_") for name in dir(self) if name.startswith("_do_")} | {"stop"}

    def post(self, message: dict[str, Any], data: bytes | None = None) -> None:
        """Take a message from the page; returns at once."""
        self._loop = self._loop or asyncio.get_running_loop()
        self._loop.call_soon_threadsafe(self._accept, message, data)

    def call(self, work: Any) -> None:
        """Run a coroutine that writes no lane, beside the jobs."""
        self._loop = self._loop or asyncio.get_running_loop()
        self._loop.call_soon_threadsafe(self.spawn, work)

    def spawn(self, work: Any) -> asyncio.Task:
        """Start a task and keep hold of it, so that it is neither collected nor silent."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def opened(self, message: dict[str, Any]) -> None:
        """A page is there; told at once, whatever goes on."""

    def stopped(self) -> None:
        """A person pressed Stop."""

    def failed(self, job: Job, text: str) -> None:
        """A job broke; `text` is one sentence for the page."""

    def done(self, job: Job) -> Job | None:
        """A job is done and no other waits; what to do in the silence, if anything."""

    def _accept(self, message: dict[str, Any], data: bytes | None) -> None:
        verb = message["do"]
        if verb == "stop":
            for job in self.jobs:
                job.stop()
            self.jobs[1:] = [job for job in self.jobs[1:] if job.verb not in ("run", "step", "again")]
            self.stopped()
            return
        if verb == "run" and any(job.verb == "run" and not job.halt.done() for job in self.jobs):
            return  # a second Run while one goes on changes nothing
        if verb == "open":
            self.opened(message)
        for job in self.jobs:
            if verb != "open" and (verb, job.verb) != ("step", "step"):  # quick presses of Step add up
                job.stop()
        self.jobs.append(Job(message, data))
        if self._serving is None:
            self._serving = self.spawn(self._serve())

    async def _serve(self) -> None:
        try:
            while self.jobs:
                job = self.jobs[0]
                try:
                    await getattr(self, f"_do_{job.verb}")(job)
                except Exception as error:  # a bare task would swallow it: the page hears one sentence instead
                    if not isinstance(error, LabError):
                        log.exception("the bench could not %s", job.verb)
                    self.failed(job, sentence(error))
                self.jobs.remove(job)
                if not self.jobs and (more := self.done(job)):
                    self.jobs.append(more)
        finally:
            self._serving = None
