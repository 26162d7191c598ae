"""Two things that only a real page can prove: that it comes back over a broken network, and that it shows what it missed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from proxy import Proxy

from tests.browser.conftest import chromium, new_page, page  # noqa: F401

expect.set_options(timeout=60_000)


@pytest.fixture
def network(lab) -> Iterator[tuple[str, callable]]:
    """The address of the lab behind a network, and `do("cut", ...)` to call its verbs; it lives in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def verb(name: str, *arguments):
        getattr(proxy, name)(*arguments)

    def wait(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    proxy = Proxy(lab.port)
    wait(proxy.__aenter__())
    yield proxy.url, lambda name, *arguments: wait(verb(name, *arguments))
    wait(proxy.__aexit__())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.mark.parametrize("half", [False, True], ids=["cut", "half cut"])
def test_a_page_comes_back_and_shows_what_it_missed(page, network, half):  # noqa: F811
    url, do = network
    page.goto(f"{url}voila/render/02_draft_trees.ipynb")
    bench = page.locator(".tl[data-ready]").first
    expect(bench).to_have_attribute("data-steps", "15")
    expect(bench).to_have_attribute("data-state", "stopped")
    bench.get_by_role("button", name="Run", exact=True).click()
    expect(bench).to_have_attribute("data-state", "running")
    do("cut", half)
    status = page.get_by_role("status").filter(has_text="line to the server is broken")
    expect(status).to_be_visible()
    page.wait_for_timeout(3000)
    do("mend")
    expect(status).to_be_hidden()
    expect(bench).to_have_attribute("data-state", "done")
    tokens = page.locator(".tl-lane").first.locator("[data-id]")
    prompt = page.locator(".tl-lane").first.locator(".prompt")
    assert tokens.count() - prompt.count() == 64
    page.complaints.clear()  # the browser writes every failed attempt down
