"""A network between a page and the lab that can be stopped: bytes wait in it, or its lines break, on one side or on both."""

from __future__ import annotations

import asyncio
import contextlib


class Proxy:
    """Forwards TCP from a free port of 127.0.0.1 to `port`, while it is `up`. Use it with `async with`."""

    def __init__(self, port: int):
        self._port = port
        self._flows = asyncio.Event()
        self._flows.set()
        self._up = True
        self._lines: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter, list[asyncio.Task]]] = []
        self._left: list[asyncio.StreamWriter] = []  # far ends that were never told

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_) -> None:
        self.cut()
        for far in self._left:
            far.transport.abort()
        self._server.close()

    def hold(self) -> None:
        """No byte goes through; no line breaks."""
        self._flows.clear()

    def let(self) -> None:
        """All goes through again, what waited first."""
        self._flows.set()

    def cut(self, half: bool = False) -> None:
        """Break all lines and refuse new ones. `half`: the lab is not told, as when a machine just vanishes from the air."""
        self._up = False
        for near, far, pipes in self._lines:
            for pipe in pipes:
                pipe.cancel()
            near.transport.abort()
            if half:
                self._left.append(far)
            else:
                far.transport.abort()
        self._lines.clear()

    def mend(self) -> None:
        """Take new lines again."""
        self._up = True

    async def _accept(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        if not self._up:
            near.transport.abort()
            return
        answers, far = await asyncio.open_connection("127.0.0.1", self._port)
        pipes = [asyncio.create_task(self._pipe(reader, far)), asyncio.create_task(self._pipe(answers, near))]
        self._lines.append((near, far, pipes))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
            writer.close()
