"""Choosing an engine, losing it and finding it again; and what a notebook's process never loads."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import labkit.engine
from labkit.engine import client
from labkit.engine.client import choose
from labkit.engine.local import LocalEngine
from labkit.engine.remote import RemoteEngine
from labkit.engine.server import listen
from labkit.errors import EngineError
from labkit.trace import Step

HEAVY = "[name for name in ('torch', 'numpy', 'pandas', 'transformers') if name in sys.modules]"
ROOT = Path(labkit.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parents[1]}"}

# The server's own `main`, with the fake decoder in place of models; without them it does not wait for torch either.
SERVER = """
from fake_decoder import Decoder, fake_pair
from labkit.engine import local, server
server.LocalEngine = lambda limits: local.LocalEngine(Decoder(0.01), fake_pair, limits)
local._names = lambda target, draft: (target or "lab-target", draft or "lab-draft")
server.main(port=PORT)
"""


def free_port() -> int:
    with listen("127.0.0.1", 0) as listening:
        return listening.getsockname()[1]


class Process:
    """An engine server in a process of its own, until the block ends."""

    def __init__(self, port: int):
        script = SERVER.replace("PORT", str(port))
        command = [sys.executable, "-c", script]
        self.child = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()


@pytest.fixture(autouse=True)
def nobody_at_the_default_address(monkeypatch):
    monkeypatch.delenv("LABKIT_ENGINE", raising=False)
    monkeypatch.setattr(client, "DEFAULT_ADDRESS", f"127.0.0.1:{free_port()}")


def test_the_near_side_is_light():
    modules = "labkit.engine, labkit.engine.client, labkit.engine.remote, labkit.engine.protocol"
    script = f"import sys, {modules}; labkit.engine.connect(); print({HEAVY})"
    answer = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_it_stays_light_while_a_server_does_the_work(serving):
    script = f"""
import asyncio, sys
from labkit.engine import connect
from labkit.trace import Request
async def work():
    engine = connect()
    events = [event async for event in engine.run(Request(method="fake", prompt="a", max_new_tokens=3))]
    print(len(events), (await engine.status()).where, {HEAVY})
asyncio.run(work())
"""

    async def play():
        async with serving() as (engine, _):
            environment = {**ENVIRONMENT, "LABKIT_ENGINE": engine.address}
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", script, env=environment, stdout=subprocess.PIPE
            )
            answer, _ = await child.communicate()
            assert answer.decode().strip() == f"5 {engine.address} []"

    asyncio.run(play())


@pytest.mark.parametrize("given", ["argument", "variable", "default"])
def test_a_server_that_answers_is_used(serving, monkeypatch, given):
    async def play():
        async with serving() as (remote, house):
            if given == "variable":
                monkeypatch.setenv("LABKIT_ENGINE", remote.address)
            if given == "default":
                monkeypatch.setattr(client, "DEFAULT_ADDRESS", remote.address)
            engine = choose(remote.address if given == "argument" else None)
            assert not house.visitors  # nothing is opened before the first request
            assert (await engine.status()).where == remote.address
            await engine.close()

    asyncio.run(play())


def test_without_a_server_this_process_does_the_work(monkeypatch):
    monkeypatch.setattr(client, "FIRST_PATIENCE", 0.2)

    async def play():
        for address in (None, "here", f"127.0.0.1:{free_port()}"):
            engine = choose(address)
            assert (await engine.status()).where == "this process"
            assert isinstance(engine._engine, LocalEngine)
            await engine.close()

    asyncio.run(play())


def test_first_requests_at_once_choose_once(serving):
    async def play():
        async with serving() as (remote, house):
            engine = choose(remote.address)
            await asyncio.gather(engine.methods(), engine.models(), engine.status())
            assert len(house.visitors) == 1
            await engine.close()
        engine = choose("here")
        await asyncio.gather(engine.status(), engine.status())
        await engine.close()

    asyncio.run(play())


def test_a_named_server_may_still_be_starting(serving):
    async def play():
        port = free_port()
        engine = choose(f"127.0.0.1:{port}")
        asking = asyncio.create_task(engine.status())
        await asyncio.sleep(0.3)
        async with serving(port=port):
            assert (await asking).where == f"127.0.0.1:{port}"
            await engine.close()

    asyncio.run(play())


def test_something_else_at_a_named_address_is_an_error():
    async def no_engine(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def play():
        other = await asyncio.start_server(no_engine, "127.0.0.1", 0)
        address = f"127.0.0.1:{other.sockets[0].getsockname()[1]}"
        with pytest.raises(EngineError, match="no engine of this lab .HTTP 404.: check the address"):
            await choose(address).status()
        other.close()

    asyncio.run(play())


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999", "a:b:c", ":8765", "http://", "[::1"])
def test_an_address_that_is_none(address):
    with pytest.raises(EngineError, match="write it as host:port"):
        choose(address)


@pytest.mark.parametrize("typed", ["localhost:80", "ws://localhost:80/", "http://localhost:80"])
def test_addresses_people_type(typed):
    assert choose(typed)._address == "localhost:80"
    assert choose("[::1]:80")._address == "[::1]:80"


def test_a_taken_port_is_one_sentence():
    with listen("127.0.0.1", 0) as listening:
        with pytest.raises(EngineError, match="cannot listen on 127.0.0.1:.*choose another port"):
            listen("127.0.0.1", listening.getsockname()[1])


def test_a_killed_server_is_noticed_and_found_again(ask, monkeypatch):
    monkeypatch.setattr("labkit.engine.remote.PONG_SECONDS", 1000)  # it is the broken line that tells, not a late pong
    port = free_port()

    async def play():
        with Process(port) as first:
            engine = RemoteEngine(f"127.0.0.1:{port}")
            await engine.connect(patience=20)
            seen = []
            with pytest.raises(EngineError, match="went away: ask again"):
                async for event in engine.run(ask(1000)):
                    seen.append(event)
                    if len(seen) == 6:
                        first.child.send_signal(signal.SIGKILL)
            assert len([event for event in seen if isinstance(event, Step)]) >= 5  # what came before is kept
        again = asyncio.create_task(engine.connect(patience=20))
        await asyncio.sleep(0.3)
        with Process(port) as second:
            await again
            assert len([event async for event in engine.run(ask(5))]) == 7
            await engine.close()
            second.child.send_signal(signal.SIGINT)  # Ctrl-C: an orderly end without a traceback
            assert second.child.wait(10) == 0
            assert second.child.stdout.read().strip() == f"labkit engine: ws://127.0.0.1:{port}/engine/1"

    asyncio.run(play())


def test_a_server_that_stays_away_is_one_sentence():
    async def play():
        with pytest.raises(EngineError, match="No engine answers at 127.0.0.1:.*labkit engine"):
            await RemoteEngine(f"127.0.0.1:{free_port()}").connect(patience=0.3)

    asyncio.run(play())
