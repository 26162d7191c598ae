"""The sampling bench: its counts are the traces', every transform has its row, and evaluations are added up; never a time."""

import json
from functools import partial

import pytest

from labkit.bench import sampling
from labkit.bench.contenders import Answer, Contender, of_theme, tally
from labkit.bench.sampling import SIZES, TURNED, bench, constraints, rows, transforms
from labkit.methods import all_transforms, method_info
from labkit.prompts import heldout
from labkit.sampling.shipped_constraints import SHIPPED
from labkit.trace import Cost, Step

PROMPTS, TOKENS, TEMPERATURE = 2, 8, 1.0


def test_every_transform_has_a_row_and_none_is_off():
    assert set(TURNED) == set(all_transforms()), "a transform at its default knobs does nothing: give it a value here"
    found = transforms(repeats=2, sizes=(50, 400))
    assert [row["name"] for row in found] == list(all_transforms())
    for row in found:
        assert row["ms_50"] > 0 and row["ms_400"] > 0 and row["vs_top-p_400"] > 0
    assert next(row for row in found if row["name"] == "top-p")["vs_top-p_50"] == 1.0


def test_counts_are_those_of_the_traces(shipped32, traced, monkeypatch):
    monkeypatch.setattr(sampling, "transforms", partial(transforms, repeats=1))  # their times are not what is asked for
    monkeypatch.setattr(sampling, "constraints", partial(constraints, texts=1))  # and these are counted further down
    result = bench(shipped32, PROMPTS, TOKENS, (TEMPERATURE,))
    table = {row["name"]: row for row in result["sections"][0]["rows"]}
    assert set(table) | set(result["left_out"]) == set(of_theme("sampling")) >= {"plain"}
    traces = [
        traced(shipped32, "plain", prompt=text, temperature=TEMPERATURE, max_new_tokens=TOKENS, seed=seed)
        for seed, text in enumerate(heldout(PROMPTS), 1)
    ]
    tokens = sum(len(trace.ids) for trace in traces)
    plain = table["plain"]
    assert plain["tokens"] == tokens and plain["evals"] is None and plain["vs_plain"] == 1.0
    assert plain["target_forwards"] == sum(trace.cost.target_forwards for trace in traces) / tokens
    assert plain["target_tokens"] == sum(trace.cost.target_tokens for trace in traces) / tokens
    assert {f"ms_{size}" for size in SIZES} <= set(result["transforms"][0])
    assert {row["name"] for row in result["constraints"]} == set(SHIPPED)
    json.dumps(result)


def test_only_the_theme_plays():
    assert all(method_info(cls).theme == "sampling" for cls in of_theme("sampling").values())
    assert "chain" in of_theme("speculative") and "chain" not in of_theme("sampling")


def test_evaluations_are_added_up():
    steps = [Step([1, 2], notes={"asked": 3}), Step([5], notes={"asked": 8}), Step([7], notes={})]
    assert tally(steps[:2], 1.0).evals == 8 and tally(steps[2:], 1.0).evals is None
    cost = Cost(target_forwards=8, target_tokens=12)
    plain = Contender("plain", None, answers=[Answer(4, 1.0, 4, cost)])
    constrained = Contender("awrs", None, answers=[Answer(4, 2.0, 4, cost, evals=10), Answer(4, 2.0, 4, cost, evals=6)])
    table = {row["name"]: row for row in rows([plain, constrained])}
    assert table["awrs"]["evals"] == 2.0 and table["plain"]["evals"] is None
    assert table["awrs"]["target_forwards"] == 2.0 and table["awrs"]["target_tokens"] == 3.0
    assert table["awrs"]["vs_plain"] == pytest.approx(0.5)


def test_constraints_are_asked_far_less_often_than_masks_are(shipped32):
    table = constraints(shipped32, texts=2)
    assert {row["name"] for row in table} == set(SHIPPED)
    for row in table:
        assert row["awrs"] >= 1 and row["masking"] > row["shared"] > row["awrs"]
        assert row["fewer"] == row["masking"] / row["awrs"] > 20
