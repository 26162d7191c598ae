"""P025: what must hold of the template, the matrix and the tree, and in which direction the settings move it."""

from __future__ import annotations

import dataclasses

import pytest
import tiny_models
import torch

from labkit.lm import Session
from labkit.methods import build_method
from labkit.speculative.token_recycling import LEVELS, template


def sizes(nodes: list[tuple[int, int]]) -> list[int]:
    """How many nodes each level has."""
    depths: list[int] = []
    for parent, _ in nodes:
        depths.append(1 if parent < 0 else depths[parent] + 1)
    return [depths.count(depth) for depth in range(1, max(depths) + 1)]


def test_the_papers_template():
    nodes = template(LEVELS["80 nodes"], 8)
    assert len(nodes) == 80
    assert sizes(nodes) == [8, 21, 25, 15, 8, 3]


@pytest.mark.parametrize("shape", LEVELS)
@pytest.mark.parametrize("width", [2, 4, 8, 16])
def test_templates_are_trees_of_paths(shape, width):
    nodes = template(LEVELS[shape], width)
    assert len(set(nodes)) == len(nodes), "no slot twice"
    paths: list[tuple[int, ...]] = []
    for number, (parent, rank) in enumerate(nodes):
        assert -1 <= parent < number
        assert 0 <= rank < width
        paths.append((*(paths[parent] if parent >= 0 else ()), rank))
    assert [len(path) for path in paths] == sorted(len(path) for path in paths), "level by level"
    for path in paths:  # prefix-closed, and heavier to the left: with a slot come all better ones under the same parent
        assert path[:-1] == () or path[:-1] in paths
        assert all((*path[:-1], rank) in paths for rank in range(path[-1]))
    if shape == "chain":
        assert nodes == [(number - 1, 0) for number in range(6)]


@pytest.fixture(scope="module")
def runner():
    return tiny_models.runner(tiny_models.tiny("llama, grouped, tied", vocabulary=64, spread=0.2))


def followed(runner, knobs: dict, steps: int = 30, memory: dict | None = None):
    """Step by step: (method, step, matrix before, matrix after, root, logits of the forward)."""
    method = build_method("token-recycling", knobs)
    session = Session(runner, [5, 6, 7, 5, 6], memory={} if memory is None else memory)
    rows = []
    score = session.score
    session.score = lambda tree, *more: rows.append(score(tree, *more)) or rows[-1]
    seen = []
    with torch.inference_mode():
        running = method.steps(session, torch.Generator())
        begun = iter(running)
        before = None
        for _ in range(steps):
            root = session.ids[-1]
            step = next(begun)
            seen.append((method, step, before, method.matrix.clone(), root, rows[-1].logits))
            before = method.matrix.clone()
    return seen[1:]


KNOBS = [
    {},
    {"shape": "80 nodes"},
    {"shape": "chain"},
    {"learn_from": "accepted only"},
    {"width": 3},
    {"learn_prompt": False},
]


@pytest.mark.parametrize("knobs", KNOBS, ids=str)
def test_every_node_is_its_parents_successor_at_draft_time(knobs, runner):
    proposed = 0
    for method, step, before, _, root, _ in followed(runner, knobs):
        tree = step.tree
        due = []  # fill the template by hand: (token, parent) where the matrix knows a successor
        place: dict[int, int] = {-1: -1}
        for number, (parent, rank) in enumerate(template(LEVELS[method.shape], method.width)):
            if parent in place:
                above = root if parent < 0 else due[place[parent]][0]
                if before[above, rank] >= 0:
                    place[number] = len(due)
                    due.append((int(before[above, rank]), place[parent]))
        assert list(zip(tree.tokens, tree.parents)) == due
        assert tree.source == "matrix"
        proposed += len(due)
    assert proposed > 30


@pytest.mark.parametrize("knobs", KNOBS, ids=str)
def test_rows_become_the_top_of_the_last_occurrence(knobs, runner):
    repeated = 0
    for method, step, before, after, root, logits in followed(runner, knobs):
        nodes = step.tree.path if method.learn_from == "accepted only" else range(len(step.tree.tokens))
        last = {root: 0, **{step.tree.tokens[node]: node + 1 for node in nodes}}  # in level order, the last wins
        repeated += 1 + len(nodes) - len(last)
        for token in range(64):
            if token in last:
                assert after[token].tolist() == logits[last[token]].topk(method.width).indices.tolist()
            else:
                assert torch.equal(after[token], before[token])
    if knobs in ({}, {"shape": "80 nodes"}):
        assert repeated > 20, "equal tokens must occur, else the last one wins untested"


def test_the_prompt_fills_rows_only_when_asked(runner):
    ids = [5, 6, 7, 5, 6]
    rows = Session(runner, ids).prompt_logits()
    for learn in (True, False):
        method = build_method("token-recycling", {"learn_prompt": learn})
        session = Session(runner, ids)
        method.start(session)
        known = (method.matrix >= 0).any(1).nonzero().flatten().tolist()
        assert known == ([5, 6, 7] if learn else [])
        assert session.cost().target_forwards == int(learn)
        for token, place in ((5, 3), (6, 4), (7, 2)):
            if learn:
                assert method.matrix[token].tolist() == rows[place].topk(8).indices.tolist()


@pytest.mark.parametrize("width", [2, 8, 16])
def test_memory_is_v_k_8_bytes(width, shipped32):
    method = build_method("token-recycling", {"width": width, "learn_prompt": False})
    method.start(Session(shipped32.target, [70]))
    assert method.matrix.numel() * method.matrix.element_size() == 4096 * width * 8


def test_hot_goes_on_and_cold_begins_anew(runner):
    memory: dict = {}
    first = followed(runner, {"start_from": "hot"}, 10, memory)[-1][3]
    hot, cold = (
        build_method("token-recycling", {"start_from": start, "learn_prompt": False}) for start in ("hot", "cold")
    )
    hot.start(Session(runner, [9], memory=memory))
    cold.start(Session(runner, [9], memory=memory))
    assert torch.equal(hot.matrix, first)
    assert (cold.matrix == -1).all()
    other = build_method("token-recycling", {"start_from": "hot", "width": 4, "learn_prompt": False})
    other.start(Session(runner, [9], memory=memory))
    assert other.matrix.shape == (64, 4), "another width has a matrix of its own"


def test_notes_count_rows_and_nodes(runner):
    for _, step, _, after, _, _ in followed(runner, {}):
        assert step.notes == {"rows known": int((after[:, 0] >= 0).sum()), "nodes proposed": len(step.tree.tokens)}


def test_directions(shipped32, prompts, traced):
    """Tokens a forward at temperature 0, as in the paper: hot beats cold, every node beats accepted only."""
    papers = {"shape": "80 nodes", "learn_prompt": False}

    def tokens_per_forward(**knobs) -> float:
        pair = dataclasses.replace(shipped32, memory={})
        traces = [
            traced(pair, "token-recycling", ids=ids, max_new_tokens=48, knobs=papers | knobs) for ids in prompts[:10]
        ]
        return sum(len(trace.ids) for trace in traces) / sum(trace.cost.target_forwards for trace in traces)

    cold = tokens_per_forward()
    assert tokens_per_forward(start_from="hot") > 1.05 * cold
    assert tokens_per_forward(learn_from="accepted only") < cold / 1.05
    assert cold > 1.3
