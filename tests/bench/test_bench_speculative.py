"""The drafting bench: its figures are the traces', its bounds bound, and wrong flags are one sentence."""

import json
import statistics

import pytest

from labkit.bench.contenders import Answer, Contender
from labkit.bench.speculative import PERFECT, bench, chosen, free_draft, rows
from labkit.errors import KnobError
from labkit.prompts import heldout
from labkit.trace import UNREACHED, Cost

PROMPTS, TOKENS, TEMPERATURE = 2, 8, 1.0


@pytest.fixture(scope="module")
def result(shipped64):
    return bench(shipped64, chosen("chain,lookup", ["chain.length=3"]), PROMPTS, TOKENS, (TEMPERATURE,))


@pytest.fixture(scope="module")
def by_name(result):
    return {row["name"]: row for row in result["sections"][0]["rows"]}


@pytest.mark.parametrize(("method", "knobs"), [("chain", {"length": 3}), ("lookup", {}), ("plain", {})])
def test_figures_are_those_of_the_traces(by_name, traced, shipped64, method, knobs):
    per_prompt = {}
    for seed, text in enumerate(heldout(PROMPTS), 1):
        trace = traced(shipped64, method, prompt=text, knobs=knobs, temperature=TEMPERATURE, max_new_tokens=TOKENS, seed=seed)
        cost, verdicts = trace.cost, [verdict for step in trace.steps if step.tree for verdict in step.tree.verdicts]
        tested = sum(verdict != UNREACHED for verdict in verdicts)
        for name, value in {
            "tokens_per_target_forward": len(trace.ids) / cost.target_forwards,
            "target_forwards_per_token": cost.target_forwards / len(trace.ids),
            "draft_forwards_per_token": cost.draft_forwards / len(trace.ids),
            "nodes_per_token": len(verdicts) / len(trace.ids),
            "accepted_of_tested": verdicts.count("accepted") / tested if tested else None,
            "accepted_of_drafted": verdicts.count("accepted") / len(verdicts) if verdicts else None,
        }.items():
            per_prompt.setdefault(name, []).append(value)
    for name, values in per_prompt.items():
        known = [value for value in values if value is not None]
        assert by_name[method][name] == (pytest.approx(statistics.median(known)) if known else None), name


def test_bounds_are_above_what_they_bound(by_name):
    perfect = {length: by_name[f"bound: perfect draft of {length}"] for length in PERFECT}
    for row in perfect.values():
        assert row["accepted_of_drafted"] == row["accepted_of_tested"] == 1.0, "an oracle is never refused"
        assert row["draft_forwards_per_token"] == 0
    assert perfect[4]["tokens_per_target_forward"] >= by_name["chain"]["tokens_per_target_forward"]
    assert perfect[24]["tokens_per_target_forward"] >= by_name["lookup"]["tokens_per_target_forward"]
    assert perfect[24]["tokens_per_target_forward"] == TOKENS, "all in one forward"
    free = by_name["bound: free draft, chain"]
    assert free["tokens_per_target_forward"] == by_name["chain"]["tokens_per_target_forward"]
    assert free["ms_per_token"] < by_name["chain"]["ms_per_token"]
    assert "bound: free draft, lookup" not in by_name


def test_transformers_stand_beside_and_the_result_is_plain_data(result, by_name):
    assert by_name["generate"]["vs_generate"] == 1.0
    assert {"generate, assisted", "generate, prompt lookup", "plain"} <= set(by_name)
    assert (result["prompts"], result["tokens"], result["left_out"], result["stopped"]) == (PROMPTS, TOKENS, {}, False)
    assert result["knobs"]["chain"]["length"] == 3
    assert result["sections"][0]["prompts"] == PROMPTS
    totals = by_name["chain"]["totals"]
    assert totals["tokens"] == PROMPTS * TOKENS and totals["accepted"] <= totals["tested"] <= totals["drafted"]
    json.dumps(result)


def test_a_free_draft_takes_off_the_drafts_seconds_and_nothing_else():
    cost = Cost(target_forwards=2, draft_forwards=6, draft_seconds=1.5, seconds=4.0)
    chain = Contender("chain", None, answers=[Answer(8, 4.0, 2, cost, 6, 4, 3)])
    generate = Contender("generate", None, answers=[Answer(8, 8.0)])
    assert free_draft(generate) is None
    table = {row["name"]: row for row in rows([generate, chain])}
    assert table["bound: free draft, chain"]["ms_per_token"] == 1e3 * 2.5 / 8
    assert table["bound: free draft, chain"]["vs_generate"] == 8 / 2.5
    assert (table["chain"]["accepted_of_tested"], table["chain"]["accepted_of_drafted"]) == (0.75, 0.5)
    assert "tokens_per_target_forward" not in table["generate"], "transformers does not say"


@pytest.mark.parametrize(
    ("methods", "settings", "said"),
    [
        ("chain,magic", [], "'magic'"),
        ("plain", [], "'plain'"),
        ("chain", ["length=3"], "method.knob=value"),
        ("chain", ["chain.length"], "method.knob=value"),
        ("chain", ["lookup.length=3"], "does not play"),
        ("chain", ["chain.width=3"], "'width'"),
        ("chain", ["chain.length=99"], "outside its range"),
    ],
)
def test_wrong_flags_are_named(methods, settings, said):
    with pytest.raises(KnobError, match=said):
        chosen(methods, settings)
