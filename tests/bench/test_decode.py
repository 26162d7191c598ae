"""The arithmetic of the decoding bench, and that it really runs; never a time."""

import json

from labkit.bench.decode import Contender, bench, rows
from labkit.trace import Cost


def _contender(name, per_token, steps=0, **cost):
    contender = Contender(name, lambda *_: None, per_token, [Cost(**cost)] if cost else [], steps, 12 if steps else 0)
    return contender


def test_ratios_are_medians_of_the_prompts_ratios_not_ratios_of_medians():
    table = rows([_contender("generate", [4.0, 1.0, 9.0]), _contender("plain", [1.0, 2.0, 3.0], 4, target_forwards=6)])
    plain = table[1]
    assert plain["vs_generate"] == 3.0  # of 4, 0.5, 3
    assert plain["counterpart"] == "generate" and plain["vs_counterpart"] == 3.0
    assert plain["ms_per_token"] == 2000.0 and plain["tokens_per_target_forward"] == 2.0


def test_a_step_is_split_into_target_draft_and_rest():
    cost = dict(target_forwards=4, target_seconds=0.4, draft_seconds=0.2, seconds=0.8)
    row = rows([_contender("generate", [1.0]), _contender("chain", [1.0], 4, **cost)])[1]
    assert [round(row[key]) for key in ("target_ms", "draft_ms", "rest_ms")] == [100, 50, 50]


def test_it_runs_every_contender_on_the_shipped_pair():
    seen = []
    result = bench(prompts=1, tokens=4, temperatures=(0.0,), progress=lambda done, of: seen.append((done, of)))
    names = {row["name"] for row in result["sections"][0]["rows"]}
    assert {"generate", "generate, assisted", "generate, prompt lookup", "plain", "chain", "lookup", "token-recycling"} <= names
    assert all(row["ms_per_token"] > 0 for row in result["sections"][0]["rows"])
    assert seen[-1][0] == seen[-1][1] == len(seen)
    json.dumps(result)
