"""The engine in this process: nothing is computed unasked, the loop never waits, Stop is instant."""

import asyncio
import gc
from contextlib import aclosing

import pytest

from labkit.errors import EngineError


@pytest.mark.parametrize("window", [1, 2, 4])
def test_nothing_is_computed_beyond_the_window(local, ask, decoder, window, until):
    async def play():
        engine = local()
        async with aclosing(engine.run(ask(20), window)) as events:
            for pulled in range(1, 9):
                await anext(events)
                steps = pulled - 1 + window - 1  # the opening was pulled first, and is paid for like a step
                await until(lambda steps=steps: len(decoder.order) >= steps)
                await asyncio.sleep(0.02)
                assert len(decoder.order) == steps
        await engine.close()

    asyncio.run(play())


@pytest.mark.parametrize("window", [0, 65])
def test_the_window_has_bounds(local, ask, window):
    async def play():
        with pytest.raises(EngineError, match="choose from 1 to 64"):
            await anext(local().run(ask(), window))

    asyncio.run(play())


def test_the_loop_goes_on_while_a_step_is_computed(local, ask, decoder, until):
    async def play():
        decoder.gate.clear()
        engine = local()
        events = engine.run(ask(3))
        await anext(events)
        step = asyncio.ensure_future(anext(events))
        await until(lambda: decoder.waiting)  # the loop asks this while the step is under way
        assert not step.done()
        decoder.gate.set()
        assert (await step).emitted == [0]
        await events.aclose()
        await engine.close()

    asyncio.run(play())


def test_stop_does_not_wait_for_the_step_under_way_and_frees_the_run(local, ask, decoder, until):
    async def play():
        decoder.gate.clear()
        engine = local()

        async def pull():
            async for _ in engine.run(ask(10)):
                pass

        task = asyncio.create_task(pull())
        await until(lambda: decoder.waiting)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.running == 1 and decoder.waiting and not decoder.freed
        decoder.gate.set()
        await until(lambda: engine.running == 0)
        assert decoder.freed == 1 and len(decoder.order) == 1
        await engine.close()

    asyncio.run(play())


def test_a_run_dropped_without_a_word_is_freed(local, ask, decoder, until):
    async def play():
        engine = local()
        events = engine.run(ask(100))
        await anext(events)
        del events
        gc.collect()
        await until(lambda: engine.running == 0)
        assert decoder.freed == 1
        await engine.close()

    asyncio.run(play())


def test_an_engine_serves_one_loop_after_another(local, ask, decoder):
    engine = local()

    async def count():
        return len([event async for event in engine.run(ask(3))])

    assert [asyncio.run(count()) for _ in range(3)] == [5, 5, 5]
    asyncio.run(engine.close())


def test_a_closed_engine_says_so(local, ask):
    async def play():
        engine = local()
        await engine.close()
        with pytest.raises(EngineError, match="was closed"):
            await engine.status()
        with pytest.raises(EngineError, match="was closed"):
            await anext(engine.run(ask()))

    asyncio.run(play())


def test_changing_a_request_later_changes_nothing(local, ask, decoder):
    async def play():
        engine, request = local(), ask(3)
        events = engine.run(request, 1)
        opening = await anext(events)
        request.max_new_tokens = 50
        assert opening.request.max_new_tokens == 3 and len([event async for event in events]) == 4
        await engine.close()

    asyncio.run(play())


def test_an_error_holds_no_frames(local, ask, decoder, until):
    decoder.fail = {1: ValueError("deep inside")}

    async def play():
        engine = local()
        with pytest.raises(EngineError) as failure:
            async for _ in engine.run(ask()):
                pass
        held = []
        trace = failure.value.__traceback__
        while trace:
            held.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        assert "__call__" not in held and failure.value.__cause__ is None and failure.value.__context__ is None
        await until(lambda: engine.running == 0)
        await engine.close()

    asyncio.run(play())
