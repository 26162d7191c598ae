"""What one visitor may ask for: every bound has its sentence, and nobody pays for somebody else."""

import asyncio

import pytest

from labkit.engine.remote import RemoteEngine
from labkit.engine.server import House, Visitor
from labkit.errors import EngineError, KnobError, LabError, PromptError
from labkit.trace import Request


@pytest.mark.parametrize(
    "wrong, kind, words",
    [
        (dict(max_new_tokens=0), KnobError, "choose from 1 to 50"),
        (dict(max_new_tokens=51), KnobError, "choose from 1 to 50"),
        (dict(max_new_tokens="7"), EngineError, "max_new_tokens"),
        (dict(ids=["a"]), EngineError, "malformed"),
        (dict(ids=[1] * 101), PromptError, "101 tokens"),
        (dict(prompt="x" * 101), PromptError, "101 tokens"),
        (dict(prompt="x" * 10_000), PromptError, "10,000 characters"),
        (dict(prompt="\ud800"), EngineError, "malformed"),
        (dict(seed=2**70), EngineError, "malformed"),
        (dict(transforms=[{"name": 5}]), EngineError, "malformed"),
        (dict(knobs={"a": object()}), EngineError, "malformed"),
        (dict(target="../../etc"), LabError, "not offered"),
    ],
)
def test_a_bad_request_is_one_sentence_here_and_there(serving, local, wrong, kind, words, collect):
    limits = dict(max_new_tokens=50, max_prompt_tokens=100)
    request = Request(**{"method": "fake", "prompt": "ab", "max_new_tokens": 5, **wrong})

    async def refusal(engine):
        with pytest.raises(kind, match=words) as error:
            await collect(engine.run(request))
        return type(error.value), str(error.value)

    async def play():
        async with serving(**limits) as (remote, _):
            assert await refusal(remote) == await refusal(local(**limits))
            assert (await remote.status()).where == remote.address  # the connection survived it

    asyncio.run(play())


def test_a_visitor_cannot_pile_up_runs_or_questions(serving, ask, decoder, until, collect):
    async def play():
        decoder.gate.clear()
        async with serving(max_runs_per_visitor=2, max_questions_per_visitor=3) as (engine, house):
            runs = [collect(engine.run(ask(20))) for _ in range(2)]
            await until(lambda: decoder.waiting and house.engine.running == 2)
            with pytest.raises(EngineError, match="2 runs are open"):
                await collect(engine.run(ask()))
            questions = [asyncio.ensure_future(engine.look("tokens", text="abc")) for _ in range(6)]
            await until(lambda: sum(question.done() for question in questions) == 3)
            decoder.gate.set()
            answers = await asyncio.gather(*questions, return_exceptions=True)
            assert [answer["count"] for answer in answers[:3]] == [3, 3, 3]
            assert all("3 questions are waiting" in str(answer) for answer in answers[3:])
            await asyncio.gather(*runs)

    asyncio.run(play())


def test_the_house_can_be_full(serving, ask):
    async def play():
        async with serving(max_visitors=1) as (engine, _):
            await engine.status()
            other = RemoteEngine(engine.address)
            with pytest.raises(EngineError, match="1 visitors: try again in a minute"):
                await other.status()
            await engine.close()
            await asyncio.sleep(0.05)
            assert (await other.status()).visitors == 1
            await other.close()

    asyncio.run(play())


def test_what_nobody_uses_is_let_go(serving, ask, until):
    async def play():
        async with serving(idle_seconds=1) as (engine, house):
            run = engine.run(ask(), window=1)
            await anext(run)
            await until(lambda: house.engine.running == 0)
            with pytest.raises(EngineError, match="left alone"):
                await anext(run)
            link = await engine.connect()
            await until(lambda: link.over)
            assert not house.visitors
            assert (await engine.status()).visitors == 1  # and asking again connects again

    asyncio.run(play())


def test_a_step_that_is_too_heavy_is_refused(serving, ask, until, collect):
    async def play():
        async with serving(max_answer_bytes=200) as (engine, house):
            with pytest.raises(EngineError, match="more than the 200 allowed"):
                await collect(engine.run(ask(prompt="y" * 300)))
            await until(lambda: house.engine.running == 0)

    asyncio.run(play())


def test_a_server_that_lets_long_frames_through_is_not_the_last_wall(local):
    """Other servers than uvicorn have other bounds; the app has its own."""

    class Line:
        headers: dict = {}
        closed = None

        async def receive(self):
            return {"type": "websocket.receive", "bytes": b"x" * 1001}

        async def close(self, code, reason=""):
            self.closed = code

    async def play():
        engine = local(max_frame_bytes=1000)
        line = Line()
        await Visitor(House(engine, engine.limits), line).serve()
        assert line.closed == 1009
        await engine.close()

    asyncio.run(play())
