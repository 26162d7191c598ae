"""The study of the verifiers: its toy figures are the reference values, its measured ones are in their order."""

from __future__ import annotations

import msgspec
import pytest

from labkit.methods import build_method
from labkit.run import run
from labkit.speculative.verifier_race import BEST, COUNTS, DISTINCT, MOST, PLACES, V1, V2, V3
from labkit.trace import Closing, Request, Step

REFERENCE = {
    "3 tokens": {V1: [0.29, 0.483, 0.6161], V2: [0.7, 0.76, 0.808], V3: [0.7, 0.791355, 0.858519]}
    | {DISTINCT: [0.7, 0.82, 1.0], BEST: [0.7, 0.860, 0.988]},
    "4 tokens": {V2: [0.7, 0.79], V3: [0.7, 0.825367], DISTINCT: [0.7, 0.925], BEST: [0.7, 0.910]},
}


def notes_of(pair, temperature: float = 1.0, **knobs) -> list[dict]:
    events = list(run(pair, Request(method="verifiers", prompt="x", temperature=temperature, knobs=knobs)))
    assert events[-1] == Closing("done", "")
    return [event.notes for event in events if isinstance(event, Step)]


@pytest.mark.parametrize("toy", REFERENCE)
def test_toy_figures_are_the_reference_values(toy, shipped32):
    p, q = build_method("verifiers", {"toy": toy}).toy_laws()
    events = run(shipped32, Request(method="verifiers", prompt="x", knobs={"toy": toy}))
    assert next(events).charts == ["acceptance_by_drafts", "cover", "blocks_by_drafts"]
    toys = next(events).notes["toy"]
    events.close()
    assert (toys["p"], toys["q"]) == (p.tolist(), q.tolist())
    for name, line in REFERENCE[toy].items():
        assert toys["acceptance"][name][: len(line)] == pytest.approx(line, abs=1e-6)
        assert len(toys["acceptance"][name]) == MOST


def test_shaped_laws_do_what_their_knobs_say():
    def laws(**knobs):
        return build_method("verifiers", {"toy": "shaped", **knobs}).toy_laws()

    p, q = laws(overlap=1.0, tokens=6)
    assert len(p) == 6 and p.tolist() == q.tolist() and p.argmax() == 0
    assert laws(sharpness=0.0)[0].tolist() == pytest.approx([0.2] * 5)
    p, q = laws(overlap=0.0)
    assert q.tolist() == p.flip(0).tolist()


def test_measured_figures(shipped32):
    steps = notes_of(shipped32, texts=2, length=2)
    assert [one["done"] for one in steps] == list(range(1, steps[0]["of"] + 1))
    assert max(len(msgspec.json.encode(one)) for one in steps) < 10_000
    last = steps[-1]
    assert last["places"]["count"] == 2 * PLACES
    lines = last["places"]["acceptance"]
    for k in range(MOST):
        assert lines[V1][k] <= lines[V2][k] + 1e-9 <= lines[V3][k] + 2e-6 <= lines[BEST][k] + 3e-6
        assert 0 < lines[V1][k] and lines[BEST][k] <= 1 and lines[V2][k] <= lines[DISTINCT][k] + 0.02
    assert all(line == sorted(line) for line in lines.values())
    assert lines[V2][0] == pytest.approx(lines[V3][0]) and lines[V2][0] == pytest.approx(lines[DISTINCT][0])
    toy, mean = last["cover"]
    assert all(sum(bar["parts"]) == pytest.approx(1) for bar in mean["bars"]) and toy == steps[0]["cover"][0]
    for line in last["calls"].values():
        assert [count for count, *_ in line] == list(COUNTS)
        assert all(1 <= tokens / calls <= 3 for _, tokens, calls in line)
    assert len({calls for line in last["calls"].values() for *_, calls in line}) == 1, "the same trees for everybody"


def test_at_temperature_zero_drafts_are_all_one(shipped32):
    last = notes_of(shipped32, 0.0, texts=1, length=1)[-1]
    for line in last["places"]["acceptance"].values():
        assert line == pytest.approx([line[0]] * MOST)
    assert len({tokens for line in last["calls"].values() for _, tokens, _ in line}) == 1
