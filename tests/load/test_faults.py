"""What classes do to a lab: engines and kernels die, tabs close, networks break. Nothing is lost, nothing stays."""

from __future__ import annotations

import asyncio
import os
import time

import psutil
import pytest
from proxy import Proxy

from labkit.trace import loads

PATIENCE = 60  # seconds, on a machine that may be busy with other things
THOROUGH = bool(os.environ.get("LABKIT_THOROUGH"))
DOWN = 30 if THOROUGH else 4  # seconds that a network is gone; no limit in between changes anything
LONG = {"max_new_tokens": 900, "temperature": 0.8, "seed": 3}


async def written(seat) -> list[int]:
    """The new tokens of the bench's trace, as the page would save it."""
    return loads(await seat.trace()).ids


async def begun(come, steps: int = 5, **where):
    """A visitor in the middle of a long run, and the bench that writes it."""
    visitor = await come(**where)
    seat = visitor.seats[0]
    await seat.change(**LONG)
    assert await seat.run(steps)
    return visitor, seat


async def to_the_end(visitor, seat) -> list[int]:
    """Run on until the text ends, pressing Retry like a person; the new tokens."""
    async with asyncio.timeout(PATIENCE):
        while not seat.lane.ended:
            if seat.lane.error:
                seat.post("retry")
            elif not seat.busy:
                seat.post("run")
            await asyncio.sleep(0.3)
    await seat.quiet()
    return await written(seat)


def test_an_engine_that_is_killed_is_told_by_every_bench_and_taken_up_again(lab, visit):
    """kill -9 in mid-run; the launcher starts another. What was written stays, and the whole text is what it would have been."""

    async def test(come):
        undisturbed = await come()
        await undisturbed.seats[0].change(**LONG)
        expected = await to_the_end(undisturbed, undisturbed.seats[0])
        visitor, seat = await begun(come, 20)
        before, engine = seat.lane.steps, lab.process("engine")
        start = time.monotonic()
        lab.launcher.suspend()  # else the next engine may be there before anybody has missed this one
        engine.kill()
        try:
            await visitor.until(lambda: all(one.health for one in visitor.seats), "the alarm on every bench", PATIENCE)
        finally:
            lab.launcher.resume()
        print(f"all {len(visitor.seats)} benches said so after {time.monotonic() - start:.1f} s")
        assert "127.0.0.1" in seat.health or "does not answer" in seat.health
        kept = await written(seat)
        assert len(kept) >= before and kept == expected[: len(kept)]
        await visitor.until(lambda: not any(one.health for one in visitor.seats), "the new engine", PATIENCE)
        assert lab.process("engine").pid != engine.pid
        assert await to_the_end(visitor, seat) == expected

    visit(test)


def test_a_kernel_that_is_killed_is_told_and_its_runs_are_freed(lab, visit):
    async def test(come):
        visitor, _ = await begun(come)
        assert await lab.running()
        lab.kernel(visitor).kill()
        async with asyncio.timeout(PATIENCE):
            while not visitor.over:  # the page says that its session has ended
                await asyncio.sleep(0.1)
        await lab.freed()

    visit(test)


def test_a_tab_that_closes_takes_its_kernel_and_its_runs_along(lab, visit):
    async def test(come):
        visitor, _ = await begun(come)
        kernel = lab.kernel(visitor)
        await visitor.leave()
        _, alive = await asyncio.to_thread(psutil.wait_procs, [kernel], PATIENCE)
        assert not alive
        await lab.freed()

    visit(test)


@pytest.mark.parametrize("after", ["a word", "no word"] if THOROUGH else ["a word"])  # the second waits for a page to be missed
def test_a_page_that_vanishes_holds_nothing_and_finds_all_when_it_comes_back(lab, visit, after):
    """As a laptop that is shut: its kernel stays for a while, what it held in the engine does not; then it goes on."""

    async def test(come):
        async with Proxy(lab.port) as network:
            visitor, seat = await begun(come, url=network.url)
            kernel = lab.kernel(visitor)
            seat.post("stop")
            await seat.quiet()
            before = seat.lane.steps
            assert 0 < before < LONG["max_new_tokens"] and await lab.running()
            network.cut(half=after == "no word")
            start = time.monotonic()
            await lab.freed()
            print(f"freed {time.monotonic() - start:.1f} s after the page was gone")
            network.mend()
            mended = visitor.clock()
            await visitor.until(lambda: visitor.heard > mended, "the line that stands again", PATIENCE)
            await seat.quiet()
            assert lab.kernel(visitor) == kernel and seat.lane.steps == before
            seat.post("step")
            await visitor.until(lambda: seat.lane.steps == before + 1, "a step behind what was kept", PATIENCE)
            await seat.quiet()
            await visitor.leave()

    visit(test)


@pytest.mark.parametrize("how", ["held", "cut", "half cut"])
def test_a_network_that_was_gone_costs_nothing(lab, visit, how):
    """Bytes wait; or lines break and none is taken; or the lab does not even hear that they broke. The run goes on meanwhile."""

    async def test(come):
        async with Proxy(lab.port) as network:
            visitor, seat = await begun(come, url=network.url)
            kernel = lab.kernel(visitor)
            network.hold() if how == "held" else network.cut(half=how == "half cut")
            await asyncio.sleep(1)
            before = seat.lane.steps  # with what was on its way
            await asyncio.sleep(DOWN - 1)
            assert seat.lane.steps == before < LONG["max_new_tokens"] and not visitor.over
            network.let() if how == "held" else network.mend()
            await visitor.until(lambda: seat.lane.ended and not seat.busy, "the run that went on meanwhile", PATIENCE)
            trace = loads(await seat.trace())
            assert seat.lane.steps == len(trace.steps) == LONG["max_new_tokens"]
            assert bool(visitor.lost) == (how != "held")
            assert lab.kernel(visitor) == kernel and not visitor.trouble
            await seat.change(seed=4)
            await visitor.leave()

    visit(test)


def test_two_tabs_of_one_visitor_are_two_pages(lab, visit):
    async def test(come):
        first, second = await come("02_draft_trees.ipynb"), await come("02_draft_trees.ipynb")
        assert first.kernel != second.kernel
        await first.seats[0].change(seed=5, temperature=1.0)
        await first.seats[0].quiet()
        before = second.seats[0].lane.steps
        assert await first.seats[0].step() and second.seats[0].lane.steps == before
        await first.leave()
        assert await second.seats[0].step()
        assert second.seats[0].lane.steps == before + 1 and not second.trouble

    visit(test)
