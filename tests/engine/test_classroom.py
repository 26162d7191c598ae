"""What a class asks of the server: who is here, how busy it is, and one trace shown to everybody."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from labkit.engine.classroom import REMEMBERED, Classroom
from labkit.engine.remote import RemoteEngine
from labkit.errors import EngineError, TraceError
from labkit.trace import Opening, Request, Trace

KEY = "star"
TRACE = Trace(Opening(Request(method="plain", prompt="a"), [1], pieces={1: "a"})).dumps()


@pytest.fixture
def classroom(serving, monkeypatch):
    """A server whose teacher has a key."""
    monkeypatch.setenv("LABKIT_TEACHER", KEY)
    return serving


def test_the_teacher_sees_who_is_here(classroom, ask):
    async def play():
        async with classroom() as (one, _):
            tab, other, teacher = (RemoteEngine(one.address) for _ in range(3))
            one.introduce("anna", "Entropy")
            tab.introduce("anna", "Draft trees")
            other.introduce("ben", "Entropy")
            for engine in (one, tab, other):
                await engine.status()
            async with aclosing(one.run(ask(5), window=1)) as run:
                for _ in range(3):
                    await anext(run)
                seen = await teacher.look("present", key=KEY)
                assert [(row["number"], row["page"]) for row in seen["visitors"]] == [
                    (1, "Entropy"),
                    (1, "Draft trees"),
                    (2, "Entropy"),
                ]
                first = seen["visitors"][0]
                assert first["runs"] == 1 and 3 <= first["steps"] <= 4 and first["quiet"] < 5
                assert seen["runs"] == 1 and seen["steps"] == first["steps"] and seen["resident"] > 10**6
                assert [row["quiet"] for row in seen["visitors"][1:]] == [None, None]
            for engine in (one, tab, other, teacher):
                await engine.close()

    asyncio.run(play())


def test_who_comes_again_is_known_by_name(classroom, until):
    """A page says who it is with every new link."""

    async def play():
        async with classroom() as (engine, house):
            engine.introduce("anna", "Entropy")
            await engine.status()
            for visitor in list(house.visitors):
                await visitor.line.close()
            await until(lambda: engine._link.over)
            await engine.status()
            teacher = RemoteEngine(engine.address)
            assert [row["page"] for row in (await teacher.look("present", key=KEY))["visitors"]] == ["Entropy"]
            await teacher.close()

    asyncio.run(play())


def test_a_trace_reaches_everybody_until_it_is_taken_back(classroom):
    async def play():
        async with classroom() as (teacher, _):
            student = RemoteEngine(teacher.address)
            assert (await student.status()).pushed == 0
            await teacher.look("push", key=KEY, name="greedy", trace=TRACE)
            assert (await student.status()).pushed == 1
            assert await student.look("pushed") == {"number": 1, "name": "greedy", "trace": TRACE, "at_once": False}
            await teacher.look("push", key=KEY, name="another", trace=TRACE, at_once=True)
            assert (await student.status()).pushed == 2 and (await student.look("pushed"))["at_once"]
            await teacher.look("push", key=KEY)
            assert (await student.status()).pushed == 0 and (await student.look("pushed"))["trace"] == b""
            await student.close()

    asyncio.run(play())


@pytest.mark.parametrize("key", ["", "Star", "star ", "é"])
def test_only_the_teacher_may(classroom, key):
    async def play():
        async with classroom() as (engine, house):
            with pytest.raises(EngineError, match="not the teacher's"):
                await engine.look("present", key=key)
            with pytest.raises(EngineError, match="not the teacher's"):
                await engine.look("push", key=key, trace=TRACE)
            assert house.classroom.shown is None

    asyncio.run(play())


@pytest.mark.parametrize(
    ("question", "error", "words"),
    [
        ({"what": "push", "key": KEY, "trace": b"{"}, TraceError, "no whole trace"),
        ({"what": "push", "key": KEY, "trace": 3}, EngineError, "malformed"),
        ({"what": "push", "key": KEY, "name": "x" * 81}, EngineError, "malformed"),
        ({"what": "hello", "who": "x" * 81, "page": "p"}, EngineError, "malformed"),
        ({"what": "hello", "who": 3, "page": "p"}, EngineError, "malformed"),
        ({"what": "present", "key": KEY, "more": 1}, EngineError, "malformed"),
    ],
)
def test_what_is_malformed_is_refused(classroom, question, error, words):
    async def play():
        async with classroom() as (engine, house):
            with pytest.raises(error, match=words):
                await engine.look(**question)
            assert house.classroom.shown is None and (await engine.status()).visitors == 1

    asyncio.run(play())


def test_no_step_and_no_question_to_the_models_holds_the_desk_up(classroom, decoder, ask):
    """The status and the teacher's questions are answered while the models are busy."""

    async def play():
        async with classroom() as (engine, _):
            await engine.status()
            decoder.gate.clear()
            run = engine.run(ask(3))
            await anext(run)
            stuck = asyncio.create_task(engine.look("tokens", text="ab"))
            async with asyncio.timeout(5):
                assert (await engine.status()).running == 1
                seen = await engine.look("present", key=KEY)
            assert seen["runs"] == 1 and seen["waiting"] == 1 and not stuck.done()
            decoder.gate.set()
            await stuck
            await run.aclose()

    asyncio.run(play())


def test_names_are_forgotten_before_they_fill_the_memory():
    room = Classroom()
    for visitor in range(3 * REMEMBERED):
        assert room.number(str(visitor)) == visitor + 1
    assert len(room.numbers) == REMEMBERED and room.number(str(3 * REMEMBERED - 1)) == 3 * REMEMBERED
