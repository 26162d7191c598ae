"""The growth bench: what it says it times is what it times, and its numbers add up; never a time."""

import dataclasses
import json
import time

import pytest
import tiny_models
import torch

from labkit.bench import growth
from labkit.bench.growth import PARTS, Clock, bench, contexts_of, one_step, random_pair, shape_of, watched
from labkit.errors import KnobError
from labkit.trace import Tree

SIZES, CONTEXTS = (0, 1, 6), (12, 40)


@pytest.fixture(scope="module")
def made():
    return random_pair("1M", "cpu", "float32")


@pytest.mark.parametrize("accept", [None, 0.0, 1.0])
def test_sections_and_rows(made, accept):
    seen = []
    result = bench(made, SIZES, CONTEXTS, 2, accept, lambda done, of: seen.append((done, of)))
    assert [(one["shape"], one["context"]) for one in result["sections"]] == [
        (shape, context) for shape in ("chain", "random") for context in CONTEXTS
    ]
    for section in result["sections"]:
        assert [row["nodes"] for row in section["rows"]] == list(SIZES)
        for row in section["rows"]:
            assert row["step_ms"] > row["target_ms"] > 0
            assert 0 < row["bookkeeping"] < row["overhead"] < 1
            assert (row["draft_ms"] > 0) == (row["nodes"] > 0)
            if accept is not None:
                deep = {"chain": row["nodes"], "random": row["tokens"] - 1}[section["shape"]]
                assert row["tokens"] == (1 + deep if accept else 1)
        assert section["rows"][0]["vs_plain"] == 1
    assert seen[-1][0] == seen[-1][1] == len(seen) == 3 * 2 * 2 * 3
    json.dumps(result)


def test_ctrl_c_keeps_the_rounds_before(made):
    def stop(done, of):
        if done == 5:
            raise KeyboardInterrupt

    result = bench(made, (0, 2), (12,), 3, progress=stop)
    assert result["stopped"] and result["rounds"] == 1
    assert [row["nodes"] for section in result["sections"] for row in section["rows"]] == [0]


def test_a_step_is_taken_back_and_feeds_its_tree(made):
    ids = contexts_of(made, (20,))[0]
    session = watched(made, ids)
    for size, shape, fed, drafts in ((5, "chain", 6, 5), (9, "random", 10, None), (0, "chain", 1, 0)):
        one_step(session, growth.Planted(shape_of(shape, 2, 0), 1.0), 0)  # the first one finds the root fed already
        before = session.cost()
        parts, tokens = one_step(session, growth.Planted(shape_of(shape, size, 3), None), 7)
        after = session.cost()
        assert session.ids == session.draft.ids == ids
        assert (after.target_forwards - before.target_forwards, after.target_tokens - before.target_tokens) == (1, fed)
        depth = max(Tree([], shape_of(shape, size, 3)).depths, default=0)
        assert after.draft_forwards - before.draft_forwards == (depth if drafts is None else drafts)
        assert set(parts) <= set(PARTS) and 1 <= tokens <= 1 + depth


def test_random_trees_are_numbered_depth_by_depth():
    parents = shape_of("random", 60, 4)
    depths = Tree([], parents).depths
    assert all(-1 <= parent < node for node, parent in enumerate(parents))
    assert depths == sorted(depths) and len(set(depths)) > 3
    assert parents == shape_of("random", 60, 4) != shape_of("random", 60, 5)


def test_a_part_within_a_part_counts_for_itself_only(monkeypatch):
    now = iter([0.0, 1.0, 3.0, 10.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    clock = Clock(torch.device("cpu"))
    with clock.part("step"), clock.part("forward"):
        pass
    assert clock.parts == {"forward": 2.0, "step": 8.0}


def test_chains_that_do_not_fit_are_left_out():
    short = dataclasses.replace(tiny_models.letters_pair("llama, untied", context=32), vocabulary=None)
    result = bench(short, (0, 16), (20,), 1)
    sizes = {section["shape"]: [row["nodes"] for row in section["rows"]] for section in result["sections"]}
    assert sizes == {"chain": [0], "random": [0, 16]}
    with pytest.raises(KnobError, match="below 32 tokens"):
        bench(short, (0,), (), 1)


def test_the_command_prints_json(capsys):
    arguments = ["--random", "1M", "--context", "12", "--size", "0", "--size", "2", "--repeats", "1", "--accept", "0.5", "--json"]
    growth.app(arguments, standalone_mode=False)
    result = json.loads(capsys.readouterr().out)
    assert result["target"] == "random 1M" and result["accept"] == 0.5
    assert len(result["sections"]) == 2
    with pytest.raises(KnobError, match="'7T'"):
        growth.app(["--random", "7T"], standalone_mode=False)
