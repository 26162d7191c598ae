"""Property-based fuzzing: of the protocol, of a whole house of visitors, and of trace files with the views that draw them.

A few hundred inputs each; LABKIT_FUZZ=100000 sets another number. See HOSTILE.md for what each number showed.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import resource
import signal
from collections import Counter

import fake_decoder
import made_traces
import msgspec
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from starlette.websockets import WebSocket

from labkit import views
from labkit.engine import frames
from labkit.engine.frames import REFUSED, TRY_LATER, Answer, Ask, Cancel, Ended, Failed, Grant, Happened, Start
from labkit.engine.limits import LARGEST_WINDOW, Limits, checked, packed
from labkit.engine.local import LocalEngine
from labkit.engine.server import House
from labkit.errors import EngineError, LabError, TraceError
from labkit.models import load
from labkit.run import run
from labkit.trace import Request, Setting, Trace, loads
from labkit.views import table

LONG = "LABKIT_FUZZ" in os.environ
INPUTS = int(os.environ.get("LABKIT_FUZZ", 300))
MEMORY = 2 * 2**30  # bytes that a view may take beside what is here already
SECONDS = 20  # for one view of one small trace; it takes milliseconds

many = settings(max_examples=INPUTS)

# -- frames ---------------------------------------------------------------------------------------------------------------

WORDS = some.text(max_size=20)
NUMBERS = some.integers(-(2**63), 2**64 - 1)
PLAIN = some.recursive(
    some.none() | some.booleans() | NUMBERS | some.floats(allow_nan=False) | WORDS | some.binary(max_size=20),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(WORDS, inner, max_size=4),
    max_leaves=10,
)
REQUESTS = some.builds(
    Request,
    method=WORDS,
    prompt=WORDS,
    ids=some.none() | some.lists(NUMBERS, max_size=5),
    knobs=some.dictionaries(WORDS, PLAIN, max_size=3),
    temperature=some.floats(allow_nan=False),
    transforms=some.lists(some.builds(Setting, WORDS, some.dictionaries(WORDS, PLAIN, max_size=2)), max_size=3),
    max_new_tokens=NUMBERS,
    seed=NUMBERS,
    target=WORDS,
    draft=WORDS,
    keep=some.lists(WORDS, max_size=3),
)
CREDIT = some.integers(1, LARGEST_WINDOW)
FRAMES = (
    some.builds(Ask, NUMBERS, WORDS, some.dictionaries(WORDS, PLAIN, max_size=4))
    | some.builds(Start, NUMBERS, REQUESTS.map(packed), CREDIT)
    | some.builds(Grant, NUMBERS, CREDIT)
    | some.builds(Cancel, NUMBERS)
)
BOMBS = [b"\xdd\xff\xff\xff\xff", b"\x91" * 5000]  # four thousand million items, five thousand floors


@some.composite
def damaged(draw) -> bytes:
    """A whole frame with bytes overwritten, put in or taken out."""
    data = bytearray(frames.pack(draw(FRAMES)))
    for _ in range(draw(some.integers(1, 4))):
        place, length = draw(some.integers(0, len(data))), draw(some.integers(0, 4))
        data[place : place + length] = draw(some.binary(max_size=6) | some.sampled_from(BOMBS))
    return bytes(data)


@many
@given(FRAMES)
def test_frames_come_through(frame):
    assert frames.from_visitor(frames.pack(frame)) == frame


@many
@given(some.binary(max_size=300) | damaged())
def test_any_bytes_are_a_frame_or_one_sentence(data):
    for read in (frames.from_visitor, frames.from_engine):
        try:
            frame = read(data)
        except EngineError as refused:
            assert str(refused).startswith(("This is no frame of the lab", "The engine sent what"))
        else:
            assert read(frames.pack(frame)) == frame


@many
@given(REQUESTS.map(packed) | PLAIN.map(lambda plain: msgspec.Raw(msgspec.msgpack.encode(plain))))
def test_any_request_is_inside_the_limits_or_one_sentence(request):
    limits = Limits()
    try:
        asked = checked(request, limits)
    except LabError as refused:
        assert 10 < len(str(refused))
    else:
        assert 1 <= asked.max_new_tokens <= limits.max_new_tokens


# -- a house of visitors ------------------------------------------------------------------------------------------------------


class Guest:
    """One visitor on a line without a network, and what it may expect."""

    def __init__(self, house: House):
        self.sent: asyncio.Queue = asyncio.Queue()
        self.sent.put_nowait({"type": "websocket.connect"})
        self.got: list = []
        self.code: int | None = None
        self.asked: list[int] = []
        self.paid: Counter[int] = Counter()  # credit by run
        line = WebSocket({"type": "websocket", "headers": []}, self.sent.get, self.take)
        self.visit = asyncio.get_running_loop().create_task(house.visit(line))

    async def take(self, message: dict) -> None:
        if message["type"] == "websocket.send":
            self.got.append(frames.from_engine(message["bytes"]))
        elif message["type"] == "websocket.close":
            self.code = message["code"]

    def say(self, data: bytes) -> None:
        self.sent.put_nowait({"type": "websocket.receive", "bytes": data})


FAKE = some.builds(
    Request,
    method=some.just("fake"),
    prompt=some.sampled_from(["", "a", "a" * 60]),
    max_new_tokens=some.integers(0, 12),
    seed=some.integers(0, 3),
    target=some.sampled_from(["", "", "", "../etc", "lab-long"]),
    draft=some.sampled_from(["", "", "", "none"]),
)
IDS = some.integers(0, 5)
GUESTS = some.integers(0, 3)


class Town(RuleBasedStateMachine):
    """Visitors come, ask, run, pay, stop, talk rubbish and leave in any order."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.decoder = fake_decoder.Decoder()
        limits = Limits(max_visitors=3, max_runs_per_visitor=2, max_runs=4, max_questions_per_visitor=2, max_new_tokens=10)
        self.engine = LocalEngine(self.decoder, fake_decoder.fake_pair, limits)
        self.house = House(self.engine, limits)
        self.guests: list[Guest] = []

    def guest(self, number: int) -> Guest | None:
        return self.guests[number % len(self.guests)] if self.guests else None

    @rule()
    def arrive(self):
        async def come():
            self.guests.append(Guest(self.house))

        if len(self.guests) < 8:
            self.loop.run_until_complete(come())

    @rule(number=GUESTS, id=IDS, verb=some.sampled_from(["status", "look", "close"]))
    def ask(self, number, id, verb):
        if guest := self.guest(number):
            guest.asked.append(id)
            guest.say(frames.pack(Ask(id, verb, {"what": "tokens", "text": "abc"} if verb == "look" else {})))

    @rule(number=GUESTS, id=IDS, request=FAKE, credit=CREDIT)
    def start(self, number, id, request, credit):
        if guest := self.guest(number):
            guest.paid[id] += credit
            guest.say(frames.pack(Start(id, packed(request), credit)))

    @rule(number=GUESTS, id=IDS, credit=some.integers(1, 8))
    def grant(self, number, id, credit):
        if guest := self.guest(number):
            guest.paid[id] += credit
            guest.say(frames.pack(Grant(id, credit)))

    @rule(number=GUESTS, id=IDS)
    def cancel(self, number, id):
        if guest := self.guest(number):
            guest.say(frames.pack(Cancel(id)))

    @rule(number=GUESTS, data=damaged())
    def talk_rubbish(self, number, data):
        if guest := self.guest(number):
            guest.say(data)

    @rule(number=GUESTS)
    def leave(self, number):
        if guest := self.guest(number):
            guest.sent.put_nowait({"type": "websocket.disconnect", "code": 1001})

    @rule(turns=some.integers(1, 50))
    def time_goes_by(self, turns):
        async def wait():
            for _ in range(turns):
                await asyncio.sleep(0)

        self.loop.run_until_complete(wait())

    @invariant()
    def limits_hold(self):
        assert len(self.house.visitors) <= 3 and self.engine.running <= 4
        for guest in self.guests:
            assert guest.code in (None, REFUSED, TRY_LATER)

    def teardown(self):
        async def close():
            for guest in self.guests:
                guest.sent.put_nowait({"type": "websocket.disconnect", "code": 1001})
            async with asyncio.timeout(30):
                await asyncio.gather(*(guest.visit for guest in self.guests))
                while self.engine.running or len(asyncio.all_tasks()) > 1:
                    await asyncio.sleep(0.001)
            await self.engine.close()

        self.loop.run_until_complete(close())
        self.loop.close()
        assert not self.house.visitors and self.decoder.opened == self.decoder.freed
        for guest in self.guests:
            answered = Counter(frame.id for frame in guest.got if isinstance(frame, Answer))
            assert answered <= Counter(guest.asked)
            events = Counter(frame.id for frame in guest.got if isinstance(frame, Happened))
            assert all(events[id] <= guest.paid[id] for id in events)
            for frame in guest.got:
                assert isinstance(frame, (Answer, Happened, Ended)) or "The engine failed" not in frame.text


def test_a_town_of_visitors():
    run_state_machine_as_test(Town, settings=settings(max_examples=max(20, INPUTS // 10), stateful_step_count=40))


def test_each_question_gets_one_answer():
    """Without rubbish and with patience nothing stays open."""

    @settings(max_examples=max(20, INPUTS // 10))
    @given(some.lists(some.tuples(some.sampled_from(["status", "look", "close", ""]), IDS), max_size=12))
    def ask(questions):
        async def play():
            engine = LocalEngine(fake_decoder.Decoder(), fake_decoder.fake_pair, Limits(max_questions_per_visitor=3))
            guest = Guest(House(engine, engine.limits))
            for verb, id in questions:
                guest.say(frames.pack(Ask(id, verb, {"what": "tokens", "text": "abc"} if verb == "look" else {})))
            async with asyncio.timeout(30):
                while len(guest.got) < len(questions):
                    await asyncio.sleep(0.001)
            guest.sent.put_nowait({"type": "websocket.disconnect", "code": 1000})
            await guest.visit
            await engine.close()
            assert Counter(frame.id for frame in guest.got) == Counter(id for _, id in questions)
            assert all(isinstance(frame, (Answer, Failed)) for frame in guest.got)

        asyncio.run(play())

    ask()


# -- traces and their views -----------------------------------------------------------------------------------------------------

EVERY_RUN = ("strip", "entropy", "next_token", "draft_tree", "acceptance", "block_efficiency", "cost")
QUICK = ("plain", "chain", "token-recycling", "dyspec", "top-h", "unmask", "prophet", "h2o", "tree-shapes", "superposed")
MADE = (made_traces.plain_trace, made_traces.tree_trace, made_traces.stream_trace, made_traces.adaspec_trace)
KEEP = ["laws", "prompt", "tests"]


def short(name: str, pair) -> bytes:
    """The first steps of a real run; b"" where the method wants other settings."""
    for heat in (0.8, 0.0):
        request = Request(method=name, prompt="def read(path):\n", max_new_tokens=8, temperature=heat, keep=KEEP)
        events = run(pair, request)
        try:
            trace = Trace(next(events))
            for event in itertools.islice(events, 3):
                trace.add(event)
            return trace.dumps()
        except LabError:
            continue
        finally:
            events.close()
    return b""


@pytest.fixture(scope="module")
def kinds() -> list[bytes]:
    """Traces to be mutated: of a few methods, in the long run of all methods and studies there are."""
    from labkit.methods import all_methods, all_studies

    pair = load("lab-target", "lab-draft", "cpu", "float32")
    known = all_methods() | all_studies()
    real = [short(name, pair) for name in known if LONG or name in QUICK]
    return [*(make().dumps() for make in MADE), *filter(None, real)]


NUMBERS_OF = {
    int: [0, -1, 1, 7, 10**6, 10**12, 2**31, 2**63, 2**64, 10**30],
    float: [0.0, -1.0, 0.5, 10**9, 1e308, -1e308, 5e-324],
}
STRANGE = [*NUMBERS_OF[int], *NUMBERS_OF[float], True, False, None]
TEXTS = ["", "x", "\0", "<script>alert(1)</script>", "x" * 5000, "\u202e", "NaN", "%{x}", "a\nb", "😀"]
NESTS = [[], {}, [[]], [None], {"": 0}, [1, "x"], {"x": [1]}]
RAW = ["NaN", "Infinity", "1e999", "9" * 400, "-" + "9" * 400, '"\\ud800"', "[" * 3000, '{"a":1,"a":[]}', "01", "'x'"]


def other(value, dice: random.Random):
    """A value in the place of `value`: mostly of its own kind, so that the file still loads."""
    if dice.random() < 0.2:
        return dice.choice([*STRANGE, *TEXTS, *NESTS])
    if isinstance(value, str):
        return dice.choice(TEXTS)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return dice.choice([value - 1, value + 1, -value, value * 1000, *NUMBERS_OF[type(value)]])
    if isinstance(value, list):
        changed = value * dice.choice([0, 1, 1, 2])
        dice.shuffle(changed)
        return changed[: dice.choice([len(changed), len(changed) // 2])]
    if isinstance(value, dict):
        return {key: value[key] for key in value if dice.random() < 0.9} | dice.choice([{}, {}, {"x": 1}])
    return dice.choice([True, False, None])


def mutated(data: bytes, dice: random.Random) -> bytes:
    """A trace with one to four values changed, half of them in what a method notes; at times with damaged bytes."""
    whole = json.loads(data)
    for _ in range(dice.choice([1, 1, 1, 2, 4])):
        notes = [step for step in whole["steps"] if step.get("notes")]
        place, key = (dice.choice(notes), "notes") if notes and dice.random() < 0.5 else (whole, dice.choice(list(whole)))
        while isinstance(inner := place[key], (dict, list)) and inner and dice.random() < 0.85:
            place, key = inner, dice.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        place[key] = other(place[key], dice)
        if not isinstance(whole.get("steps"), list) or not all(isinstance(step, dict) for step in whole["steps"]):
            break
    text = json.dumps(whole)
    if dice.random() < 0.05:
        cut = dice.randrange(len(text))
        text = text[:cut] + dice.choice(RAW) + text[cut + dice.randrange(3) :]
    return text.encode()


class TooSlow(BaseException):
    """A view took too long."""


@pytest.fixture
def bounded():
    """A view that wants the memory of the machine, or for ever, fails here and harms nobody else."""

    def late(*_):
        raise TooSlow

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + MEMORY, before[1]))
    handler = signal.signal(signal.SIGALRM, late)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)
    resource.setrlimit(resource.RLIMIT_AS, before)


def draw_some(trace: Trace, dice: random.Random) -> None:
    """Two views that claim the trace draw and tabulate it, or say in a sentence why not."""
    claim = list(dict.fromkeys([*EVERY_RUN, *(chart for chart in trace.opening.charts if chart in views.VIEWS)]))
    for name in dice.sample(claim[-3:], 1) + dice.sample(claim, 1):  # a method's own charts are the last
        upto = dice.choice([None, None, 0, 1])
        signal.alarm(SECONDS)
        for draw in (views.figure, table.csv_text):
            try:
                draw(name, [trace] if draw is views.figure else trace, upto=upto)
            except LabError as refused:
                assert str(refused) and not isinstance(refused.__cause__, (MemoryError, RecursionError)), name
        signal.alarm(0)


def test_mutated_traces_load_and_draw_or_say_why(kinds, bounded):
    loaded = Counter()

    @settings(max_examples=INPUTS)
    @given(some.integers(0, len(kinds) - 1), some.integers(0, 2**32))
    def mutate(kind, seed):
        dice = random.Random(seed)
        data = mutated(kinds[kind], dice)
        signal.alarm(SECONDS)
        try:
            trace = loads(data)
        except TraceError as refused:
            assert len(str(refused)) < 400
            loaded[False] += 1
        else:
            loaded[True] += 1
            assert loads(trace.dumps()) == trace and set(trace.ids) <= trace.pieces.keys()
            draw_some(trace, dice)

    mutate()
    print(f"{loaded[True]:,} of {loaded.total():,} mutations of {len(kinds)} traces could be loaded, and were drawn")
    assert loaded[True] and loaded[False]


def test_unmutated_traces_are_whole(kinds):
    for data in kinds:
        assert loads(data).dumps() == data


@many
@given(PLAIN.map(lambda plain: msgspec.json.encode(plain)) | some.binary(max_size=200) | WORDS)
def test_no_other_json_is_a_trace(data):
    with pytest.raises(TraceError):
        loads(data)
