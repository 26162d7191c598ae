"""Who else is there while somebody works at a bench: the engine, which may go and come back, and a teacher who shows a trace."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Any, Callable

import msgspec

from labkit.engine import Status
from labkit.errors import LabError
from labkit.trace import Trace, loads
from labkit.ui.desk import Desk, Job
from labkit.ui.lane import Lane
from labkit.ui.watch import watch


class Company(Desk):
    """A desk that knows its engine. The subclass holds `lanes`, and `publish` and `snapshot` to tell the page."""

    lanes: list[Lane]
    publish: Callable
    snapshot: Callable
    audience = False  # is it this bench of the page that shows what the teacher shows?

    def __init__(self, connect: Callable):
        super().__init__()
        self._connect, self._engine = connect, None
        self._watched = False
        self.health: dict[str, Any] = {}
        self._pushed = 0  # the number of the teacher's trace that the page was told of
        self._shown: Trace | None = None  # that trace
        self._own: list[Lane] | None = None  # the person's lanes, while the teacher's trace has their place

    @property
    def engine(self) -> Any:
        """The engine, chosen when it is first needed: a preheated kernel must not hold a socket."""
        self._engine = self._engine or self._connect()
        return self._engine

    async def greet(self, knows: str = "") -> None:
        """Tell the page who answers, where and on what, and what there is to choose, unless it `knows` that by its key."""
        try:
            engine = self.engine
            methods, transforms = await engine.methods(), await engine.transforms()
            models, status = await engine.models(), await engine.status()
        except LabError as error:
            self._say_health({"error": str(error)})
            return
        self._say_health({"local": status.where == "this process"})
        offered = msgspec.to_builtins({"methods": methods, "transforms": transforms, "models": models}, str_keys=True)
        key = sha256(msgspec.json.encode(offered)).hexdigest()[:16]
        told = {"status": msgspec.to_builtins(status, str_keys=True), "key": key}
        self.publish("engine", told if key == knows else {**told, **offered}, [])

    def introduce(self, job: Job) -> None:
        """Tell the engine who is at the page; strings come from outside, so they are cut."""
        self.engine.introduce(str(job.message.get("who", ""))[:80], str(job.message.get("from", ""))[:80])

    def keep_watch(self) -> None:
        """Be told from now on what becomes of an engine that is a server's."""
        if not self._watched and not self.health.get("local"):
            self._watched = True
            watch(self.engine, self)

    async def seen(self, status: Status | None, trouble: str) -> None:
        """What the watch saw: notice within three seconds that the engine is gone, that it is back, what the teacher shows."""
        if status is None:
            self._say_health({"error": trouble})
            return
        if "error" in self.health:
            await self.greet()
        if self.audience and status.pushed != self._pushed:
            self._pushed = status.pushed
            self.spawn(self._offer())  # beside whatever runs: news from the teacher stop nobody

    async def rest(self) -> None:
        """Nobody is at the page: when the jobs are done, let go of the engine's runs. Traces stay, and go on."""
        while self._serving is not None:
            await asyncio.wait({self._serving})
        for lane in [*self.lanes, *(self._own or ())]:
            await lane.drop()

    def _say_health(self, health: dict[str, Any]) -> None:
        if health != self.health:
            self.health = health
            self.publish("health", health, [])

    # ------------------------------------------------------------------ the teacher's trace

    async def _offer(self) -> None:
        """Say what the teacher shows now, if anything; open it when that was asked for."""
        try:
            shown = await self.engine.look("pushed")
            self._shown = loads(shown["trace"]) if shown["trace"] else None
        except LabError:
            self._pushed = 0  # it went away meanwhile; the next look asks again
            return
        self.publish("pushed", {"name": shown["name"] if self._shown else "", "open": self._own is not None}, [])
        if self._shown and shown["at_once"]:
            self.post({"do": "follow"})

    async def _do_follow(self, job: Job) -> None:
        """The teacher's trace takes the place of the person's lanes, which are kept."""
        if self._shown is None:
            raise LabError("The teacher shows nothing any more: go on with your own run.")
        if self._own is None:
            self._own = self.lanes
        else:
            await self._leave()
        trace = msgspec.structs.replace(self._shown, steps=list(self._shown.steps))  # who steps on adds to a list of their own
        self._place([Lane("teacher", trace.opening.request, trace)], True)

    async def _do_own(self, job: Job) -> None:
        """Back to the person's lanes, as they were left."""
        if self._own is not None:
            await self._leave()
            own, self._own = self._own, None
            self._place(own, False)

    def _place(self, lanes: list[Lane], open: bool) -> None:
        self.lanes = lanes
        self.snapshot()
        self.publish("pushed", {"open": open}, [])

    async def _leave(self) -> None:
        for lane in self.lanes:
            await lane.drop()
