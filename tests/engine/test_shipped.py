"""The engine with the shipped pair: the same request gives the same trace here and across the socket."""

import asyncio
import math
import struct

import msgspec
import pytest

from labkit.engine.limits import Limits
from labkit.engine.local import LocalEngine
from labkit.errors import EngineError, KnobError, LabError, ModelError, PromptError
from labkit.trace import Cost, Request, Setting, Trace

PROMPT = "def read(path):\n    with open(path) as file:\n        return "


@pytest.fixture(scope="module")
def shipped():
    engine = LocalEngine(limits=Limits())
    yield engine
    asyncio.run(engine.close())


def timeless(trace: Trace) -> Trace:
    """The trace without what a clock said."""
    for step in trace.steps:
        step.cost = Cost(
            **{name: 0.0 if "seconds" in name else getattr(step.cost, name) for name in Cost.__struct_fields__}
        )
    return trace


async def trace_of(engine, request: Request) -> Trace:
    events = [event async for event in engine.run(request)]
    return timeless(Trace(events[0], events[1:-1], events[-1]))


@pytest.mark.parametrize("method", ["plain", "chain", "lookup", "token-recycling"])
def test_the_trace_is_the_same_here_and_there(serving, shipped, method):
    request = Request(
        method=method,
        prompt=PROMPT,
        max_new_tokens=12,
        temperature=0.8,
        transforms=[Setting("top-k", {"k": 40})],
        seed=7,
        keep=["laws", "prompt"],
    )

    async def play():
        other = LocalEngine(limits=Limits())  # a method may learn from run to run, so that each engine is new to it
        async with serving(other) as (remote, _):
            here, there = await trace_of(shipped, request), await trace_of(remote, request)
        assert here.dumps() == there.dumps()
        assert 12 <= sum(len(step.emitted) for step in here.steps) and here.closing.reason == "length"
        assert len(here.steps[0].beliefs[0].law) == 2 * here.opening.vocabulary

    asyncio.run(play())


def test_looks(serving, shipped):
    async def play():
        async with serving(shipped) as (engine, _):
            cut = await engine.look("tokens", text=PROMPT + "é<script>")
            assert cut["count"] == len(cut["ids"]) and cut["room"] + cut["count"] == cut["context"] == 2048
            assert "".join(cut["pieces"][token] for token in cut["ids"]).startswith(PROMPT)
            assert (await engine.look("tokens", text=""))["count"] == 0

            ids = (await engine.look("tokens", text=PROMPT))["ids"]
            following = await engine.look("next", ids=ids, top=5, laws=True)
            request = Request(method="plain", ids=ids, max_new_tokens=1)
            opening, step, *_ = [event async for event in engine.run(request)]
            assert following["top"] == step.beliefs[0].top[:5] and following["top"][0] == step.emitted[0]
            assert following["entropy"] == pytest.approx(step.beliefs[0].entropy, abs=1e-4)
            assert following["top_logprobs"] == sorted(following["top_logprobs"], reverse=True)
            law = struct.unpack(f"<{opening.vocabulary}e", following["law"])
            assert law[following["top"][0]] == pytest.approx(following["top_logprobs"][0], abs=1e-2)
            assert math.fsum(map(math.exp, law)) == pytest.approx(1, abs=5e-3)
            assert set(following["pieces"]) == set(following["top"])

            checked = await engine.look("check", ids=ids, variant="V2", draws=200, seed=1)
            assert checked["draws"] == 200 and checked == await shipped.look(
                "check", ids=ids, variant="V2", draws=200, seed=1
            )
            msgspec.json.encode(checked)  # plain data all through

    asyncio.run(play())


@pytest.mark.parametrize(
    "what, question, kind, words",
    [
        ("next", dict(ids=[]), PromptError, "empty"),
        ("next", dict(ids=[4096]), PromptError, "outside the vocabulary"),
        ("next", dict(ids=[-1]), PromptError, "outside the vocabulary"),
        ("next", dict(ids=[1] * 3000), PromptError, "context"),
        ("next", dict(ids=[1], top=0), EngineError, "top"),
        ("next", dict(ids=[1], bottom=3), EngineError, "bottom"),
        ("next", dict(), EngineError, "ids"),
        ("tokens", dict(text="x" * 600_000), PromptError, "600,000 characters"),
        ("tokens", dict(text="x", target="/etc"), ModelError, "'/etc' is not offered here"),
        ("check", dict(), EngineError, "ids"),
        ("check", dict(ids=[1], draws="many"), EngineError, "draws|int"),
        ("check", dict(ids=[1], draws=10**6), KnobError, "20,000"),
        ("check", dict(ids=[9999]), PromptError, "outside the vocabulary"),
        ("check", dict(ids=[1], variant="V9"), KnobError, "V9"),
        ("check", dict(ids=[1], colour="red"), EngineError, "colour"),
    ],
)
def test_bad_questions_are_one_sentence(shipped, what, question, kind, words, capsys):
    async def play():
        with pytest.raises(kind, match=words):
            await shipped.look(what, **question)

    asyncio.run(play())
    assert not capsys.readouterr().err  # foreseen, so that nothing is written to the engine's messages


@pytest.mark.parametrize(
    "wrong",
    [
        dict(method="nonsense"),
        dict(method="chain", knobs={"length": 10**6}),
        dict(method="chain", knobs={"length": [1]}),
        dict(method="plain", knobs={"a": 1}),
        dict(temperature=-1.0),
        dict(temperature=math.nan),
        dict(transforms=[Setting("top-k", {"k": -1})]),
        dict(transforms=[Setting("sideways")]),
        dict(keep=["everything"]),
        dict(prompt=""),
        dict(ids=[10**9]),
        dict(seed=-1),
        dict(seed=2**64 - 1),
        dict(draft="lab-target/../lab-draft"),
    ],
)
def test_bad_requests_are_one_sentence(shipped, wrong, capsys):
    request = Request(**{"method": "plain", "prompt": PROMPT, "max_new_tokens": 2, **wrong})

    async def play():
        with pytest.raises(LabError):
            await trace_of(shipped, request)

    asyncio.run(play())
    assert not capsys.readouterr().err


def test_models_know_that_they_are_loaded(shipped):
    async def play():
        await shipped.warm()
        assert {model.name for model in await shipped.models() if model.loaded} == {"lab-target", "lab-draft"}
        assert shipped.loaded() == ["lab-draft", "lab-target"]
        status = await shipped.status()
        assert (status.target, status.draft, status.device) == ("lab-target", "lab-draft", "cpu")

    asyncio.run(play())
