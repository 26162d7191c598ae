"""The one task that drives the engine and writes traces; the widget's callbacks only leave it messages."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Callable

import msgspec

from labkit.errors import EngineError, LabError
from labkit.trace import Request, Trace, loads
from labkit.ui.company import Company
from labkit.ui.desk import Job
from labkit.ui.lane import Lane

FRAME = 0.016  # seconds between two messages to the page while a run goes on: what an eye can follow
WINDOW = 4  # steps under way while running: enough to hide the wire, few enough that Stop shows nothing stale
LONGEST_BRANCH = 24  # new tokens of a branch taken at the very end, where there is no length to match
ENDLESS = 10**9  # steps, more than any study has
LONG_PROMPT = 2048  # tokens; reading a longer one takes seconds in which nobody gets a step, so plain decoding is not measured
SILENCE = 0.7  # seconds without a step of anybody's before plain decoding is measured: nobody who steps must wait behind it
LISTEN = 12  # silences that are waited for; in a class there may be none
log = logging.getLogger(__name__)


class Drive(Company):
    """Lanes and the task that fills them. Nothing is opened or started before the page's first message.

    `publish(kind, fields, laws)` hands news to the page; `connect()` gives an engine; `autorun` steps follow the first message;
    `measure` asks for a plain run beside every other one, so that its cost has something to stand against; `audience`: show what
    the teacher shows.
    """

    def __init__(
        self,
        request: Request,
        connect: Callable,
        publish: Callable,
        *,
        autorun: int = 0,
        trace: Trace | None = None,
        measure: bool = False,
        audience: bool = False,
    ):
        super().__init__(connect)
        self.autorun, self.measure = autorun, measure
        self._measured: dict[bytes, int] = {}  # the request measured last, and how many of its steps
        self.lanes = [Lane("first", request, trace)]
        self.publish = publish
        self.audience = audience

    def opened(self, message: dict[str, Any]) -> None:
        """Give a fresh page what there is."""
        self.snapshot(message.get("view"))

    def stopped(self) -> None:
        """Stop also ends what an interrupted change of settings still owed."""
        for lane in self.lanes:
            lane.wanted = 0

    def failed(self, job: Job, text: str) -> None:
        """Say it where it was asked."""
        self.publish("error", {"text": text, "panel": "take" if job.verb == "load" else "hero"}, [])

    def done(self, job: Job) -> Job | None:
        """In the silence, measure plain decoding."""
        return Job({"do": "measure"}) if self.measure and job.verb != "measure" else None

    # ------------------------------------------------------------------ what a person can ask for

    async def _do_open(self, job: Job) -> None:
        """Say who answers; run the first steps of an empty bench."""
        if self.audience:  # one bench of a page speaks for it
            self.introduce(job)
        await self.greet(str(job.message.get("knows", "")))
        self.keep_watch()
        steps, self.autorun = self.autorun, 0
        if steps and self.lanes[0].trace is None:
            await self._advance(job, self.lanes[:1], steps=steps)

    async def _do_step(self, job: Job) -> None:
        if await self._changed(job):
            return
        await self._advance(job, self.lanes, steps=1)

    async def _do_run(self, job: Job) -> None:
        await self._changed(job)
        await self._advance(job, self.lanes)

    async def _do_again(self, job: Job) -> None:
        """New settings for a lane: as many new tokens as there were, or nothing when it was empty.

        The settings it has already, as when a dragged knob is let go: their run was stopped for this message, and goes on.
        """
        if await self._changed(job):
            return
        lane = self.lanes[int(job.message.get("lane", 0))]
        if lane.wanted and lane.trace is not None:
            came = 0 if lane.tokens else len(lane.trace.steps)
            await self._owed(job, lane, lane.wanted - came if came else None)

    async def _do_prompt(self, job: Job) -> None:
        """Another prompt, for both lanes."""
        changed = await self._changed(job)
        if not changed and self.lanes[0].trace is None:
            await self._advance(job, self.lanes[:1], steps=1)  # an empty bench answers a new prompt with its first step
        prompt = self._request(job.message["request"])
        for lane in self.lanes:
            if lane.trace is not None and (lane.request.prompt, lane.request.ids) != (prompt.prompt, prompt.ids):
                request = msgspec.structs.replace(lane.request, prompt=prompt.prompt, ids=prompt.ids)
                await self._rerun(job, lane, request)

    async def _do_retry(self, job: Job) -> None:
        """After an error: take up the run where it broke, or from the start when its request was refused."""
        await self.greet()
        for lane in self.lanes:
            if lane.state == "error":
                await lane.drop()
                lane.forgive()
        if not await self._changed(job):
            await self._advance(job, self.lanes, steps=1)

    async def _do_compare(self, job: Job) -> None:
        """A second lane on the same prompt: another method or other settings, as many tokens as the first has."""
        first = self.lanes[0]
        await self.close_second()
        second = Lane(str(job.message.get("name", "second"))[:80], self._request(job.message["request"]))
        self.lanes.append(second)
        self.tell(second)
        await self._advance(job, [second], tokens=first.tokens or None)

    async def _do_branch(self, job: Job) -> None:
        """What if this token? A second lane whose prompt is the prefix plus the chosen token."""
        lane = self.lanes[int(job.message["lane"])]
        index, token = int(job.message["index"]), int(job.message["token"])
        if any(step.at for step in lane.trace.steps):
            raise LabError("This text was filled in any order: to branch, choose a method that writes from left to right.")
        ids = lane.trace.opening.prompt_ids + lane.trace.ids
        if not 0 < index < len(ids):
            raise LabError(f"There is no token {index} to branch at: choose one of the {len(ids)} on the strip.")
        left = len(ids) - index - 1
        request = msgspec.structs.replace(lane.request, prompt="", ids=[*ids[:index], token])
        request.max_new_tokens = max(left, min(LONGEST_BRANCH, lane.request.max_new_tokens))
        await self.close_second()
        branch = Lane(str(job.message.get("name", "branch"))[:80], request)
        self.lanes.append(branch)
        self.tell(branch)
        await self._advance(job, [branch], tokens=max(left, 1))

    async def _do_close(self, job: Job) -> None:
        await self.close_second()
        self.publish("close", {}, [])

    async def _do_load(self, job: Job) -> None:
        """A saved trace takes the first lane; a broken file changes nothing."""
        trace = loads(job.data or b"")
        await self.close_second()
        await self.lanes[0].drop()
        self.lanes = [Lane("first", trace.opening.request, trace)]
        self.snapshot()

    async def _do_measure(self, job: Job) -> None:
        """What plain decoding of the same length costs, and what this run costs when nothing else is going on.

        Steps that were taken while a page opened are no measure for the clock, so the run is repeated in the same silence as
        the plain one: once, and again when it has doubled or ended.
        """
        lane = self.lanes[0]
        if lane.trace is None or lane.trace.is_packed or lane.error or not lane.tokens or lane.request.method == "plain":
            return  # of a long trace nobody waits for the end of another run
        if len(lane.trace.opening.prompt_ids) > LONG_PROMPT:
            return
        asked, steps = lane.trace.opening.request, len(lane.trace.steps)
        plain = msgspec.structs.replace(asked, method="plain", knobs={}, prompt="", ids=lane.trace.opening.prompt_ids, keep=[])
        known = self._measured.get(msgspec.json.encode(asked), 0)
        if known and (steps == known or (steps < 2 * known and not lane.ended)):
            return
        if not await self._is_silent(job):
            return
        measured = []
        for request, upto in ((asked, steps), (plain, None)):
            run = Lane("measured", request)
            try:
                await run.begin(self.engine, request, WINDOW)
                while not run.ended and (upto is None or run.trace is None or len(run.trace.steps) < upto):
                    event = await run.pull(job.halt)
                    if event is None:
                        return
                    run.take(event)
            except LabError:
                return  # nobody asked for this run, so nobody has to hear that it failed
            finally:
                await run.drop()
            measured.append(run)
        again, plainly = measured
        self._measured = {msgspec.json.encode(asked): steps}
        made = [{"emitted": step.emitted, "cost": msgspec.to_builtins(step.cost)} for step in plainly.trace.steps]
        fields = {"steps": made, "tokens": plainly.tokens}
        if again.trace.ids == lane.trace.ids_upto(steps):  # a method that goes on learning may answer otherwise
            fields |= {"of": msgspec.to_builtins(asked), "seconds_of": [step.cost.seconds for step in again.trace.steps]}
        self.publish("plain", fields, [])

    async def _is_silent(self, job: Job) -> bool:
        """Wait until the engine has computed nothing for anybody for a while: a clock that ran beside others would tell of them.

        False when that takes too long, or when the person asks for something meanwhile.
        """
        try:
            for _ in range(LISTEN):
                before = (await self.engine.status()).steps
                if (await asyncio.wait([job.halt], timeout=SILENCE))[0]:
                    return False
                if (await self.engine.status()).steps == before:
                    return True
        except LabError:
            pass  # the watch says it
        return False

    async def close_second(self) -> None:
        """Drop the second lane, if there is one."""
        for lane in self.lanes[1:]:
            await lane.drop()
        del self.lanes[1:]

    # ------------------------------------------------------------------ the engine and the page

    def tell(self, lane: Lane) -> None:
        """Send the page what it lacks of one lane."""
        if news := lane.news():
            self.publish("lane", {"lane": self.lanes.index(lane), **news[0]}, news[1])

    def snapshot(self, view: str | None = None) -> None:
        """Send the page everything (a fresh page, or other lanes than before)."""
        laws: list[bytes] = []
        lanes = []
        for lane in self.lanes:
            fields, own = lane.whole()
            lanes.append({**fields, "laws": len(laws)})
            laws += own
        self.publish("snapshot", {"view": view, "lanes": lanes}, laws)

    def _request(self, fields: Any) -> Request:
        try:
            return msgspec.convert(fields, Request, strict=False)
        except msgspec.ValidationError as broken:
            raise LabError(f"The page asked for something unclear ({broken}): reload the page.") from None

    async def _changed(self, job: Job) -> bool:
        """Does the page ask for something else than the lane has? Then run that, to as many tokens as there were."""
        place = int(job.message.get("lane", 0))
        lane = self.lanes[place]
        request = self._request(job.message["request"])
        if request.ids is None and not request.prompt:
            request.ids = lane.request.ids
        if lane.trace is None or request == lane.answered:
            if lane.trace is None and request != lane.request:
                await lane.drop()
            lane.request = request
            lane.forgive()
            self.tell(lane)
            return False
        await self._rerun(job, lane, request)
        return True

    async def _rerun(self, job: Job, lane: Lane, request: Request) -> None:
        """Another request in a lane that has a trace: as many tokens as there were, or as an interrupted run still owes."""
        came = lane.trace is not None and not lane.tokens and (ENDLESS if lane.trace.closing else len(lane.trace.steps))
        lane.wanted = max(lane.tokens, came, lane.wanted, 1)
        steps = lane.wanted if came else None  # a study: as far as it had come, or to its end if it was there
        await lane.begin(self.engine, request, WINDOW)
        self.tell(lane)
        await self._owed(job, lane, steps)

    async def _owed(self, job: Job, lane: Lane, steps: int | None) -> None:
        """What a change of settings owes: so many more `steps` of a study, or new tokens up to `lane.wanted`."""
        await self._advance(job, [lane], steps=steps, tokens=None if steps else lane.wanted)
        if not job.halt.done():
            lane.wanted = 0

    async def _advance(self, job: Job, lanes: list[Lane], steps: int | None = None, tokens: int | None = None) -> None:
        """Pull events lane by lane in turn, until each has `steps` more or `tokens` in all, or ends; tell the page as it goes."""
        goals = {lane: steps for lane in lanes if not lane.ended}
        for lane in goals:
            if lane.events is None:
                await lane.begin(self.engine, lane.request, 1 if steps == 1 else WINDOW)
            if lane.state != "loading":
                lane.state, lane.error = "running", None
            self.tell(lane)
        clock, told = asyncio.get_running_loop().time, 0.0
        patient = {lane for lane in goals if lane.trace is not None}  # their runs may have died while nobody looked
        while goals and not job.halt.done():
            for lane in list(goals):
                try:
                    event = await lane.pull(job.halt, FRAME)
                    if event is None:
                        continue
                    fresh = lane.take(event)
                except Exception as error:
                    if not isinstance(error, LabError):
                        log.exception("the run broke")
                    await lane.drop()
                    if isinstance(error, EngineError) and lane in patient:
                        patient.discard(lane)
                        await lane.begin(self.engine, lane.request, 1 if steps == 1 else WINDOW)
                        continue
                    lane.fail(error)
                    if isinstance(error, EngineError):
                        self._say_health({"error": str(error)})
                    goals.pop(lane)
                    continue
                if lane.state == "loading" and not lane.known:
                    lane.state = "running"
                if fresh and goals[lane] is not None:
                    goals[lane] -= 1
                if lane.ended or goals[lane] == 0 or (tokens is not None and fresh and lane.tokens >= tokens):
                    goals.pop(lane)
            if clock() - told >= FRAME:
                for lane in goals:
                    self.tell(lane)
                told = clock()
        for lane in lanes:
            lane.settle()
            self.tell(lane)
