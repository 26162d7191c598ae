"""Under the socket: who dawdles is sent away, and for who does not read nothing is kept, however it sends."""

import asyncio
import contextlib
import os
import socket
import struct

import pytest

from labkit.engine import frames, lines, server
from labkit.engine.frames import PATH, Ask, Start
from labkit.engine.limits import packed

PING, CONTINUED, BINARY = 0x89, 0x00, 0x02


def framed(first: int, data: bytes = b"") -> bytes:
    """A WebSocket frame as a client sends it; the mask is zero."""
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
    return bytes([first]) + size + bytes(4) + data

QUESTION = framed(0x80 | BINARY, frames.pack(Ask(0, "look", {"what": "tokens", "text": "é" * 30_000})))
MANY = 150  # answers: more than the buffers of two sockets hold
ROOMY = {"max_prompt_tokens": 2**20, "max_questions_per_visitor": MANY}

class Raw:
    """A client that reads when it is told to, and only then."""

    def __init__(self, address: str):
        host, port = address.split(":")
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.setblocking(False)
        self.where = host, int(port)

    async def __aenter__(self):
        self.loop = asyncio.get_running_loop()
        await self.loop.sock_connect(self.socket, self.where)
        return self

    async def __aexit__(self, *_):
        self.socket.close()

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.socket, data)

    async def handshake(self) -> None:
        head = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        head += "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        await self.send(head.encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await self.loop.sock_recv(self.socket, 1)
        assert b" 101 " in answer

    async def rest(self) -> bytes:
        """Everything until the other side is gone."""
        data = b""
        with contextlib.suppress(ConnectionError):
            while more := await self.loop.sock_recv(self.socket, 2**16):
                data += more
        return data


@pytest.fixture
def held(monkeypatch):
    """The lines a server holds, as they are made."""
    found = []

    class Watched(lines.Line):
        def connection_made(self, transport):
            found.append(self)
            super().connection_made(transport)

    monkeypatch.setattr(server, "Line", Watched)
    return found


def test_who_never_asks_is_sent_away(serving, monkeypatch):
    monkeypatch.setattr(lines, "PUNCTUAL", 0.2)

    async def play():
        async with serving() as (engine, _):
            async with Raw(engine.address) as silent, Raw(engine.address) as slow:
                await slow.send(b"GET / HTTP/1.1\r\nHost: ")
                async with asyncio.timeout(10):
                    assert await silent.rest() == b"" and await slow.rest() == b""
            link = await engine.connect()
            await asyncio.sleep(0.5)
            assert not link.over  # a visitor is no such

    asyncio.run(play())


def test_beyond_the_hall_nobody_waits(serving, monkeypatch):
    monkeypatch.setattr(server, "STRANGERS", 3)

    async def play():
        async with serving(max_visitors=2) as (engine, _), contextlib.AsyncExitStack() as waiting:
            await engine.status()
            for _ in range(4):
                await waiting.enter_async_context(Raw(engine.address))
            last = await waiting.enter_async_context(Raw(engine.address))
            async with asyncio.timeout(10):
                assert await last.rest() == b""
            assert (await engine.status()).visitors == 1

    asyncio.run(play())


def test_pings_without_reading_pile_nothing_up(serving, held):
    async def play():
        async with serving() as (engine, _), Raw(engine.address) as client:
            await client.handshake()
            pings = framed(PING, bytes(125)) * 1000
            for _ in range(100):  # 13 MB of pongs to be had
                await client.send(pings)
            await asyncio.sleep(0.1)
            (line,) = held
            assert line.transport.get_write_buffer_size() < 2**20
            await engine.status()

    asyncio.run(play())


def test_who_does_not_read_is_sent_away_with_what_it_had(serving, held, local, monkeypatch, until, ask):
    monkeypatch.setattr(server, "PING_SECONDS", 0.2)
    monkeypatch.setattr(server, "PONG_SECONDS", 0.5)

    async def play():
        async with serving(**ROOMY) as (engine, house), Raw(engine.address) as client:
            await client.handshake()
            await client.send(framed(0x80 | BINARY, frames.pack(Start(0, packed(ask(1000)), 8))))
            asking = asyncio.create_task(client.send(QUESTION * MANY))
            (line,) = held
            await until(lambda: line.transport.get_write_buffer_size() > 2**16)
            await until(lambda: not house.visitors and not house.engine.running)
            await until(lambda: line.disconnected)
            asking.cancel()
            await engine.status()

    asyncio.run(play())


def test_who_leaves_its_last_answers_unread_is_not_waited_for(serving, held, monkeypatch, until):
    monkeypatch.setattr(lines, "PUNCTUAL", 0.3)

    async def play():
        async with serving(**ROOMY) as (engine, house), Raw(engine.address) as client:
            await client.handshake()
            await client.send(QUESTION * MANY)
            (line,) = held
            await until(lambda: line.transport.get_write_buffer_size() > 2**16)
            await client.send(framed(0x88, struct.pack(">H", 1000)))  # goodbye, and it reads no further
            await until(lambda: line.disconnected)
            assert not house.visitors

    asyncio.run(play())


def test_fragments_without_end_are_refused_with_a_reason(serving, until):
    async def play():
        async with serving() as (engine, house), Raw(engine.address) as client:
            await client.handshake()
            with contextlib.suppress(ConnectionError):
                await client.send(framed(BINARY) + framed(CONTINUED) * 5000)
            async with asyncio.timeout(10):
                assert b"more than 1,000 fragments: send it whole" in await client.rest()
            await until(lambda: not house.visitors)

    asyncio.run(play())


def test_a_message_in_a_few_fragments_is_taken(serving):
    async def play():
        async with serving() as (engine, _), Raw(engine.address) as client:
            await client.handshake()
            data = frames.pack(Ask(7, "status"))
            await client.send(framed(BINARY, data[:5]) + framed(CONTINUED, data[5:9]) + framed(0x80, data[9:]))
            assert b"this process" in await client.loop.sock_recv(client.socket, 4096)

    asyncio.run(play())


def test_rubbish_that_goes_on_is_read_away_so_that_the_reason_arrives(serving):
    async def play():
        async with serving(max_frame_bytes=4096) as (engine, _), Raw(engine.address) as client:
            await client.handshake()
            with contextlib.suppress(ConnectionError):
                await client.send(framed(0x80 | BINARY, os.urandom(50_000)) * 40)
            async with asyncio.timeout(10):
                assert struct.pack(">H", 1009) in await client.rest()

    asyncio.run(play())
