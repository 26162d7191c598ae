"""The study of tree shapes: the same prompts and coins for every shape, honest counts, and the direction of P004."""

from __future__ import annotations

import pytest

from labkit.run import run
from labkit.trace import Request, Step


def rows(pair, temperature: float, **knobs) -> tuple[list[dict], list[Step], dict]:
    """The rows of the last step, all steps, and (shape, budget) -> tokens a round."""
    asked = Request(method="tree-shapes", prompt="x", temperature=temperature, knobs=knobs, seed=1)
    steps = [event for event in run(pair, asked) if isinstance(event, Step)]
    found = steps[-1].notes["rows"]
    return found, steps, {(row["shape"], row["budget"]): row["tokens"] / row["rounds"] for row in found}


def test_counts(shipped32):
    found, steps, _ = rows(shipped32, 0.7, prompts=2, tokens=12, largest=8)
    assert [step.notes["done"] for step in steps] == list(range(1, 21)) and steps[-1].notes["of"] == 20
    assert all(not step.emitted for step in steps)
    assert len(found) == 10 and len(steps[0].notes["rows"]) == 1
    for row in found:
        assert row["prompts"] == 2 and row["tokens"] >= 24
        assert row["tokens"] == row["accepted"] + row["rounds"], "one token of the target's own a round"
        assert row["accepted"] <= row["nodes"] <= row["budget"] * row["rounds"]
        if row["shape"] in ("chain", "2-ary", "static"):
            assert row["nodes"] == row["budget"] * row["rounds"]
    calls = sum(step.cost.target_forwards for step in steps)
    assert calls == sum(row["rounds"] for row in found), "every round is one target forward"
    assert sum(step.cost.draft_forwards for step in steps) == sum(row["draft_calls"] for row in found)
    chain = next(row for row in found if (row["shape"], row["budget"]) == ("chain", 8))
    assert chain["draft_calls"] == 8 * chain["rounds"]


def test_the_same_seed_gives_the_same_counts(shipped32):
    one, two = (rows(shipped32, 1.0, prompts=1, tokens=8, largest=4)[0] for _ in range(2))
    for row in (*one, *two):
        row.pop("seconds")
    assert one == two


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_direction(shipped32, temperature):
    """DySpec beats every other shape of 16 nodes at temperature 0 and loses to the static tree at 1, as its docstring says."""
    _, _, gain = rows(shipped32, temperature, prompts=12, tokens=32, largest=16)
    others = [gain[shape, 16] for shape in ("chain", "2-ary", "static")]
    if temperature == 0:
        assert gain["DySpec, heap", 16] > max(others)
        assert gain["DySpec, heap", 16] > 1.1 * gain["chain", 16]
    else:
        assert gain["DySpec, heap", 16] < gain["static", 16]
