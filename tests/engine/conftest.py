"""A fake decoder that counts what it computed and freed, and an engine server that runs beside the test in its loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from types import SimpleNamespace

import pytest
import uvicorn

from labkit.engine.limits import Limits
from labkit.engine.local import LocalEngine
from labkit.engine.remote import RemoteEngine
from labkit.engine.server import app, config, listen
from labkit.errors import PromptError
from labkit.trace import Belief, Closing, Cost, Opening, Request, Step


class Decoder:
    """Yields as many steps as tokens were asked for. The seed names the run: `order` says whose step came when."""

    def __init__(self, seconds: float = 0.0):
        self.seconds = seconds  # how long a step takes
        self.order: list[int] = []
        self.opened = self.freed = 0
        self.fail: dict[int, Exception] = {}  # step number -> what it raises
        self.gate = threading.Event()  # while it is down, a step is not over
        self.gate.set()
        self.waiting = 0  # steps under way

    def __call__(self, pair, request: Request):
        self.opened += 1
        try:
            yield Opening(request, prompt_ids=[1, 2], pieces={1: "a", 2: "b"}, target="fake")
            for number in range(request.max_new_tokens):
                if trouble := self.fail.get(number):
                    raise trouble
                self.waiting += 1
                time.sleep(self.seconds)
                self.gate.wait(30)
                self.waiting -= 1
                self.order.append(request.seed)
                belief = Belief(number, 0.5, -0.1, 0, [number, 7], [-0.1, -2.0])
                yield Step([number], beliefs=[belief], cost=Cost(1, 1), pieces={number: f"t{number}", 7: "seven"})
            yield Closing("length", "text")
        finally:
            self.freed += 1


def fake_pair(target: str, draft: str):
    if draft == "none":
        raise PromptError("A loader can say no: choose a draft.")
    runner = SimpleNamespace(device="cpu", dtype="torch.float32", vocabulary=10, context=64)
    vocabulary = SimpleNamespace(encode=lambda text: list(text.encode()), pieces=lambda ids: {i: str(i) for i in ids})
    return SimpleNamespace(target=runner, vocabulary=vocabulary, target_name=target, draft_name=draft)


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
