"""Traces: a round trip loses nothing, and a broken or hostile file gives one sentence and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from labkit import trace as traces
from labkit.errors import TraceError
from labkit.trace import Belief, Closing, Cost, Opening, Request, Setting, Step, Test, Trace, Tree, load, loads


def whole() -> Trace:
    """A trace with everything in it."""
    request = Request(
        method="chain",
        prompt="dé <b>\n",
        temperature=0.7,
        transforms=[Setting("top-p", {"p": 0.9})],
        knobs={"length": 3},
    )
    pieces = {0: "d", 1: "é", 2: "<b>", 3: "\\xe2"}
    opening = Opening(request, [0, 1, 2], [Belief(1, 0.5, -0.1, 0, [1, 0], [-0.1, -2.5])] * 2, pieces, "t", "d")
    tree = Tree(
        tokens=[4, 5, 6],
        parents=[-1, 0, 0],
        kind="iid",
        draft_logprobs=[-0.5, None, -1e9],
        draft_entropies=[0.1, 0.2, 0.3],
        target_logprobs=[-0.25, -1.5, -2.0],
        target_entropies=[1.0, 1.0, 1.0],
        verdicts=["accepted", "accepted", "unreached"],
        reasons=["a", "b", "c"],
        coins=[0.25, 0.5, None],
        thresholds=[1.0, 0.75, None],
        order=[0, 1, None],
        path=[0, 1],
        added=7,
        added_logprob=-0.125,
        added_from="target",
    )
    tests = [Test(1, [5, 7], [0.5, 0.25], [0.25, 0.5], [1.0, 0.0], 0.5, 0.25, 0.25)]
    belief = Belief(4, 1.25, -0.25, 1, [8, 4], [-0.2, -0.25], b"\x00\xff\x01")
    later = {4: "x", 5: " y", 6: "\u2028", 7: "\U0001f600", 8: "</script>"}
    first = Step(
        [4, 5, 7], None, ["draft", "draft", "target"], [belief] * 3, tree, tests, Cost(1, 4, 0.5), {"a": [1]}, later
    )
    second = Step([8, 8], [4, 3], cost=Cost(2, 1, 0.25, 3, 4, 0.125, 1.5, 640))
    return Trace(opening, [first, second], Closing("length", "x y😀"))


def plain() -> dict:
    return json.loads(whole().dumps())


def test_round_trip(tmp_path):
    trace = whole()
    assert loads(trace.dumps()) == trace
    assert loads(trace.dumps().decode()) == trace
    trace.save(tmp_path / "run.json")
    again = load(tmp_path / "run.json")
    assert again == trace
    assert again.dumps() == trace.dumps()
    assert again.steps[0].beliefs[0].law == b"\x00\xff\x01"


def test_a_real_run_comes_back_equal(shipped32, traced, tmp_path):
    for temperature in (0.0, 1.0):
        more = {"temperature": temperature, "max_new_tokens": 12, "keep": ["laws", "prompt", "tests"]}
        trace = traced(shipped32, "chain", prompt="def add(a, b):\n    ", **more)
        trace.save(tmp_path / "run.json")
        assert load(tmp_path / "run.json") == trace


def test_reading_a_trace():
    trace = whole()
    assert trace.ids == [4, 5, 7, 8, 8]
    assert trace.ids_upto(1) == [4, 5, 7]
    assert trace.ids_upto(0) == []
    assert trace.steps[0].tree.depths == [1, 2, 2]
    assert trace.pieces[8] == "</script>"
    assert trace.cost == Cost(3, 5, 0.75, 3, 4, 0.125, 1.5, 640), "flows add up, the cache is a level"
    built = Trace(trace.opening)
    for event in (*trace.steps, trace.closing):
        built.add(event)
    assert built == trace


def test_places_out_of_order():
    trace = Trace(whole().opening, [Step([1, 2], [3, 0]), Step([5, 6], [1, 2])])
    assert trace.ids_upto(1) == [2, 1]
    assert trace.ids == [2, 5, 6, 1]


def change(path: str, value) -> bytes:
    """The whole trace as JSON with one value changed; `path` like "steps.0.tree.parents"."""
    data = plain()
    *inner, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    place = data
    for key in inner:
        place = place[key]
    place[last] = value
    return json.dumps(data).encode()


BROKEN = {
    "nothing": b"",
    "random bytes": bytes(range(256)),
    "half": whole().dumps()[: len(whole().dumps()) // 2],
    "one byte short": whole().dumps()[:-1],
    "two": whole().dumps() * 2,
    "a list": b"[]",
    "null": b"null",
    "a pickle": b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins\x94.",
    "no opening": b'{"steps": [], "schema": 1}',
    "deep": b'{"steps":' + b"[" * 100_000,
    "deep notes": change("steps.0.notes", 0).replace(
        b'"notes": 0', b'"notes": {"a": ' + b"[" * 9000 + b"]" * 9000 + b"}"
    ),
    "half a character": '{"schema": 1, "x": "\ud800"}',
    "no utf-8": b'{"schema": 1, "x": "\xff"}',
    "infinity": change("steps.0.beliefs.0.entropy", float("inf")),
    "nan": change("steps.0.tree.coins", [float("nan"), 0.5, None]),
    "too large a number": change("steps.0.cost.seconds", 1).replace(b'"seconds": 1', b'"seconds": 1e999'),
    "digits": b'{"schema": 1' + b"0" * 5000 + b"}",
    "words for numbers": change("steps.0.emitted", ["a", 5, 7]),
    "fractions for tokens": change("steps.0.emitted", [4.5, 5, 7]),
    "a step that is none": change("steps.0.type", "script"),
    "a long type": change("steps.0.type", "x" * 100_000),
    "a word for a tree": change("steps.0.tree", "oak"),
    "too few beliefs": change("steps.0.beliefs", plain()["steps"][0]["beliefs"][:2]),
    "too few prompt beliefs": change("opening.prompt_beliefs", plain()["opening"]["prompt_beliefs"][:1]),
    "ragged belief": change("steps.0.beliefs.0.top_logprobs", [-0.5]),
    "ragged test": change("steps.0.tests.0.residual", [1.0]),
    "a test of nothing": change("steps.0.tests.0.node", 3),
    "a test before the tree": change("steps.0.tests.0.node", -1),
    "ragged places": change("steps.1.at", [3]),
    "ragged parents": change("steps.0.tree.parents", [-1, 0]),
    "ragged verdicts": change("steps.0.tree.verdicts", ["accepted"]),
    "ragged coins": change("steps.0.tree.coins", [0.5] * 4),
    "its own parent": change("steps.0.tree.parents", [-1, 1, 0]),
    "a cycle": change("steps.0.tree.parents", [-1, 2, 1]),
    "a parent below": change("steps.0.tree.parents", [-1, -2, 0]),
    "a path to nowhere": change("steps.0.tree.path", [0, 3]),
    "a path that jumps": change("steps.0.tree.path", [1]),
    "a path that goes round": change("steps.0.tree.path", [0, 1, 0]),
    "no piece for an emitted token": change("steps.1.emitted", [8, 99]),
    "no piece for a drafted token": change("steps.0.tree.tokens", [4, 5, 99]),
    "no piece for the added token": change("steps.0.tree.added", 99),
    "no piece for an alternative": change("steps.0.beliefs.0.top", [99, 4]),
    "no piece for a prompt token": change("opening.prompt_ids", [0, 1, 99]),
    "no piece for a prompt alternative": change("opening.prompt_beliefs.0.top", [99, 0]),
    "no piece for a tested token": change("steps.0.tests.0.tokens", [5, 99]),
    "no pieces": change("steps.0.pieces", {}),
    "words for token names": change("steps.0.pieces", {"x": "y"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_and_hostile_files(name):
    with pytest.raises(TraceError) as caught:
        loads(BROKEN[name])
    sentence = str(caught.value)
    assert len(sentence) < 400
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize("version", [0, 2, -1, 10**9])
def test_another_version_says_so(version):
    with pytest.raises(TraceError, match=f"has version {version}, this lab reads version 1"):
        loads(change("schema", version))


def test_another_version_is_named_before_its_unknown_shape():
    with pytest.raises(TraceError, match="has version 7"):
        loads(b'{"schema": 7, "chapters": []}')


def test_a_huge_file_is_not_even_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(traces, "LARGEST_FILE", 1000)
    whole().save(tmp_path / "run.json")
    with pytest.raises(TraceError, match="more than the 1,000 allowed"):
        load(tmp_path / "run.json")


def test_a_missing_file(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(TraceError, match="cannot be read"):
            load(path)


def test_unchanged_is_whole():
    """The mutations above break a trace that is fine without them."""
    assert loads(json.dumps(plain())) == whole()


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@some.composite
def mutations(draw):
    """The whole trace with one to three places, anywhere in it, overwritten, deleted or doubled."""
    data = plain()
    for _ in range(draw(some.integers(1, 3))):
        place, last = None, None
        inner = data
        while isinstance(inner, (dict, list)) and inner and (place is None or draw(some.integers(0, 3))):
            place, last = inner, draw(some.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
            inner = place[last]
        if place is None:
            break
        act = draw(some.sampled_from(["overwrite", "delete", "double"]))
        if act == "overwrite":
            place[last] = draw(JSON | some.sampled_from([-1, 3, 2**63, 2**70, -0.5, 1e308, [], {}, "", "1"]))
        elif act == "delete":
            del place[last]
        elif isinstance(place, list):
            place.insert(last, place[last])
        else:
            place[last] = [place[last]] * 2
    return json.dumps(data).encode()


def loads_or_one_sentence(data) -> None:
    try:
        trace = loads(data)
    except TraceError as caught:
        assert len(str(caught)) < 400
    else:
        assert loads(trace.dumps()) == trace
        assert set(trace.ids) <= trace.pieces.keys()


@settings(max_examples=150, deadline=None)
@given(mutations())
def test_mutated_traces(data):
    loads_or_one_sentence(data)


@settings(max_examples=100, deadline=None)
@given(some.integers(0, 5000), some.binary(max_size=8))
def test_damaged_bytes(place, junk):
    data = bytearray(whole().dumps())
    data[place % len(data) : place % len(data) + len(junk)] = junk
    loads_or_one_sentence(bytes(data))


@settings(max_examples=100, deadline=None)
@given(some.binary(max_size=200) | some.text(max_size=50))
def test_any_bytes(data):
    with pytest.raises(TraceError):
        loads(data)


@pytest.mark.parametrize(
    "module", ["labkit.trace", "labkit.knobs", "labkit.errors", "labkit.engine.protocol", "labkit.engine"]
)
def test_the_near_side_loads_nothing_heavy(module):
    heavy = "{'torch', 'numpy', 'pandas', 'transformers', 'scipy'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
