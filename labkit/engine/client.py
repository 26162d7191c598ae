"""The engine as notebooks hold it: a server's when one answers, else the one in this process. Imports no torch."""

from __future__ import annotations

import asyncio
import os
from typing import Any, AsyncIterator
from urllib.parse import urlsplit

from labkit.engine.frames import DEFAULT_ADDRESS
from labkit.engine.limits import WINDOW
from labkit.engine.protocol import Engine, MethodInfo, ModelInfo, Status, TransformInfo
from labkit.engine.remote import NobodyThere, RemoteEngine
from labkit.errors import EngineError
from labkit.trace import Event, Request

HERE = "here"  # the "address" of the engine in this process
FIRST_PATIENCE = 5.0  # seconds for a server that was named and may still be starting


def choose(address: str | None = None) -> Engine:
    """A lazy engine: the first request looks for the server at `address`, `LABKIT_ENGINE` or the default address.

    "here" means this process at once. Raises `EngineError` when the address is none.
    """
    address = address or os.environ.get("LABKIT_ENGINE") or None
    return LazyEngine(address if address in (None, HERE) else _parse(address))


def _parse(address: str) -> str:
    """host:port of an address typed by a person."""
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise EngineError(f"The engine's address is {address!r}: write it as host:port, for example {DEFAULT_ADDRESS}.")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class LazyEngine:
    """Chooses with the first request, once: a server that answers, else this process."""

    def __init__(self, address: str | None):
        self._address = address
        self._engine: Engine | None = None
        self._choosing = asyncio.Lock()
        self._card: tuple[str, str] | None = None

    async def _chosen(self) -> Engine:
        if self._engine is None:
            async with self._choosing:  # a page asks several things at once; they must not load the models twice
                self._engine = self._engine or await self._look_around()
                if self._card:
                    self._engine.introduce(*self._card)
        return self._engine

    async def _look_around(self) -> Engine:
        if self._address != HERE:
            server = RemoteEngine(self._address or DEFAULT_ADDRESS)
            try:
                await server.connect(FIRST_PATIENCE if self._address else 0)
                return server
            except NobodyThere:
                pass
            except EngineError:
                if self._address:  # somebody named it, so somebody can mend it
                    raise
        from labkit.engine.local import LocalEngine

        return LocalEngine()

    async def methods(self) -> list[MethodInfo]:
        """Every registered method. Raises `EngineError`."""
        return await (await self._chosen()).methods()

    async def transforms(self) -> list[TransformInfo]:
        """Every registered transform. Raises `EngineError`."""
        return await (await self._chosen()).transforms()

    async def models(self) -> list[ModelInfo]:
        """The models that may be asked for. Raises `EngineError`."""
        return await (await self._chosen()).models()

    async def status(self) -> Status:
        """Which engine this is and what it runs on. Raises `EngineError`."""
        return await (await self._chosen()).status()

    async def look(self, what: str, **question: Any) -> dict[str, Any]:
        """Answer the one-off question `what`. Raises `LabError`."""
        return await (await self._chosen()).look(what, **question)

    async def run(self, request: Request, window: int = WINDOW) -> AsyncIterator[Event]:
        """Opening, Step, ... Closing, at most `window` events ahead of what was pulled; 1 = strictly on demand.

        Close it, or cancel the task that pulls, to stop; use `contextlib.aclosing` when the loop may be left early.
        Raises `LabError`.
        """
        events = (await self._chosen()).run(request, window)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()

    def introduce(self, who: str, page: str) -> None:
        """Say who asks and from which page, now or with the first request."""
        self._card = who, page
        if self._engine is not None:
            self._engine.introduce(who, page)

    @property
    def linked(self) -> bool:
        """Is the engine a server's, and the line to it whole?"""
        return getattr(self._engine, "linked", False)

    async def close(self) -> None:
        """Let the connection, or the models in this process, go."""
        if self._engine is not None:
            await self._engine.close()
