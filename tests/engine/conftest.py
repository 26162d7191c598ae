"""An engine server that runs beside the test in its loop, with a fake decoder."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import uvicorn
from fake_decoder import Decoder, fake_pair

from labkit.engine.limits import Limits
from labkit.engine.local import LocalEngine
from labkit.engine.remote import RemoteEngine
from labkit.engine.server import app, config, listen
from labkit.trace import Request


@pytest.fixture
def decoder() -> Decoder:
    return Decoder()


@pytest.fixture
def ask():
    """A request for `tokens` steps of the fake decoder."""

    def request(tokens=5, **more):
        return Request(**{"method": "fake", "prompt": "ab", "max_new_tokens": tokens, **more})

    return request


@pytest.fixture
def local(decoder):
    """A maker of engines in this process that run the fake decoder."""
    return lambda **limits: LocalEngine(decoder, fake_pair, Limits(**limits))


@pytest.fixture
def serving(local):
    """`async with serving(...) as (remote engine, house)`: a server on a free port, with the given limits and token."""

    @contextlib.asynccontextmanager
    async def serve(given=None, port=0, token="", **limits):
        engine = given or local(**limits)
        application = app(engine, engine.limits, token)
        listening = listen("127.0.0.1", port)
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(config(application, engine.limits))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        remote = RemoteEngine(address, token)
        try:
            yield remote, application.state.house
        finally:
            await remote.close()
            server.should_exit = True
            await task
            if not given:
                await engine.close()

    return serve


@pytest.fixture
def until():
    """Wait until `question()` is true; fail after ten seconds."""

    async def wait(question):
        async with asyncio.timeout(10):
            while not question():
                await asyncio.sleep(0.005)

    return wait


@pytest.fixture
def collect():
    """A task that pulls every event of a run."""

    async def gather(events):
        return [event async for event in events]

    return lambda events: asyncio.ensure_future(gather(events))
