"""The engine across a socket: the verbs as frames, one connection for any number of runs. Imports no torch."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from typing import Any, AsyncIterator, TypeVar

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from labkit.engine import door, frames
from labkit.engine.frames import (
    GOING_AWAY,
    PATH,
    REFUSED,
    TOO_LARGE,
    TRY_LATER,
    Ask,
    Cancel,
    Ended,
    Failed,
    FromEngine,
    FromVisitor,
    Grant,
    Start,
)
from labkit.engine.limits import WINDOW, check_window, packed
from labkit.engine.protocol import MethodInfo, ModelInfo, Status, TransformInfo
from labkit.errors import EngineError
from labkit.trace import LARGEST_FILE, Event, Request

FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0  # seconds between two attempts to connect
PATIENCE = 10.0  # seconds until a server that was there is given up
ANSWER_WITHIN = 1.0  # seconds for a handshake; a server's loop never waits for its models
PING_SECONDS, PONG_SECONDS = 2, 4  # a server that hangs is noticed within six seconds

FORBIDDEN = 403  # of HTTP: before a socket is there

T = TypeVar("T")


class NobodyThere(EngineError):
    """Nothing answers at the address, in contrast to somebody who refuses."""


class RemoteEngine:
    """The engine server at `address` (host:port). Connects when needed, and again after the server was restarted.

    It shows `token`, or that of `LABKIT_ENGINE_TOKEN`. Raises `EngineError` when that is no token.
    """

    def __init__(self, address: str, token: str | None = None):
        self.address, self._token = address, door.token(token)
        self._link: _Link | None = None
        self._card: dict[str, str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def methods(self) -> list[MethodInfo]:
        """Every registered method. Raises `EngineError`."""
        return await self._ask(list[MethodInfo], "methods")

    async def transforms(self) -> list[TransformInfo]:
        """Every registered transform. Raises `EngineError`."""
        return await self._ask(list[TransformInfo], "transforms")

    async def models(self) -> list[ModelInfo]:
        """The models that may be asked for. Raises `EngineError`."""
        return await self._ask(list[ModelInfo], "models")

    async def status(self) -> Status:
        """What the server runs on, and how many visitors it has. Raises `EngineError`."""
        return msgspec.structs.replace(await self._ask(Status, "status"), where=self.address)

    async def look(self, what: str, **question: Any) -> dict[str, Any]:
        """Answer the one-off question `what`. Raises `LabError`."""
        return await self._ask(dict[str, Any], "look", {"what": what, **question})

    def introduce(self, who: str, page: str) -> None:
        """Say who asks and from which page, now if there is a link, and again on each new one."""
        self._card = {"what": "hello", "who": who, "page": page}
        if self._link and not self._link.over:
            self._link.introduce(self._card)

    async def run(self, request: Request, window: int = WINDOW) -> AsyncIterator[Event]:
        """Opening, Step, ... Closing, at most `window` events ahead of what was pulled; 1 = strictly on demand.

        Close it, or cancel the task that pulls, to stop. Raises `LabError`; `EngineError` when the server goes away,
        and what came before stays with whoever pulled it.
        """
        check_window(window)
        start = packed(request)
        link = await self.connect()
        with link.inbox() as (id, arrived):
            over = False
            try:
                link.post(Start(id, start, window))
                while True:
                    frame = await arrived.get()
                    over = isinstance(frame, (Ended, Failed))
                    if over:
                        break
                    yield frame.event
                    link.post(Grant(id, 1))
            finally:
                if not over:
                    link.post(Cancel(id))
        if isinstance(frame, Failed):
            raise frame.error()

    @property
    def linked(self) -> bool:
        """Is there a line to the server that nobody has found broken?"""
        return self._link is not None and not self._link.over

    async def close(self) -> None:
        """Hang up; the server frees whatever was running."""
        if self._link:
            await self._link.line.close()

    async def connect(self, patience: float = PATIENCE) -> _Link:
        """The open link, made anew when there is none. Raises `EngineError` when `patience` seconds do not suffice."""
        if self._loop is not asyncio.get_running_loop():  # a link lives on the loop that made it
            self._loop, self._link, self._dialling = asyncio.get_running_loop(), None, asyncio.Lock()
        async with self._dialling:  # whoever waits here finds the link made meanwhile
            if self._link is None or self._link.over:
                self._link = _Link(await _dial(self.address, self._token, patience), self.address)
                if self._card:
                    self._link.introduce(self._card)
            return self._link

    async def _ask(self, kind: type[T], verb: str, question: dict[str, Any] | None = None) -> T:
        link = await self.connect()
        with link.inbox() as (id, arrived):
            try:
                link.post(Ask(id, verb, question or {}))
            except (TypeError, OverflowError, UnicodeError) as wrong:
                raise EngineError(f"The question cannot be sent ({wrong}): ask with numbers, text and lists.") from None
            frame = await arrived.get()
        if isinstance(frame, Failed):
            raise frame.error()
        return msgspec.msgpack.decode(frame.value, type=kind)


class _Link:
    """One open connection: a reader that sorts what arrives into the inboxes of the runs and questions under way."""

    def __init__(self, line: ClientConnection, address: str):
        self.line, self.address = line, address
        self.over: EngineError | None = None  # why nothing will come any more
        self._inboxes: dict[int, asyncio.Queue[FromEngine]] = {}
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._tasks = asyncio.create_task(self._read()), asyncio.create_task(self._write())

    @contextlib.contextmanager
    def inbox(self):
        """A new number and the queue of what arrives under it; when the link ends that is a `Failed`."""
        id, arrived = next(self._numbers), asyncio.Queue()
        self._inboxes[id] = arrived
        if self.over:
            arrived.put_nowait(Failed.of(id, self.over))
        try:
            yield id, arrived
        finally:
            del self._inboxes[id]

    def post(self, frame: FromVisitor) -> None:
        """Send without waiting, so that it works in a cancelled task, and in the order of the calls.

        When the link is over nothing is sent; the inbox tells.
        """
        self._outbox.put_nowait(frames.pack(frame))

    def introduce(self, card: dict[str, str]) -> None:
        """Say who is at this end; the answer has no inbox and is dropped."""
        self.post(Ask(next(self._numbers), "look", card))

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionClosed):  # the reader tells everybody
            while True:
                await self.line.send(await self._outbox.get())

    async def _read(self) -> None:
        try:
            async for data in self.line:
                frame = frames.from_engine(data)
                if arrived := self._inboxes.get(frame.id):
                    arrived.put_nowait(frame)
        except ConnectionClosed:
            pass
        except EngineError as unreadable:
            self.over = unreadable
        self.over = self.over or self._why()
        for id, arrived in self._inboxes.items():
            arrived.put_nowait(Failed.of(id, self.over))
        self._tasks[1].cancel()
        await self.line.close()

    def _why(self) -> EngineError:
        """Why the line is closed, as the person should read it."""
        if self.line.close_code == TOO_LARGE:
            return EngineError(f"The engine at {self.address} takes no request of this size: shorten the prompt.")
        if self.line.close_code in (GOING_AWAY, REFUSED, TRY_LATER) and self.line.close_reason:
            return EngineError(self.line.close_reason)
        return EngineError(f"The engine at {self.address} went away: ask again, it reconnects by itself.")


async def _dial(address: str, token: str, patience: float) -> ClientConnection:
    """Connect, again and again for `patience` seconds. Raises `NobodyThere`, or `EngineError` when somebody refuses."""
    deadline, wait = time.monotonic() + patience, FIRST_WAIT
    while True:
        try:
            return await connect(
                f"ws://{address}{PATH}",
                additional_headers=door.header(token),
                compression=None,
                proxy=None,  # the engine is ours; a proxy of the environment knows nothing of it
                max_size=LARGEST_FILE,
                open_timeout=ANSWER_WITHIN,
                ping_interval=PING_SECONDS,
                ping_timeout=PONG_SECONDS,
            )
        except InvalidStatus as refused:
            status = refused.response.status_code
            told = f"What answers at {address} is no engine of this lab (HTTP {status}): check the address."
            if status == FORBIDDEN:
                told = f"The engine at {address} wants its token: set {door.TOKEN} to the one it was started with."
            raise EngineError(told) from None
        except (OSError, TimeoutError, InvalidHandshake):
            if time.monotonic() + wait > deadline:
                raise NobodyThere(f"No engine answers at {address}: start one with `labkit engine`.") from None
        await asyncio.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)
