"""A bench whose page is a list: what it would be told, and a way to speak to it."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import msgspec
import pytest
from fake_engine import FakeEngine

from labkit.ui import Bench

PATIENCE = 10.0  # seconds before a test that waits for something gives up


class Page:
    """Stands where the browser would: sends messages, keeps what comes."""

    def __init__(self, bench: Bench):
        self.bench, self.heard = bench, []
        bench.send = lambda content, buffers=None: self.heard.append((content, buffers or []))

    def tell(self, message: dict[str, Any], *buffers: bytes) -> None:
        self.bench._hear(self.bench, message, list(buffers))

    def ask_for(self, verb: str, lane: int = 0, **changes: Any) -> None:
        """`verb` with the lane's request as the page would send it, some fields changed."""
        request = msgspec.to_builtins(self.bench._drive.lanes[lane].request, str_keys=True)
        self.tell({"do": verb, "lane": lane, "request": {**request, **changes}})

    def all(self, kind: str) -> list[dict[str, Any]]:
        """The messages of one kind so far."""
        told = [(content, buffers[0]) for content, buffers in self.heard if content["kind"] == kind]
        return [msgspec.json.decode(gzip.decompress(data) if content.get("packed") else data) for content, data in told]

    async def until(self, true, what: str = "") -> None:
        """Wait for a condition, or fail."""
        async with asyncio.timeout(PATIENCE):
            while not true():
                await asyncio.sleep(0.002)

    async def quiet(self) -> None:
        """Wait until nothing is going on."""
        await self.until(lambda: not self.bench._drive.jobs)

    async def do(self, verb: str, lane: int = 0, **changes: Any) -> None:
        """Ask and wait until it is done."""
        self.ask_for(verb, lane, **changes)
        await asyncio.sleep(0)
        await self.quiet()

    async def answer(self, **question: Any) -> tuple[dict[str, Any], list[bytes]]:
        """Ask a question and wait for its answer."""
        number = f"q{len(self.heard)}"
        self.tell({**question, "id": number})
        found = lambda: [(c, b) for c, b in self.heard if c.get("id") == number]  # noqa: E731
        await self.until(found)
        _, buffers = found()[0]
        return msgspec.json.decode(buffers[0]), buffers[1:]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def make(engine):
    """Makes a bench over the fake engine, and its page."""

    def make(page: str = "entropy", **settings: Any) -> Page:
        settings = {"engine": engine, "prompt": "one two three", "max_new_tokens": 12, **settings}
        return Page(Bench(page, **settings))

    return make
