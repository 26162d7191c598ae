"""The engine under Ray Serve: a bench's requests over its WebSocket, and bit for bit the traces of this process."""

from __future__ import annotations

import asyncio
import contextlib

import psutil
import pytest
import uvicorn

from labkit.cluster.join import join
from labkit.engine.local import LocalEngine
from labkit.engine.remote import RemoteEngine
from labkit.engine.server import app, config, listen
from labkit.errors import EngineError, KnobError
from labkit.trace import Request, Trace
from labkit.ui.lane import Lane

pytest.importorskip("ray")
pytest.importorskip("ray.serve")

METHODS = {"plain": {}, "lookup": {}, "chain": {"length": 3}, "dyspec": {}, "token-recycling": {}, "typical": {}}
PATIENCE = 120  # seconds for another replica, on a busy machine


async def whole(engine, request: Request) -> Trace:
    """A run to its end."""
    events = engine.run(request)
    trace = Trace(await anext(events))
    async for event in events:
        trace.add(event)
    return trace


async def again(engine, work):
    """`work()` once it can be done: a new replica takes some seconds to come."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await work()
            except EngineError:
                await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def serving(engine):
    """The engine behind uvicorn, in this loop."""
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(config(app(engine, engine.limits), engine.limits))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        remote = RemoteEngine(f"127.0.0.1:{listening.getsockname()[1]}")
        try:
            yield remote
        finally:
            await remote.close()
            server.should_exit = True
            await task


@pytest.fixture
def served(cluster):
    """The address of the engine under Ray Serve, one replica."""
    from labkit.cluster import engine

    ray = join(cluster.address)
    try:
        yield f"127.0.0.1:{engine.start(ray, '127.0.0.1', 0, (1, 1), 20)}"
        engine.end()
    finally:
        ray.shutdown()


def test_engine(served, timeless):
    async def play():
        remote, local = RemoteEngine(served), LocalEngine()
        assert {one.name for one in await remote.methods()} == {one.name for one in await local.methods()}
        assert await remote.look("tokens", text="def abc():") == await local.look("tokens", text="def abc():")
        assert (await remote.status()).target == "lab-target"
        with pytest.raises(KnobError, match="Drafted tokens is 99"):
            await whole(remote, Request(method="chain", prompt="def ", knobs={"length": 99}))

        async with serving(local) as server:
            for method, knobs in METHODS.items():
                for temperature in (0.0, 0.8):
                    more = {"max_new_tokens": 16, "temperature": temperature, "seed": 5, "keep": ["laws", "tests"]}
                    request = Request(method=method, prompt="def read(path):\n", knobs=knobs, **more)
                    here, there, beyond = [timeless(await whole(one, request)) for one in (local, server, remote)]
                    assert here == there == beyond, (method, temperature)  # every law, coin and counted cost

        async with contextlib.aclosing(remote.run(Request(method="plain", prompt="def ", max_new_tokens=512))) as events:
            await anext(events)  # Stop
        async with asyncio.timeout(PATIENCE):
            while (await remote.status()).running:
                await asyncio.sleep(0.05)

        await lost(remote)
        await remote.close()
        await local.close()

    asyncio.run(play())


async def lost(remote: RemoteEngine) -> None:
    """The replica is killed in the middle of a lane's run; the lane goes on, with the same steps, on another one."""
    request = Request(method="plain", prompt="class Queue:\n", max_new_tokens=400)
    never = asyncio.get_running_loop().create_future()
    lane = Lane("first", request)
    await lane.begin(remote, request)
    while lane.trace is None or len(lane.trace.steps) < 5:
        lane.take(await lane.pull(never))
    replicas = [child for child in psutil.Process().children(recursive=True) if "ServeReplica" in " ".join(child.cmdline()[:1])]
    assert len(replicas) == 1
    replicas[0].kill()
    with pytest.raises(EngineError, match="went away|failed"):
        while True:
            lane.take(await lane.pull(never))
    had = len(lane.trace.steps)

    async def on():
        await lane.begin(remote, request)
        while len(lane.trace.steps) < had + 5:
            lane.take(await lane.pull(never))

    await again(remote, on)
    assert 5 <= had < len(lane.trace.steps)  # `take` raises when the repeated steps differ
    await lane.drop()
