"""One lab as `labkit lab` serves it, for simulated visitors; every test leaves it without runs and without their kernels."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable

import psutil
import pytest

from labkit.bench.visitor import Visitor
from labkit.engine.remote import RemoteEngine
from labkit.host import launch

FREED = 60  # seconds until the engine must have freed what nobody wants any more


class Lab:
    """A launcher with its engine and its Voila."""

    def __init__(self, launcher: int, port: int, engine_port: int):
        self.launcher, self.port = psutil.Process(launcher), port
        self.url, self.engine = f"http://127.0.0.1:{port}/", f"127.0.0.1:{engine_port}"

    def process(self, word: str) -> psutil.Process:
        """The launcher's child with `word` in its command line."""
        return next(child for child in self.launcher.children() if word in child.cmdline())

    def kernel(self, visitor: Visitor) -> psutil.Process:
        """The process of a visitor's kernel."""
        kernels = self.process("labkit.host.dashboards").children()
        return next(one for one in kernels if any(visitor.kernel in word for word in one.cmdline()))

    async def running(self) -> int:
        """How many runs hold a cache in the engine."""
        engine = RemoteEngine(self.engine)
        try:
            return (await engine.status()).running
        finally:
            await engine.close()

    async def freed(self) -> None:
        """Wait until the engine holds no run, and that must come in time."""
        async with asyncio.timeout(FREED):
            while await self.running():
                await asyncio.sleep(0.3)


@pytest.fixture(scope="session")
def lab():
    """The lab of this folder's tests; no kernels are kept warm."""
    port, engine_port = launch.free_port(), launch.free_port()
    command = [sys.executable, "-m", "labkit.cli", "lab", f"--port={port}", f"--engine-port={engine_port}", "--pool=0"]
    environment = {name: value for name, value in os.environ.items() if name != "LABKIT_ENGINE"}
    with launch.Family() as family:
        child = family.start(command, environment)
        lab = Lab(child.pid, port, engine_port)
        launch.wait(lambda: launch.answers(lab.url) and launch.listens(engine_port), child, "The lab", 120)
        yield lab
        child.send_signal(signal.SIGTERM)
        child.wait(30)


@pytest.fixture
def visit(lab) -> Callable:
    """`run(test)` runs the coroutine function `test(come)`; `await come("01_entropy.ipynb")` opens a page, closed at the end."""

    def run(test: Callable) -> None:
        async def whole():
            came: list[Visitor] = []

            async def come(notebook: str = "01_entropy.ipynb", url: str = "") -> Visitor:
                came.append(Visitor(url or lab.url, notebook))
                await came[-1].arrive()
                await came[-1].seats[0].watch(1)
                await came[-1].seats[0].quiet()
                return came[-1]

            try:
                await test(come)
            finally:
                for visitor in came:
                    await visitor.leave()
            await lab.freed()

        asyncio.run(whole())

    return run
