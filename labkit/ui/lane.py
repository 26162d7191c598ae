"""One lane of the bench: a request, the trace it has given so far, and the engine's run behind it."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any, AsyncIterator

import msgspec

from labkit.errors import EngineError, KnobError, LabError, ModelError, PromptError, TraceError
from labkit.trace import Belief, Closing, Event, Opening, Request, Step, Trace

PANEL_OF = {PromptError: "prompt", KnobError: "knobs", ModelError: "knobs", TraceError: "take", EngineError: "hero"}
MESSAGE = 2**20  # bytes of packed steps in one message: a tenth of a second's work for the page


class Lane:
    """A request and its trace. Whatever happens to the engine, steps that were computed stay."""

    def __init__(self, name: str, request: Request, trace: Trace | None = None):
        self.name = name
        self.request = request
        self.trace = trace
        self.answered = (
            request if trace else None
        )  # the request that the trace answers; differs while a new one is refused
        self.state = "empty" if trace is None else "done" if trace.closing else "stopped"
        self.error: dict[str, str] | None = None
        self.events: AsyncIterator[Event] | None = None
        self.coming: asyncio.Future | None = (
            None  # the event under way; a Stop leaves it, so that nothing is computed twice
        )
        self.known = 0  # steps that a resumed run repeats and that are here already
        self.sent = -1  # steps the page has; -1 = not even the opening
        self.wanted = 0  # new tokens, of a study steps, that an interrupted change of settings still owes
        self._told: tuple | None = None

    @property
    def tokens(self) -> int:
        """How many new tokens the trace holds."""
        return sum(len(step.emitted) for step in self.trace.steps) if self.trace else 0

    @property
    def ended(self) -> bool:
        """Is there nothing more to come for this request?"""
        return self.events is None and bool(self.trace and self.trace.closing)

    async def begin(self, engine: Any, request: Request, window: int = 1) -> None:
        """Ask the engine for `request`; a trace of the same request is continued, another one stays until the new one opens.

        `window` steps may be under way at once: 1 for one that is stepped by hand, more for one that runs.
        """
        await self.drop()
        same = self.trace is not None and request == self.answered
        self.known = len(self.trace.steps) if same else 0
        self.request, self.state, self.error = request, "loading", None
        self.events = engine.run(request, window=window)

    async def drop(self) -> None:
        """Leave the engine's run, if there is one."""
        events, coming, self.events, self.coming = self.events, self.coming, None, None
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        if events is not None:
            await asyncio.gather(events.aclose(), return_exceptions=True)

    async def pull(self, halt: asyncio.Future, patience: float | None = None) -> Event | None:
        """The next event, or None when `halt` is set or `patience` (seconds) is over before it came."""
        if self.coming is None:
            self.coming = asyncio.ensure_future(anext(self.events, None))
        await asyncio.wait({self.coming, halt}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if not self.coming.done():
            return None
        coming, self.coming = self.coming, None
        event = coming.result()
        if event is None:
            raise EngineError("The engine ended the run without a word: press Retry to continue it.")
        return event

    def take(self, event: Event) -> bool:
        """Put an event into the trace. Returns whether it is a step that was not here before."""
        if isinstance(event, Opening):
            if not self.known:
                self.trace, self.answered, self.sent = Trace(event), self.request, -1
            return False
        if isinstance(event, Closing):
            self.trace.closing = event
            self.state = "done"
            self.events = None
            return False
        if self.known:
            place = len(self.trace.steps) - self.known
            self.known -= 1
            if self.trace.steps[place].emitted != event.emitted:
                self.known, self.answered = 0, None
                raise LabError(
                    f"The engine now answers differently at step {place + 1}: press Retry to run it from the start."
                )
            return False
        self.trace.steps.append(event)
        return True

    def fail(self, error: Exception) -> None:
        """Remember one sentence for the page, and the panel it belongs to."""
        panel = next((panel for kind, panel in PANEL_OF.items() if isinstance(error, kind)), "hero")
        self.error = {"text": sentence(error), "panel": panel, "action": "retry"}
        self.state = "error"

    def settle(self) -> None:
        """No run goes on any more: say what the lane is now."""
        if self.state in ("running", "loading"):
            self.state = "done" if self.ended else "stopped" if self.trace else "empty"

    def forgive(self) -> None:
        """Forget an error; the trace is as good as before."""
        self.error, self.state = None, "running"
        self.settle()

    def news(self) -> tuple[dict[str, Any], list[bytes]] | None:
        """What the page does not have yet, as plain data, and the laws in it as buffers; None when it has everything."""
        telling = (self.state, self.error, self.request, len(self.trace.steps) if self.trace else -1, self.ended)
        if self.sent >= 0 and telling == self._told or self.trace is None and telling == self._told:
            return None
        laws: list[bytes] = []
        fields: dict[str, Any] = {"name": self.name, "state": self.state, "error": self.error}
        if self._told is None or self._told[2] != self.request:
            fields["request"] = msgspec.to_builtins(self.request, str_keys=True)
        self._told = telling
        if self.trace is not None:
            if self.sent < 0:
                fields["opening"] = plain(self.trace.opening, laws)
                self.sent = 0
                if self.trace.is_packed:  # the page fetches the blocks, as fast as it can open them
                    self.sent = fields["far"] = len(self.trace.steps) - len(self.trace.steps.tail)
            fields["first"] = self.sent
            fields["steps"] = [plain(step, laws) for step in self.trace.steps[self.sent :]]
            self.sent = len(self.trace.steps)
            if self.trace.closing:
                fields["closing"] = plain(self.trace.closing, laws)
        return fields, laws

    def blocks(self, first: int) -> tuple[dict[str, Any], list[bytes]]:
        """Packed steps from block `first` on, as many as one message may hold, and how many steps each block has.

        Raises `LabError` when there are none.
        """
        steps = self.trace.steps if self.trace and self.trace.is_packed else None
        if steps is None or not 0 <= first < len(steps.blocks):
            raise LabError("The page asked for steps that the trace does not have: reload the page.")
        upto, size = first, 0
        while upto < len(steps.blocks) and size < MESSAGE:
            size += len(steps.blocks[upto])
            upto += 1
        starts = [0, *steps.ends][first : upto + 1]
        return {"counts": [end - start for start, end in pairwise(starts)]}, steps.blocks[first:upto]

    def whole(self) -> tuple[dict[str, Any], list[bytes]]:
        """Everything, for a fresh page."""
        self.sent, self._told = -1, None
        return self.news()


def plain(struct: Opening | Step | Closing, laws: list[bytes]) -> dict[str, Any]:
    """A part of a trace as plain data; each law becomes its place in `laws`, which go to the page as binary buffers."""

    def place(belief: Belief) -> Belief:
        if belief.law is None:
            return belief
        laws.append(belief.law)
        return msgspec.structs.replace(belief, law=b"")

    name = "prompt_beliefs" if isinstance(struct, Opening) else "beliefs" if isinstance(struct, Step) else ""
    first = len(laws)
    light = msgspec.structs.replace(struct, **{name: [place(b) for b in getattr(struct, name)]}) if name else struct
    fields = msgspec.to_builtins(light, str_keys=True)
    for belief in fields.get(name, ()):
        if "law" in belief:
            belief["law"] = first
            first += 1
    return fields


def sentence(error: Exception) -> str:
    """One sentence for a person; our own errors are one already."""
    if isinstance(error, LabError):
        return str(error)
    return f"Something went wrong inside the lab ({type(error).__name__}: {str(error)[:120]}): press Retry, or reload the page."
