"""The study of tree shapes: the same prompts and coins for every shape, honest counts, and the direction of P004."""

from __future__ import annotations

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


def test_direction(shipped32, prompts, traced):
    """At temperature 0 DySpec's 16 nodes bring more than a chain's; at 1 less than the static tree's, as the docstring says."""

    def tokens_a_call(method: str, temperature: float, **knobs) -> float:
        more = {"knobs": knobs, "temperature": temperature, "max_new_tokens": 32}
        traces = [traced(shipped32, method, ids=ids, seed=seed, **more) for seed, ids in enumerate(prompts[:12])]
        return sum(len(trace.ids) for trace in traces) / sum(trace.cost.target_forwards for trace in traces)

    assert tokens_a_call("dyspec", 0.0, draft_temperature=0.4) > 1.05 * tokens_a_call("chain", 0.0, length=16)
    assert tokens_a_call("dyspec", 1.0) < tokens_a_call("static-tree", 1.0)
