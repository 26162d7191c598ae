"""Hostile clients of a real engine: each is refused with a reason, and the engine is afterwards as it was before.

Short by default; LABKIT_HOSTILE=10000 sets how many requests a flood has. See HOSTILE.md for what each length showed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import ProxyHandler, build_opener
from urllib.request import Request as HttpRequest

import msgspec
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

import labkit
from labkit import errors
from labkit.engine import door, frames
from labkit.engine.frames import PATH, Answer, Ask, Cancel, Ended, Failed, Grant, Happened, Start
from labkit.engine.limits import LARGEST_WINDOW, Limits
from labkit.engine.remote import RemoteEngine
from labkit.errors import EngineError
from labkit.trace import Closing, Opening, Request

FLOOD = int(os.environ.get("LABKIT_HOSTILE", 300))  # requests of a flood
TOKEN = "open-sesame"
SLACK = 128 * 2**20  # bytes that malloc may keep after an attack; eight times the same one keeps no more
PATIENCE = 30.0  # seconds in which an honest visitor has its eight tokens, on a machine that does other things too


class Engine:
    """`labkit engine` in a process of its own, and what can be seen of it from outside."""

    def __init__(self, folder: Path):
        paths = {"PYTHONPATH": str(Path(labkit.__file__).parents[1]), "LABKIT_ENGINE_TOKEN": TOKEN}
        self.messages = folder / "messages"
        with open(self.messages, "wb") as messages:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "labkit.cli", "engine", "--port", "0"],
                env={**os.environ, **paths, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=messages,
                text=True,
            )
        self.address = self.child.stdout.readline().split("//")[1].split("/")[0]
        self.process = psutil.Process(self.child.pid)
        deadline = time.monotonic() + 120
        while not (state := self.health(TOKEN)).get("models"):
            assert state["ok"] and time.monotonic() < deadline
            time.sleep(0.2)

    def health(self, token: str = "") -> dict:
        asked = HttpRequest(f"http://{self.address}/health", headers=door.header(token))
        with build_opener(ProxyHandler({})).open(asked, timeout=PATIENCE) as answer:
            return json.load(answer)

    def line(self, **more):
        """A bare WebSocket of somebody who knows the token."""
        more = {"additional_headers": door.header(TOKEN), "max_size": None, "ping_interval": None, **more}
        return connect(f"ws://{self.address}{PATH}", compression=None, proxy=None, **more)

    def honest(self) -> RemoteEngine:
        return RemoteEngine(self.address, TOKEN)

    def holds(self) -> dict[str, int]:
        """Open files and sockets, threads, visitors."""
        own = self.process
        return {"files": own.num_fds(), "threads": own.num_threads(), "visitors": self.health(TOKEN)["visitors"]}

    def memory(self) -> int:
        return self.process.memory_info().rss


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    house = Engine(tmp_path_factory.mktemp("engine"))
    try:
        asyncio.run(greet(house))  # what honest visitors load is not an attack's doing
        house.peak = asyncio.run(feast(house))
        time.sleep(1)  # until their sockets are gone
        house.at_rest = house.holds()
        yield house
    finally:
        house.child.kill()
        house.child.wait()
        house.child.stdout.close()


async def greet(engine: Engine) -> None:
    """An honest visitor: eight tokens and a question, at once."""
    visitor = engine.honest()
    async with asyncio.timeout(PATIENCE):
        events = [event async for event in visitor.run(Request(method="chain", prompt="def ", max_new_tokens=8))]
        assert isinstance(events[0], Opening) and isinstance(events[-1], Closing)
        assert (await visitor.look("tokens", text="def "))["count"] > 0
    await visitor.close()


async def feast(engine: Engine) -> int:
    """An honest visitor with a great appetite asks for the heaviest answers and reads them: the engine's memory at its peak."""
    peak = 0
    async with engine.line() as line:
        await send_all(line, heavy(30))
        for _ in range(31):
            await answers(line, 1)
            peak = max(peak, engine.memory())
    return peak


@pytest.fixture(autouse=True)
def unharmed(engine):
    """After each attack: an honest visitor is served, nobody and nothing is left behind, and nothing unforeseen was said."""

    async def settled() -> None:
        visitor = engine.honest()
        async with asyncio.timeout(PATIENCE):
            while (now := await visitor.status()).running or now.visitors > 1:
                await asyncio.sleep(0.05)
        await visitor.close()

    memory = engine.memory()
    yield
    asyncio.run(greet(engine))
    asyncio.run(settled())
    deadline = time.monotonic() + PATIENCE
    while (held := engine.holds()) != engine.at_rest and time.monotonic() < deadline:
        time.sleep(0.1)
    assert held == engine.at_rest
    assert engine.memory() - memory < SLACK
    assert engine.messages.read_text() == ""


async def refusal(line) -> tuple[int, str]:
    """Close code and reason, once the engine has closed."""
    with pytest.raises(ConnectionClosed):
        async with asyncio.timeout(PATIENCE):
            while True:
                await line.recv()
    return line.close_code, line.close_reason


def reasoned(frame) -> str:
    """The sentence of a refusal that somebody foresaw."""
    assert isinstance(frame, Failed), frame
    assert issubclass(getattr(errors, frame.kind), errors.LabError)
    assert 10 < len(frame.text) <= 2000 and "The engine failed" not in frame.text, frame.text
    return frame.text


async def answers(line, many: int) -> list:
    """The next `many` frames that are no events of runs."""
    found = []
    async with asyncio.timeout(10 * PATIENCE):
        while len(found) < many:
            frame = frames.from_engine(await line.recv())
            if not isinstance(frame, Happened):
                found.append(frame)
    return found


async def all_refused(engine: Engine, asked: list) -> list[str]:
    """Every one of `asked` (frames without a number of their own) meets a reason; the reasons in the order of `asked`."""
    async with engine.line() as line:
        told = {}
        for first in range(0, len(asked), 8):
            part = range(first, min(first + 8, len(asked)))
            for number in part:
                await line.send(frames.pack(msgspec.structs.replace(asked[number], id=number)))
            for frame in await answers(line, len(part)):
                assert isinstance(frame, Failed), asked[frame.id]
                told[frame.id] = reasoned(frame)
    return [told[number] for number in range(len(asked))]


def start(id: int = 0, credit: int = 4, **words) -> Start:
    words = {"method": "plain", "prompt": "def ", "max_new_tokens": 8, **words}
    return Start(id, msgspec.Raw(msgspec.msgpack.encode(words)), credit)


def look(what, **question) -> Ask:
    return Ask(0, "look", {"what": what, **question})


# -- frames ---------------------------------------------------------------------------------------------------------------

HUGE = 100 * 2**20


def test_a_frame_of_100_mb(engine):
    async def play():
        line = await engine.line()
        with contextlib.suppress(ConnectionClosed):
            await line.send(bytes(HUGE))
        assert (await refusal(line))[0] == 1009

    asyncio.run(play())


def test_a_message_of_100_mb_in_pieces(engine):
    async def play():
        async with engine.line() as line:
            with contextlib.suppress(ConnectionClosed):
                await line.send(bytes(2**20) for _ in range(100))
            assert (await refusal(line))[0] == 1009

    asyncio.run(play())


def test_a_message_in_endless_empty_pieces(engine):
    async def play():
        async with engine.line() as line:
            with contextlib.suppress(ConnectionClosed):
                await line.send(b"" for _ in range(30_000))
            code, reason = await refusal(line)
            assert code == 1009 and "send it whole" in reason

    asyncio.run(play())


def deep(kind: bytes, depth: int = 200_000) -> bytes:
    return kind * depth


def frame_of(**fields) -> bytes:
    return msgspec.msgpack.encode(fields)


MALFORMED = {
    "nothing": b"",
    "deep lists": deep(b"\x91"),
    "deep maps": deep(b"\x81\xa1a"),
    "a list that claims 4e9 items": b"\xdd\xff\xff\xff\xff",
    "a map that claims 4e9 items": b"\xdf\xff\xff\xff\xff",
    "bytes that claim 4 GB": b"\xc6\xff\xff\xff\xff",
    "text that claims 4 GB": b"\xdb\xff\xff\xff\xff",
    "an extension that claims 4 GB": b"\xc9\xff\xff\xff\xff\x01",
    "the code that is never used": b"\xc1",
    "an unknown tag": frame_of(type="shutdown", id=1),
    "a tag that is no text": frame_of(type=1, id=1),
    "no tag": frame_of(id=1),
    "no number": frame_of(type="cancel"),
    "a number of 2^64 - 1 and more": b"\x82\xa4type\xa6cancel\xa2id\xcb\x7f\xef\xff\xff\xff\xff\xff\xff",
    "text for a number": frame_of(type="cancel", id="1"),
    "nan for a number": frame_of(type="cancel", id=float("nan")),
    "credit of 10^18": frame_of(type="grant", id=1, credit=10**18),
    "credit below zero": frame_of(type="grant", id=1, credit=-1),
    "a question that is a list": frame_of(type="ask", id=1, verb="look", question=[1]),
    "a key twice, the last of a wrong type": b"\x83\xa4type\xa6cancel\xa2id\x01\xa2id\xa1x",
    "a key that is no text": b"\x82\xa4type\xa6cancel\x01\x01",
    "two frames in one": frames.pack(Cancel(1)) * 2,
    "half a character in a key": b"\x84\xa4type\xa3ask\xa2id\x01\xa4verb\xa4look\xa8question\x81\xa3\xed\xa0\x80\x01",
    "a frame in text": "hello",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_frame_ends_its_line_with_a_reason(engine, name):
    async def play():
        async with engine.line() as line:
            await line.send(MALFORMED[name])
            code, reason = await refusal(line)
            assert code == 1008 and reason.startswith("This is no frame of the lab")

    asyncio.run(play())


# -- floods ---------------------------------------------------------------------------------------------------------------


def test_a_flood_of_questions_on_one_line(engine):
    async def play():
        async with engine.line() as line:
            asked = asyncio.create_task(send_all(line, [Ask(number, "status") for number in range(FLOOD)]))
            await greet(engine)
            told = await answers(line, FLOOD)
            await asked
            assert sorted(frame.id for frame in told) == list(range(FLOOD))
            refused = [reasoned(frame) for frame in told if not isinstance(frame, Answer)]
            assert all("questions are waiting already" in text for text in refused)

    asyncio.run(play())


async def send_all(line, frames_: list) -> None:
    for frame in frames_:
        await line.send(frames.pack(frame))


def test_a_flood_of_lines(engine):
    async def one(number: int) -> None:
        async with engine.line(open_timeout=PATIENCE) as line:
            try:
                await line.send(frames.pack(Ask(number, "status")))
                assert isinstance(frames.from_engine(await line.recv()), Answer)
            except ConnectionClosed as full:
                assert full.rcvd.code == 1013 and "try again in a minute" in full.rcvd.reason

    async def play():
        for first in range(0, FLOOD, 150):  # more at once than the house has room for
            await asyncio.gather(*(one(number) for number in range(first, min(FLOOD, first + 150))))

    asyncio.run(play())


def test_a_flood_of_runs_on_one_line(engine):
    async def play():
        async with engine.line() as line:
            asked = asyncio.create_task(send_all(line, [start(number, 64) for number in range(FLOOD)]))
            await greet(engine)
            told = await answers(line, FLOOD)
            await asked
            for frame in told:
                assert isinstance(frame, Ended) or "runs are" in reasoned(frame)

    asyncio.run(play())


def test_runs_begun_and_stopped_in_one_breath(engine):
    async def play():
        async with engine.line() as line:
            both = [one for number in range(FLOOD) for one in (start(number, 64, prompt="x " * 4000), Cancel(number))]
            asked = asyncio.create_task(send_all(line, [*both, Ask(FLOOD, "status")]))
            await greet(engine)
            told = await answers(line, FLOOD)
            while not isinstance(told[-1], Answer):
                told += await answers(line, 1)
            await asked
            assert {type(frame) for frame in told[:-1]} <= {Ended, Failed}
            assert all("runs are" in reasoned(frame) for frame in told if isinstance(frame, Failed))

    asyncio.run(play())


def test_grants_by_the_thousand(engine):
    async def play():
        async with engine.line() as line:
            await send_all(line, [Grant(number, 64) for number in range(FLOOD)])  # to runs that are not there
            await line.send(frames.pack(start(1, 1, max_new_tokens=1000)))
            with contextlib.suppress(ConnectionClosed):
                await send_all(line, [Grant(1, 64) for _ in range(FLOOD)])
            code, reason = await refusal(line)
            assert code == 1008 and f"more than {LARGEST_WINDOW} events ahead" in reason

    asyncio.run(play())


def test_nobody_stops_the_runs_of_others(engine):
    async def play():
        visitor = engine.honest()
        request = Request(method="plain", prompt="def ", max_new_tokens=100)
        events = visitor.run(request, window=1)
        seen = [await anext(events)]
        async with engine.line() as line:
            await send_all(line, [Cancel(number) for number in range(FLOOD)])
            assert {type(frame) for frame in await answers(line, FLOOD)} == {Ended}
        seen += [event async for event in events]
        assert isinstance(seen[-1], Closing)
        await visitor.close()

    asyncio.run(play())


def test_the_lab_says_that_it_is_full(engine):
    async def fill(lines: contextlib.AsyncExitStack) -> list:
        each = Limits().max_runs_per_visitor
        told = []
        for _ in range(Limits().max_runs // each + 1):
            line = await lines.enter_async_context(engine.line())
            for number in range(each):
                await line.send(frames.pack(start(number, 1, max_new_tokens=16)))
            for _ in range(each):
                told.append(frames.from_engine(await line.recv()))
        return told

    async def play():
        async with contextlib.AsyncExitStack() as lines:
            async with asyncio.timeout(10 * PATIENCE):
                told = await fill(lines)
            begun = sum(isinstance(frame, Happened) for frame in told)
            refused = [reasoned(frame) for frame in told if not isinstance(frame, Happened)]
            assert begun == Limits().max_runs and len(refused) == Limits().max_runs_per_visitor
            assert set(refused) == {f"The lab is full: {begun} runs are under way: try again in a minute."}

    asyncio.run(play())


# -- knobs, names, words -----------------------------------------------------------------------------------------------------

NOT_NUMBERS = [float("nan"), float("inf"), -float("inf"), "1" + "0" * 400, "9" * 100_000]
NOT_NUMBERS += ["many", "", None, [1], {"a": 1}, b"\xff"]


def wrong_values(knob) -> list:
    """What lies outside a knob, whatever its kind."""
    if knob.kind == "bool":
        return [2, -1, 0.5, "yes", None, [True], float("nan")]
    if knob.kind == "choice":
        return ["", "no such choice", 1, None, [knob.choices[0]], "x" * 100_000, "\0"]
    return [*NOT_NUMBERS, knob.low - 1, knob.high + 1, -(2**63), 2**64 - 1, 1e300] + [0.5] * (knob.kind == "int")


def test_knobs_out_of_range_for_every_method_and_study(engine):
    async def play():
        visitor = engine.honest()
        methods = await visitor.methods()
        transforms = await visitor.transforms()
        segmenters = (await visitor.look("segmenters"))["segmenters"]
        await visitor.close()
        asked = [
            start(method=method.name, knobs={knob.name: value})
            for method in methods
            for knob in method.knobs
            for value in wrong_values(knob)
        ]
        asked += [start(method=method.name, knobs={"no such knob": 1}) for method in methods]
        asked += [
            start(transforms=[{"name": transform.name, "knobs": {knob.name: value}}], temperature=1.0)
            for transform in transforms
            for knob in transform.knobs
            for value in wrong_values(knob)
        ]
        asked += [
            look("cut", text="a", name=segmenter["name"], knobs={knob["name"]: value})
            for segmenter in segmenters
            for knob in segmenter["knobs"]
            for value in wrong_values(msgspec.convert(knob, labkit.knobs.Knob))
        ]
        told = await all_refused(engine, asked)
        print(f"{len(told):,} settings of {len(methods)} methods and studies were refused")

    asyncio.run(play())


FIELDS = {
    "method": ["", "no such method", "../plain", "plain\0", "x" * 100_000, 1, None, ["plain"]],
    "prompt": ["", 5, None, b"x", "x" * 3_000_000],
    "ids": [[], [-1], [2**63], [2**64 - 1], ["a"], [0.5], "abc", [[1]], list(range(100_000)), [None]],
    "knobs": [[], "x", 1, {"a": {"b": 1}}, {1: 2}],
    "temperature": [float("nan"), float("inf"), -1.0, 1e-300, 5.01, "hot", None, [0.5]],
    "transforms": [
        [{"name": "no such transform"}],
        [{"name": "top-k", "knobs": {"k": 5}}] * 17,
        [{"name": "top-k", "knobs": {"k": 5}}] * 100_000,
        [{}],
        ["top-k"],
        {"name": "top-k"},
        [None],
    ],
    "max_new_tokens": [0, -1, 10**6, 2**64 - 1, float("nan"), "8", None, 0.5],
    "seed": [-1, 2**63, 2**64 - 1, 0.5, "x", None],
    "keep": [["everything"], ["x" * 100_000], "laws", [1], [None]],
    "target": [1, None, ["lab-target"], {"a": 1}],
    "draft": [1, None, ["lab-draft"]],
}


def test_every_field_of_a_request_in_every_wrong_way(engine):
    asked = [start(**{name: value}) for name, values in FIELDS.items() for value in values]
    nested = b"\x82\xa6method\xa5plain\xa5knobs\x81\xa1a" + b"\x91" * 500 + b"\xc0"
    asked += [Start(0, msgspec.Raw(raw), 1) for raw in (nested, b"\xc0", b"\x90", b"\xc7\x01\x05a")]
    asyncio.run(all_refused(engine, asked))


QUESTIONS = [
    *(look(what) for what in ("", "no such question", "answer", "__class__", 1, None, [1], {"a": 1}, "x" * 100_000)),
    Ask(0, "look"),
    *(Ask(0, verb) for verb in ("", "close", "__init__", "_thread", "run", "x" * 100_000)),
    *(look("tokens", **words) for words in ({}, {"text": 5}, {"text": None}, {"text": "x" * 3_000_000})),
    *(look("tokens", text="a", **{word: 1}) for word in ("self", "pair", "limits", "no such word", "x" * 100_000)),
    *(look("next", ids=ids) for ids in ([], [-1], [2**63], [0.5], ["a"], "abc", None, [1] * 100_000, [1] * 8448)),
    *(look("next", ids=[1], top=top) for top in (0, -1, 201, 2**63, 0.5, "many", None)),
    look("next", ids=[1], laws="yes"),
    *(look("check", ids=ids) for ids in ([], [-1], [2**63], "abc", None, [1] * 100_000, [1] * 8448)),
    *(look("check", ids=[1], **words) for words in ({"no such word": 1}, {"pair": 1}, {"variant": "V99"}, {"variant": 1})),
    *(look("check", ids=[1], draws=draws) for draws in (0, -1, 10**9, 0.5, None)),
    *(look("check", ids=[1], drafts=drafts) for drafts in (0, -1, 10**9, 0.5, None)),
    *(look("check", ids=[1], seed=seed) for seed in (-1, 2**63, 2**64 - 1, 0.5, None)),
    *(look("check", ids=[1], temperature=heat) for heat in (-1.0, 6.0, float("nan"), float("inf"), 1e-300, "hot")),
    *(look("check", ids=[1], heat=heat) for heat in (-1.0, 0.0, float("nan"), float("inf"), 1e300, 1e-300, "hot")),
    *(look("check", ids=[1], transforms=wrong) for wrong in ([1], [{}], [{"name": "x"}], [{"name": "top-k", "knobs": 1}], "x")),
    look("check", ids=[1], transforms=[{"name": "top-k", "knobs": {"k": 5}}] * 17),
    *(look("check", ids=[1], counts=wrong) for wrong in ({-1: 1}, {1: -1}, {2**63: 1}, {1: 2**63}, {"a": 1}, [1], {1: 0.5})),
    *(look("cut", **words) for words in ({}, {"text": "a"}, {"name": "model"}, {"text": "x" * 20_001, "name": "model"})),
    *(look("cut", text="a", name=name) for name in ("", "../model", "model\0", 1, None, "x" * 100_000)),
    *(look("cut", text="a", name="model", knobs=wrong) for wrong in ([1], {"a": 1}, {"a": {"b": 1}}, {"x" * 100_000: 1}, 5)),
    *(look("undo", piece=piece, name="model") for piece in ("", "zz", "6", "00" * 257, 5, None, "é")),
    *(look("hello", **words) for words in ({}, {"who": 1, "page": ""}, {"who": "x" * 81, "page": ""}, {"who": "x"})),
    *(look("push", **words) for words in ({"trace": "x"}, {"trace": b"x"}, {"trace": b"[" * 100_000}, {"name": 1}, {"key": 1})),
    *(look(what, no_such_word=1) for what in ("present", "pushed")),
    *(look(what, target="lab-draft/../lab-target") for what in ("segmenters", "next", "cut", "undo", "tokens")),
]


def test_every_question_in_every_wrong_way(engine):
    asyncio.run(all_refused(engine, QUESTIONS))


NAMES = [
    "../lab-target",
    "../../../../etc/passwd",
    "/etc/passwd",
    "/",
    ".",
    "~",
    "~root",
    "lab-target/",
    "./lab-target",
    "LAB-TARGET",
    "lab-target\0",
    "lab-target\n",
    " lab-target",
    "data/models/target",
    "file:///etc/passwd",
    "http://127.0.0.1:1/model",
    "https://evil.example/model",
    "\\\\evil.example\\share",
    "gpt2",
    "openai-community/gpt2",
    "evil/model@main",
    "%2e%2e%2fetc%2fpasswd",
    "lab-target;id",
    "$(id)",
    "{labkit}",
    "%s%s%s%n",
    "x" * 10_000,
    "x" * 1_000_000,
    "\u202elab-target",
    "💥" * 100,
]


def test_names_that_are_paths_addresses_or_tricks(engine, tmp_path):
    link = tmp_path / "lab-target"
    link.symlink_to(labkit.paths.DATA / "models" / "target")
    names = [*NAMES, str(link), str(labkit.paths.DATA / "models" / "target")]
    asked = [start(**{role: name}) for role in ("target", "draft") for name in names]
    asked += [look("tokens", text="a", **{role: name}) for role in ("target", "draft") for name in names]
    told = asyncio.run(all_refused(engine, asked))
    assert all("is not offered here: choose one of" in text for text in told)
    asked = [look("cut", text="a", name=name) for name in names] + [start(method=name) for name in names]
    assert all("choose one of" in text for text in asyncio.run(all_refused(engine, asked)))


# -- the door ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", ["", "wrong", TOKEN + "x", TOKEN[:-1]])
def test_a_wrong_token_stays_outside(engine, shown):
    async def play():
        for _ in range(max(1, FLOOD // 100)):
            with pytest.raises(InvalidStatus) as refused:
                await engine.line(additional_headers=door.header(shown))
            assert refused.value.response.status_code == 403
        with pytest.raises(EngineError, match="set LABKIT_ENGINE_TOKEN"):
            await RemoteEngine(engine.address, shown).status()
        assert engine.health(shown) == {"ok": True}

    asyncio.run(play())


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "file://", "http://127.0.0.1.evil.example"])
def test_a_page_of_another_site_stays_outside_even_with_the_token(engine, origin):
    async def play():
        with pytest.raises(InvalidStatus) as refused:
            await engine.line(origin=origin)
        assert refused.value.response.status_code == 403

    asyncio.run(play())


def test_handshakes_that_never_end(engine):
    host, port = engine.address.split(":")

    async def dawdle(writer) -> None:
        with contextlib.suppress(ConnectionError):
            for letter in f"GET {PATH} HTTP/1.1\r\nHost: x\r\nX-Slow: " + "x" * 1000:
                writer.write(letter.encode())
                await writer.drain()
                await asyncio.sleep(0.5)

    async def play():
        lines = [await asyncio.open_connection(host, port) for _ in range(150)]
        slow = [asyncio.create_task(dawdle(writer)) for _, writer in lines]
        await greet(engine)
        async with asyncio.timeout(PATIENCE):  # the engine hangs up on all of them
            for reader, writer in lines:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()
        for task in slow:
            task.cancel()

    asyncio.run(play())


def test_a_head_without_end(engine):
    host, port = engine.address.split(":")

    async def play():
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        with contextlib.suppress(ConnectionError):
            for number in range(20_000):  # 20 MB
                writer.write(b"X-%d: %s\r\n" % (number, b"x" * 1000))
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            assert b" 400 " in (await reader.read()).splitlines()[0]
        writer.close()

    asyncio.run(play())


# -- who does not read ----------------------------------------------------------------------------------------------------------


HEAVY = "def f(x):\n    return x\n" * 300


def heavy(questions: int) -> list:
    """The heaviest answers there are: long texts cut up, and a run that keeps the laws of a long prompt."""
    asked = [look("tokens", text=HEAVY) for _ in range(questions)]
    asked += [start(0, 64, target="lab-long", prompt=HEAVY, keep=["laws", "prompt"], max_new_tokens=8)]
    return [msgspec.structs.replace(frame, id=number) for number, frame in enumerate(asked)]


def test_a_client_that_never_reads(engine):
    async def play():
        peak = 0
        line = await engine.line(max_queue=1)  # the library reads ahead no more than one frame
        pushing = asyncio.create_task(send_all(line, heavy(FLOOD)))
        for _ in range(10):
            await asyncio.sleep(0.2)
            await greet(engine)
            peak = max(peak, engine.memory())
        pushing.cancel()
        line.transport.abort()
        assert peak - engine.peak < SLACK

    asyncio.run(play())
