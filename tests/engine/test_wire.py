"""What arrives at the server need not come from a notebook: rubbish is refused, and everybody else goes on."""

import asyncio
import random
import struct
from contextlib import aclosing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from labkit.engine import frames
from labkit.engine.frames import Answer, Ask, Cancel, Ended, Failed, Grant, Happened, Start
from labkit.engine.limits import Limits, packed
from labkit.errors import EngineError, KnobError, PromptError
from labkit.trace import Belief, Closing, Cost, Opening, Request, Setting, Step, Tree

REQUEST = Request(
    method="chain",
    ids=[1, 2],
    knobs={"length": 4, "on": True},
    temperature=0.5,
    transforms=[Setting("top-k", {"k": 3})],
    keep=["laws"],
)
STEP = Step(
    [5, 6],
    beliefs=[Belief(5, 0.1, -0.2, 0, [5], [-0.2], law=b"\x00\x3c" * 8), Belief(6, 1.0, -3.0, 2)],
    tree=Tree([5, 9], [-1, 0], verdicts=["accepted", "refused"], coins=[0.25, None], path=[0], added=6),
    cost=Cost(1, 3, 0.01, 2, 2, 0.001, 0.02, 4096),
    notes={"trials": [1, 2]},
    pieces={5: "<script>", 6: "\U0001f600"},
)


@pytest.mark.parametrize("frame", [Ask(1, "look", {"what": "tokens", "text": "é\0"}), Grant(3, 1), Cancel(4)])
def test_what_a_visitor_says_comes_through(frame):
    assert frames.from_visitor(frames.pack(frame)) == frame


def test_a_request_comes_through():
    start = frames.from_visitor(frames.pack(Start(2, packed(REQUEST), 4)))
    assert msgspec.msgpack.decode(start.request, type=Request) == REQUEST


@pytest.mark.parametrize("event", [Opening(REQUEST, [1, 2], pieces={1: "a", 2: "b"}), STEP, Closing("length", "x")])
def test_events_come_through(event):
    assert frames.from_engine(frames.pack(Happened(7, event))).event == event


@pytest.mark.parametrize("frame", [Answer(1, msgspec.Raw(b"\xc0")), Ended(2), Failed(3, "KnobError", "k is 5.")])
def test_what_the_engine_says_comes_through(frame):
    assert frames.from_engine(frames.pack(frame)) == frame


def test_errors_keep_their_class_but_only_ours_are_made():
    assert type(Failed.of(1, PromptError("a")).error()) is PromptError
    for kind in ("OSError", "__builtins__", "annotations", "Invented", "SystemExit"):
        assert type(Failed(1, kind, "a").error()) is EngineError


@given(st.binary(max_size=200))
def test_rubbish_is_an_engine_error(data):
    for read in (frames.from_visitor, frames.from_engine):
        try:
            read(data)
        except EngineError as error:
            assert str(error)


def hostile() -> list[bytes]:
    whole = frames.pack(Start(1, packed(REQUEST), 4))
    dice = random.Random(0)
    rubbish = [bytes(dice.randrange(256) for _ in range(dice.randrange(1, 300))) for _ in range(20)]
    return rubbish + [
        b"",
        whole[:-3],
        whole + b"\x00",
        msgspec.msgpack.encode({"type": "start", "id": "one", "request": {}, "credit": 4}),
        msgspec.msgpack.encode({"type": "start", "id": 1, "request": {}, "credit": 0}),
        msgspec.msgpack.encode({"type": "start", "id": 1, "request": {}, "credit": 10**6}),
        msgspec.msgpack.encode({"type": "shutdown", "id": 1}),
        msgspec.msgpack.encode({"type": "ask", "id": 1, "verb": "look", "question": [1]}),
        b"\x91" * 100_000,  # nested 100,000 deep
        b"\xdd" + struct.pack(">I", 2**32 - 1),  # a list that claims four thousand million items
        b"\xc6" + struct.pack(">I", 2**32 - 1),
    ]


def test_bad_frames_end_one_connection_and_no_other(serving, ask, until):
    async def play():
        async with serving() as (engine, house):
            async with aclosing(engine.run(ask(100), window=1)) as events:
                for data in hostile():
                    async with connect(f"ws://{engine.address}{frames.PATH}", compression=None, proxy=None) as line:
                        await line.send(data)
                        with pytest.raises(ConnectionClosed):
                            await line.recv()
                        assert line.close_code == 1008 and line.close_reason.startswith("This is no frame of the lab")
                    assert isinstance(await anext(events), (Opening, Step))
                await until(lambda: len(house.visitors) == 1)

    asyncio.run(play())


@pytest.mark.parametrize("data, code", [(b"\x00" * 5000, 1009), ("text is not spoken here", 1008)])
def test_too_much_and_not_binary(serving, data, code):
    async def play():
        async with serving(max_frame_bytes=4096) as (engine, _):
            async with connect(f"ws://{engine.address}{frames.PATH}", compression=None, proxy=None) as line:
                await line.send(data)
                with pytest.raises(ConnectionClosed):
                    await line.recv()
                assert line.close_code == code
            assert (await engine.status()).visitors == 1

    asyncio.run(play())


def test_a_request_too_large_to_send_is_explained(serving, ask):
    async def play():
        async with serving(max_frame_bytes=4096) as (engine, _):
            with pytest.raises(EngineError, match="no request of this size: shorten the prompt"):
                async for _ in engine.run(ask(prompt="z" * 5000)):
                    pass
            assert (await engine.status()).visitors == 1

    asyncio.run(play())


@pytest.mark.parametrize(
    "frame, words",
    [
        (Start(1, packed(REQUEST), 1), "is there already"),
        (Grant(1, 64), "more than 64 events ahead"),
    ],
)
def test_no_honest_notebook_does_this(serving, ask, frame, words, until):
    async def play():
        async with serving() as (engine, house):
            link = await engine.connect()
            with link.inbox() as (id, arrived):
                link.post(Start(1, packed(ask(1000)), 4))
                link.post(frame)
                while not isinstance(last := await arrived.get(), Failed):
                    link.post(frame)  # its first four events may have come before the grant: the next one is too much
                assert words in last.text
            await until(lambda: house.engine.running == 0)

    asyncio.run(play())


@pytest.mark.parametrize(
    "origin, welcome",
    [
        (None, True),
        ("http://localhost:8866", True),
        ("http://127.0.0.1", True),
        ("https://[::1]:8888", True),
        ("http://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://localhost@evil.example", False),
        ("null", False),
        ("http://[", False),
    ],
)
def test_pages_of_other_sites_stay_outside(serving, origin, welcome):
    async def play():
        async with serving() as (engine, house):
            dial = connect(f"ws://{engine.address}{frames.PATH}", origin=origin, compression=None, proxy=None)
            if welcome:
                async with dial as line:
                    await line.send(frames.pack(Ask(1, "status")))
                    assert isinstance(frames.from_engine(await line.recv()), Answer)
            else:
                with pytest.raises(InvalidStatus) as refused:
                    await dial
                assert refused.value.response.status_code == 403 and not house.visitors

    asyncio.run(play())


def test_unknown_verbs_and_looks_are_answered(serving):
    async def play():
        async with serving() as (engine, _):
            async with connect(f"ws://{engine.address}{frames.PATH}", compression=None, proxy=None) as line:
                for question in (Ask(1, "close"), Ask(2, "look"), Ask(3, "look", {"what": 5}), Ask(4, "_thread")):
                    await line.send(frames.pack(question))
                    answer = frames.from_engine(await line.recv())
                    assert isinstance(answer, Failed) and answer.id == question.id and answer.kind == "EngineError"

    asyncio.run(play())


def test_limits_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("LABKIT_MAX_NEW_TOKENS", "12")
    assert Limits.from_environment().max_new_tokens == 12
    assert Limits.from_environment(max_new_tokens=5, max_visitors=None).max_new_tokens == 5
    assert Limits.from_environment().max_visitors == Limits().max_visitors
    for wrong in ("many", "0", "-3", "1.5"):
        monkeypatch.setenv("LABKIT_MAX_NEW_TOKENS", wrong)
        with pytest.raises(EngineError, match="LABKIT_MAX_NEW_TOKENS is .*whole number"):
            Limits.from_environment()


def test_an_error_in_a_sentence_is_the_same_class_here(local, ask):
    async def play():
        with pytest.raises(KnobError):
            async for _ in local().run(ask(0)):
                pass

    asyncio.run(play())
