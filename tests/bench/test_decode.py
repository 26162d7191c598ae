"""The arithmetic of the decoding bench, and that it really runs; never a time."""

import json

import pytest

from labkit.bench.contenders import Answer, Contender, Turns, ratio
from labkit.bench.decode import bench, rows
from labkit.errors import KnobError, LabError
from labkit.trace import Cost


def contender(name, *per_token, steps=0, **cost):
    answers = [Answer(12, 12 * seconds, steps, Cost(**cost)) for seconds in per_token]
    return Contender(name, None, answers=answers)


def test_ratios_are_medians_of_the_prompts_ratios_not_ratios_of_medians():
    table = rows([contender("generate", 4.0, 1.0, 9.0), contender("plain", 1.0, 2.0, 3.0, steps=4, target_forwards=6)])
    plain = table[1]
    assert plain["vs_generate"] == 3.0  # of 4, 0.5, 3
    assert plain["counterpart"] == "generate" and plain["vs_counterpart"] == 3.0
    assert plain["ms_per_token"] == 2000.0 and plain["tokens_per_target_forward"] == 2.0


def test_a_step_is_split_into_target_draft_and_rest():
    cost = dict(target_forwards=4, target_seconds=0.4, draft_seconds=0.2, seconds=0.8)
    row = rows([contender("generate", 1.0), contender("chain", 1.0, steps=4, **cost)])[1]
    assert [round(row[key]) for key in ("target_ms", "draft_ms", "rest_ms")] == [100, 50, 50]


def test_it_runs_every_contender_on_the_shipped_pair(shipped32):
    seen = []
    result = bench(shipped32, 1, 4, (0.0,), progress=lambda done, of: seen.append((done, of)))
    names = {row["name"] for row in result["sections"][0]["rows"]}
    assert {"generate", "generate, assisted", "generate, prompt lookup", "plain", "chain", "lookup", "token-recycling"} <= names
    assert all(row["ms_per_token"] > 0 for row in result["sections"][0]["rows"])
    assert seen[-1][0] == seen[-1][1] == len(seen)
    json.dumps(result)


# -- taking turns ------------------------------------------------------------------------------------------------------


def player(name, seen, stop_at=None, error=None):
    def write(ids, temperature, seed):
        seen.append((name, ids, seed))
        if seed == stop_at:
            raise error
        return Answer(4, 2.0)

    return Contender(name, write)


def test_everybody_answers_every_prompt_before_the_next_one():
    seen, turns = [], Turns(lambda done, of: None, 6)
    played = turns.play([player("a", seen), player("b", seen)], [[1], [2]], 0.0)
    prompts = [[1], [1], [2]]  # the first one warms up
    assert seen == [(name, prompt, turn) for turn, prompt in enumerate(prompts) for name in "ab"]
    assert [len(one.answers) for one in played] == [2, 2]
    assert ratio(*played) == 1.0


def test_after_ctrl_c_only_whole_rounds_count():
    seen, turns = [], Turns(lambda done, of: None, 8)
    played = turns.play([player("a", seen), player("b", seen, 2, KeyboardInterrupt())], [[1], [2], [3]], 0.0)
    assert turns.stopped and [len(one.answers) for one in played] == [1, 1]
    assert Turns(lambda done, of: None, 2).play([player("a", [], 0, KeyboardInterrupt())], [[1]], 0.0) == []


def test_who_cannot_play_leaves_and_says_why():
    seen, done = [], []
    turns = Turns(lambda *now: done.append(now), 8)
    played = turns.play([player("a", seen), player("b", seen, 1, KnobError("too hot"))], [[1], [2], [3]], 0.0)
    assert [one.name for one in played] == ["a"] and len(played[0].answers) == 3
    assert turns.left_out == {"b": "too hot"} and done[-1] == (6, 6)


@pytest.mark.parametrize("asked", [0, 1000])
def test_there_are_so_many_prompts(shipped32, asked):
    with pytest.raises(LabError, match=f"{asked} prompts are asked for"):
        bench(shipped32, asked, 4, (0.0,))
