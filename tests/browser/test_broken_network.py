"""Two things that only a real page can prove: that it comes back over a broken network, and that it shows what it missed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.load.proxy import Proxy

LONG = 60_000  # milliseconds: a broken line has to be noticed first
CELL = "from labkit.ui import Bench\nBench.draft_trees('def read(path):', method='plain', max_new_tokens=1000, autorun=5)"


@pytest.fixture
def network(voila) -> Iterator[tuple[str, callable]]:
    """The address of the dashboards behind a network, and `do("cut", ...)` to call its verbs; it lives in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def verb(name: str, *arguments):
        getattr(proxy, name)(*arguments)

    def wait(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    proxy = Proxy(urlsplit(voila).port)
    wait(proxy.__aenter__())
    yield proxy.url, lambda name, *arguments: wait(verb(name, *arguments))
    wait(proxy.__aexit__())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.mark.parametrize("half", [False, True], ids=["cut", "half cut"])
def test_a_page_comes_back_and_shows_what_it_missed(page, network, write_notebook, half):
    url, do = network
    write_notebook("long.ipynb", [CELL])
    page.goto(f"{url}voila/render/long.ipynb")
    bench = page.locator(".tl[data-ready]").first
    expect(bench).to_have_attribute("data-steps", "5", timeout=LONG)
    expect(bench).to_have_attribute("data-state", "stopped")
    bench.get_by_role("button", name="Run", exact=True).click()
    expect(bench).to_have_attribute("data-state", "running")
    do("cut", half)
    status = page.get_by_role("status").filter(has_text="line to the server is broken")
    expect(status).to_be_visible(timeout=LONG)
    page.wait_for_timeout(3000)
    do("mend")
    expect(status).to_be_hidden(timeout=LONG)
    expect(bench).to_have_attribute("data-state", "done", timeout=LONG)
    expect(bench).to_have_attribute("data-steps", "1000")
    lane = page.locator(".tl-lane").first
    assert lane.locator("[data-id]").count() - lane.locator(".prompt").count() == 1000
    page.complaints.clear()  # the browser writes every failed attempt down
