"""The engine in this process: one thread owns torch and the models, the event loop never waits for them."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, AsyncIterator, Callable, Iterator

from msgspec import Raw

from labkit.engine import looks
from labkit.engine.limits import WINDOW, Limits, check_length, check_window, checked, packed
from labkit.engine.protocol import NO_DRAFT, MethodInfo, ModelInfo, Status, TransformInfo
from labkit.engine.turns import CLOSED, Line, Share, Turns, guarded
from labkit.errors import EngineError, LabError, ModelError
from labkit.trace import Event, Request


def _run(pair: Any, request: Request) -> Iterator[Event]:
    from labkit.run import run

    return run(pair, request)


def _load(target: str, draft: str) -> Any:
    from labkit.models import load, spare_threads

    pair = load(target, draft)
    spare_threads(pair)
    return pair


def _vocabulary(target: str, draft: str) -> Any:
    """The target's vocabulary alone: a tokenizer can be looked at without its model."""
    from labkit.models import vocabulary

    return vocabulary(_names(target, draft)[0])


def _names(target: str, draft: str) -> tuple[str, str]:
    """The full names of a pair. Raises `ModelError` unless the operator allows both: names come from visitors."""
    from labkit.models import allowed, names

    words = isinstance(target, str) and isinstance(draft, str)
    chosen = names(target, draft) if words else (target, draft)
    for name in chosen:
        if name not in (*allowed(), NO_DRAFT):
            raise ModelError(f"The model {name!r:.60} is not offered here: choose one of {', '.join(allowed())}.")
    return chosen


class LocalEngine:
    """The engine's verbs in this process.

    Everything that touches torch happens in one worker thread, one step at a time, and any number of runs take turns
    there. torch is imported with the first request. `run` and `load` may be replaced, for tests and for other sources
    of steps.
    """

    def __init__(
        self,
        run: Callable[[Any, Request], Iterator[Event]] = _run,
        load: Callable[[str, str], Any] = _load,
        limits: Limits | None = None,
    ):
        self.limits = limits or Limits.from_environment()
        self._run, self._load = run, load
        self._open: set[Turns] = set()  # runs whose cache is not freed yet
        self._held = 0  # tokens that their caches may come to
        self._thread = ThreadPoolExecutor(1, "labkit-torch")
        self._line = Line(self._thread)
        self._pairs: dict[tuple[str, str], Any] = {}
        self._names: tuple[str, str] | None = None  # of the default pair

    async def methods(self) -> list[MethodInfo]:
        """Every registered method."""
        return await self._do("listing the methods", _methods)

    async def transforms(self) -> list[TransformInfo]:
        """Every registered transform."""
        return await self._do("listing the transforms", _transforms)

    async def models(self) -> list[ModelInfo]:
        """The models that may be asked for."""
        return await self._do("listing the models", self._models)

    async def status(self) -> Status:
        """Where this is and what it runs on; loads no model, and waits for no step once the default names are known."""
        if self._names is None:
            self._names = await self._do("reading the status", lambda: _names("", ""))
        return self._status(self._names)

    async def look(self, what: str, /, **question: Any) -> dict[str, Any]:
        """Answer the one-off question `what`; see `labkit.engine.looks`. Raises `LabError`."""
        target, draft = question.pop("target", ""), question.pop("draft", "")
        asked = looks.read(what, question)
        source = _vocabulary if getattr(asked, "light", False) else self._pair
        return await self._do(f"the question {what!r}", lambda: asked.answer(source(target, draft), self.limits))

    async def run(self, request: Request, window: int = WINDOW) -> AsyncIterator[Event]:
        """Opening, Step, ... Closing, at most `window` events ahead of what was pulled; 1 = strictly on demand.

        Close it, or cancel the task that pulls, to stop at once; the cache is freed when the step under way ends.
        Raises `LabError`.
        """
        check_window(window)
        with contextlib.closing(self.start(packed(request))) as turns:
            turns.grant(window)
            while (event := await turns.next()) is not None:
                yield event
                turns.grant(1)

    def start(self, request: Raw, share: Share | None = None) -> Turns:
        """A run of the packed request that computes what it is granted; close it to free it. Raises `LabError`.

        Runs of one `share` get together as much of the thread as a run by itself.
        """
        asked = checked(request, self.limits)
        if len(self._open) >= self.limits.max_runs:
            raise EngineError(f"The lab is full: {len(self._open)} runs are under way: try again in a minute.")
        turns = Turns(self._line, share or Share(), asked.method, self._events(asked), self._open.discard)
        self._open.add(turns)
        return turns

    async def warm(self) -> None:
        """Load the default pair and run it once, so that the first visitor does not wait. Raises `LabError`."""
        method = "chain" if (await self.status()).draft else "plain"
        async for _ in self.run(Request(method=method, prompt="def ", max_new_tokens=8)):
            pass

    async def close(self) -> None:
        """Let the thread and the models go; a step under way ends first, in its own time."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._pairs.clear()

    @property
    def running(self) -> int:
        """How many runs hold a cache."""
        return len(self._open)

    @property
    def waiting(self) -> int:
        """How many runs have a step due, the one under way included."""
        return sum(turns.queued for turns in list(self._open))

    def introduce(self, who: str, page: str) -> None:
        """Nobody else is here who could want to know."""

    def loaded(self) -> list[str]:
        """Names of the models in memory."""
        return sorted({name for names in list(self._pairs) for name in names if name != NO_DRAFT})

    async def _do(self, doing: str, work: Callable[[], Any]) -> Any:
        """`work()` in the torch thread. A cancelled wait returns at once; work that has not begun is then dropped."""
        try:
            turn = asyncio.get_running_loop().run_in_executor(self._thread, guarded, doing, work)
        except RuntimeError:
            raise EngineError(CLOSED) from None
        answer = await turn
        if isinstance(answer, LabError):
            raise answer
        return answer

    def _status(self, names: tuple[str, str]) -> Status:
        pair = self._pairs.get(names)
        return Status(
            "this process",
            device=str(pair.target.device) if pair else "",
            target=names[0],
            draft="" if names[1] == NO_DRAFT else names[1],
            running=self.running,
        )

    # -- in the torch thread -----------------------------------------------------------------------------------------

    def _pair(self, target: str, draft: str) -> Any:
        names = _names(target, draft)
        if names not in self._pairs:
            self._pairs[names] = self._load(*names)
        return self._pairs[names]

    def _events(self, request: Request) -> Iterator[Event]:
        pair = self._pair(request.target, request.draft)
        length = len(pair.vocabulary.encode(request.prompt) if request.ids is None else request.ids)
        check_length(length, self.limits)
        with self._holding(length + request.max_new_tokens):
            yield from self._run(pair, request)

    @contextlib.contextmanager
    def _holding(self, tokens: int) -> Iterator[None]:
        if self._held and self._held + tokens > self.limits.max_held_tokens:
            full = f"The lab is full: its runs hold {self._held:,} tokens"
            raise EngineError(f"{full}: try again in a minute, or with a shorter prompt.")
        self._held += tokens
        try:
            yield
        finally:
            self._held -= tokens

    def _models(self) -> list[ModelInfo]:
        from labkit.models import available

        infos = available()
        for names, pair in self._pairs.items():
            for info in infos:
                if info.name in names:
                    info.loaded, info.device = True, str(pair.target.device)
                    info.dtype = str(pair.target.dtype).removeprefix("torch.")
        return infos


def _methods() -> list[MethodInfo]:
    from labkit.methods import all_methods, all_studies, method_info

    return [method_info(cls) for cls in (all_methods() | all_studies()).values()]


def _transforms() -> list[TransformInfo]:
    from labkit.methods import all_transforms, transform_info

    return [transform_info(cls) for cls in all_transforms().values()]
