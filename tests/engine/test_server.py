"""The engine across a socket: what is asked arrives, what is not wanted stops, and nobody stays behind."""

import asyncio
from contextlib import aclosing

import msgspec
import pytest

from labkit.engine import frames
from labkit.engine.limits import Limits, packed
from labkit.engine.local import LocalEngine
from labkit.engine.protocol import Status
from labkit.engine.remote import RemoteEngine
from labkit.engine.server import House
from labkit.errors import EngineError, KnobError, ModelError, PromptError
from labkit.trace import Closing, Opening, Step, Trace


def test_a_run_arrives_whole_and_in_order(serving, ask, decoder, until, collect):
    async def play():
        async with serving() as (engine, house):
            events = await collect(engine.run(ask(5)))
            assert [type(event) for event in events] == [Opening, *[Step] * 5, Closing]
            assert [event.emitted for event in events[1:-1]] == [[n] for n in range(5)]
            assert events[0].request == ask(5) and events[-1].text == "text"
            await until(lambda: house.engine.running == 0)
            assert decoder.freed == 1

    asyncio.run(play())


def test_server_and_this_process_give_the_same_trace(serving, ask, local, collect):
    async def trace(engine):
        events = await collect(engine.run(ask(6, seed=3)))
        return Trace(events[0], events[1:-1], events[-1]).dumps()

    async def play():
        async with serving() as (remote, _):
            assert await trace(remote) == await trace(local())

    asyncio.run(play())


@pytest.mark.parametrize("window", [1, 2, 4])
def test_nothing_is_computed_beyond_the_window(serving, ask, decoder, window, until):
    async def play():
        async with serving() as (engine, _):
            async with aclosing(engine.run(ask(20), window)) as events:
                for pulled in range(1, 9):
                    await anext(events)
                    steps = pulled - 1 + window - 1  # the opening was pulled first, and is paid for like a step
                    await until(lambda steps=steps: len(decoder.order) >= steps)
                    await asyncio.sleep(0.02)
                    assert len(decoder.order) == steps

    asyncio.run(play())


def test_closing_a_run_frees_it_and_stops_the_work(serving, ask, decoder, until):
    async def play():
        decoder.seconds = 0.01
        async with serving() as (engine, house):
            events = engine.run(ask(1000))
            for _ in range(5):
                await anext(events)
            await events.aclose()
            await until(lambda: house.engine.running == 0)
            assert decoder.freed == 1 and len(decoder.order) < 15

    asyncio.run(play())


def test_a_cancelled_task_does_not_wait_for_the_step_under_way(serving, ask, decoder, until, collect):
    async def play():
        decoder.gate.clear()
        async with serving() as (engine, house):
            task = collect(engine.run(ask(1000)))
            await until(lambda: decoder.waiting)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert decoder.waiting and house.engine.running == 1
            await until(lambda: not any(visitor.runs for visitor in house.visitors))
            decoder.gate.set()
            await until(lambda: decoder.freed == 1)
            assert len(decoder.order) == 1

    asyncio.run(play())


def test_a_cancel_is_acknowledged_while_the_step_goes_on(serving, ask, decoder):
    async def play():
        decoder.gate.clear()
        async with serving() as (engine, _):
            link = await engine.connect()
            with link.inbox() as (id, arrived):
                link.post(frames.Start(id, packed(ask(10)), 4))
                assert isinstance(await arrived.get(), frames.Happened)
                link.post(frames.Cancel(id))
                assert await arrived.get() == frames.Ended(id)
                assert decoder.order == []
            decoder.gate.set()

    asyncio.run(play())


def test_stop_then_run_does_not_count_the_stopped_run(serving, ask, decoder, until, collect):
    async def play():
        decoder.gate.clear()
        async with serving(max_runs_per_visitor=1) as (engine, _):
            task = collect(engine.run(ask(1000)))
            await until(lambda: decoder.waiting)
            task.cancel()
            again = collect(engine.run(ask(2)))  # in the same breath, as a bench does it
            await asyncio.sleep(0.02)
            decoder.gate.set()
            assert len(await again) == 4

    asyncio.run(play())


def test_runs_take_turns(serving, ask, decoder, until, collect):
    async def play():
        decoder.seconds = 0.003
        async with serving() as (engine, house):
            first = collect(engine.run(ask(40, seed=1)))
            await until(lambda: len(decoder.order) > 5)
            second = collect(engine.run(ask(20, seed=2)))
            await asyncio.gather(first, second)
            together = decoder.order[decoder.order.index(2) : len(decoder.order) - decoder.order[::-1].index(2)]
            longest = max(len(stretch) for stretch in "".join(map(str, together)).replace("12", "1 2").split(" "))
            assert together.count(1) == pytest.approx(together.count(2), abs=4)
            assert longest <= 4

    asyncio.run(play())


def test_who_steps_by_hand_waits_for_one_step_and_not_for_all(serving, ask, decoder, until, collect):
    """Eight long runs of eight visitors; the ninth asks for a step now and then and is served after the one under way."""

    async def play():
        decoder.seconds = 0.01
        async with serving() as (engine, house):
            others = [RemoteEngine(engine.address) for _ in range(8)]
            runs = [collect(other.run(ask(1000, seed=seed))) for seed, other in enumerate(others, 1)]
            await until(lambda: len(set(decoder.order)) == 8)
            async with aclosing(engine.run(ask(50, seed=9), window=1)) as mine:
                await anext(mine)
                waited = []
                for _ in range(6):
                    before = len(decoder.order)
                    await anext(mine)
                    waited.append(decoder.order[before:].index(9))
                    await asyncio.sleep(0.1)  # a person looks at what came
            assert sorted(waited)[3] <= 3, waited  # of eight; the first ones of a run stand where all others begin
            for run in runs:
                run.cancel()
            for other in others:
                await other.close()

    asyncio.run(play())


def test_many_runs_of_one_visitor_get_what_one_run_gets(serving, ask, decoder, until, collect):
    async def play():
        decoder.seconds = 0.003
        async with serving() as (greedy, house):
            modest = RemoteEngine(greedy.address)
            many = [collect(greedy.run(ask(1000, seed=1))) for _ in range(6)]
            await until(lambda: len(decoder.order) > 20)
            one = collect(modest.run(ask(60, seed=2)))
            await one
            together = decoder.order[decoder.order.index(2) :]
            share = together.count(2) / len(together)
            assert 0.35 < share < 0.65, share  # turn by turn it would be a seventh
            for run in many:
                run.cancel()
            await modest.close()

    asyncio.run(play())


def test_a_vanished_visitor_is_forgotten_with_all_it_had(serving, ask, decoder, until):
    async def play():
        async with serving() as (engine, house):
            runs = [engine.run(ask(1000, seed=seed)) for seed in range(3)]
            for run in runs:
                await anext(run)
            assert len(house.visitors) == 1 and house.engine.running == 3
            link = await engine.connect()
            link.line.transport.abort()  # no goodbye: as a killed kernel does it
            await until(lambda: house.engine.running == 0 and not house.visitors)
            assert decoder.opened == decoder.freed == 3
            for run in runs:
                with pytest.raises(EngineError, match="went away"):
                    async for _ in run:
                        pass

    asyncio.run(play())


def test_errors_keep_their_class_and_their_sentence(serving, ask, decoder, capsys, until, collect):
    decoder.fail = {2: KnobError("The knob is 9: choose from 1 to 4.")}

    async def play():
        async with serving() as (engine, house):
            events = engine.run(ask(5))
            seen = []
            with pytest.raises(KnobError, match="^The knob is 9: choose from 1 to 4.$"):
                async for event in events:
                    seen.append(event)
            assert len(seen) == 3  # the opening and two steps are kept
            with pytest.raises(PromptError, match="loader can say no"):
                await collect(engine.run(ask(draft="none")))
            decoder.fail = {0: RuntimeError("boom at 0x7f")}
            with pytest.raises(EngineError, match="^The engine failed at a step of 'fake': try again") as failure:
                await collect(engine.run(ask()))
            assert "boom" not in str(failure.value) and "boom at 0x7f" in capsys.readouterr().err
            decoder.fail = {0: RuntimeError("DefaultCPUAllocator: can't allocate memory")}
            with pytest.raises(EngineError, match="out of memory"):
                await collect(engine.run(ask()))
            decoder.fail = {}
            assert len(await collect(engine.run(ask(5)))) == 7  # the engine lives on
            await until(lambda: house.engine.running == 0)

    asyncio.run(play())


def test_questions_are_answered(serving, local):
    async def play():
        async with serving() as (engine, _):
            status = await engine.status()
            assert isinstance(status, Status) and status.visitors == 1
            assert {method.name for method in await engine.methods()} == {m.name for m in await local().methods()}
            assert {t.name for t in await engine.transforms()} >= {"top-k", "top-p", "min-p"}
            assert {model.name for model in await engine.models()} >= {"lab-target", "lab-draft"}
            assert (await engine.look("tokens", text="abc"))["count"] == 3
            with pytest.raises(EngineError, match="no question 'age': ask one of tokens, next, check"):
                await engine.look("age")
            with pytest.raises(EngineError, match="'tokens' cannot be asked"):
                await engine.look("tokens", text=5)
            with pytest.raises(EngineError, match="cannot be sent"):
                await engine.look("tokens", text=object())

    asyncio.run(play())


def test_a_pair_that_cannot_be_loaded_is_told_by_health(decoder, capsys):
    def broken(target, draft):
        raise ModelError("The model has no weights: give its folder some.")

    async def play():
        house = House(LocalEngine(decoder, broken, Limits()), Limits())
        await house.warm()
        state = msgspec.json.decode((await house.health(None)).body)
        assert not state["ok"] and state["error"] == "The model has no weights: give its folder some."
        assert "no weights" in capsys.readouterr().err
        await house.engine.close()

    asyncio.run(play())


def test_health(serving):
    async def play():
        async with serving() as (engine, _):
            await engine.status()
            host, port = engine.address.split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            head, body = (await reader.read()).split(b"\r\n\r\n")
            writer.close()
            assert b" 200 " in head.splitlines()[0]
            assert msgspec.json.decode(body) == {"ok": True, "models": [], "visitors": 1}

    asyncio.run(play())
