"""Static trees: the shapes, and what fills them."""

from __future__ import annotations

import itertools
import math

import pytest
import tiny_models
import torch

from labkit.law import Law
from labkit.lm import Session
from labkit.methods import build_law, build_method
from labkit.speculative.static_tree import AGREEMENT, ARITY, BEST, best_on_average, k_ary, levels
from labkit.trace import Setting

IDS = [2, 2, 1, 0]


@pytest.fixture(scope="module")
def pair():
    return tiny_models.letters_pair("llama, grouped, tied", 64, context=64)


def grown(pair, knobs: dict, temperature: float, seed: int = 0, ids=IDS, transforms=()):
    """(tree, laws, session) of one proposal."""
    law = build_law(temperature, list(transforms))
    session = Session(pair.target, ids, law, Session(pair.draft, ids, law))
    with torch.inference_mode():
        proposal = build_method("static-tree", knobs).propose(session, torch.Generator().manual_seed(seed))
    return *proposal, session


def ranks_of(parents: list[int]) -> list[tuple[int, ...]]:
    """Which child of which child ... every node is."""
    found: list[tuple[int, ...]] = []
    for node, parent in enumerate(parents):
        found.append((*(found[parent] if parent >= 0 else ()), parents[:node].count(parent)))
    return found


@pytest.mark.parametrize("k", [2, 3, 4])
def test_k_ary_trees_are_filled_level_by_level(k):
    assert k_ary(k, k + k * k) == [-1] * k + [node for node in range(k) for _ in range(k)]
    for nodes in (1, 2, 7, 128):
        parents = k_ary(k, nodes)
        assert len(parents) == nodes
        assert sorted(len(place) for place in ranks_of(parents)) == [len(place) for place in ranks_of(parents)]


@pytest.mark.parametrize("nodes", [1, 2, 5, 12, 20])
def test_the_best_tree_is_worth_what_the_best_paths_are(nodes):
    def worth(place):
        return math.prod(AGREEMENT[rank] for rank in place)

    few = range(min(nodes, 5))  # deeper down a sixth child is never among the best 20
    every = [(rank,) for rank in range(8)]
    every += [place for depth in range(2, 8) for place in itertools.product(few, repeat=depth)]
    best = sorted(map(worth, every), reverse=True)[:nodes]
    found = ranks_of(best_on_average(nodes))
    assert len(set(found)) == nodes
    assert sorted(map(worth, found), reverse=True) == pytest.approx(best)


@pytest.mark.parametrize("shape", [BEST, *ARITY])
@pytest.mark.parametrize("nodes", [1, 16, 128])
def test_levels_hold_every_place_once(shape, nodes):
    listed = levels(shape, nodes)
    assert sorted(place for level in listed for place, _ in level) == list(range(nodes))
    before = {-1}
    for level in listed:
        assert {parent for _, parent in level} <= before
        before = {place for place, _ in level}


@pytest.mark.parametrize("shape", [BEST, *ARITY])
def test_at_temperature_0_children_are_the_drafts_top(shape, pair):
    tree, laws, session = grown(pair, {"shape": shape, "budget": 14}, 0.0)
    assert (tree.kind, len(tree.tokens)) == ("deterministic", 14)
    for parent in set(tree.parents):
        above, path = parent, []
        while above >= 0:
            path, above = [tree.tokens[above], *path], tree.parents[above]
        q = Session(pair.draft, [*IDS, *path]).logits.softmax(-1)
        born = [node for node in range(14) if tree.parents[node] == parent]
        assert [tree.tokens[node] for node in born] == q.topk(len(born)).indices.tolist()
        for node in born:
            torch.testing.assert_close(laws[node], q, rtol=0, atol=1e-12)
    assert session.draft.ledger.forwards == max(tree.depths), "one a level"


def test_above_it_they_are_drawn_without_replacement(pair):
    trees = set()
    for seed in range(8):
        tree, laws, _ = grown(pair, {"shape": "3-ary", "budget": 12}, 0.9, seed)
        assert tree.kind == "without_replacement"
        q = Law(0.9)(Session(pair.draft, IDS).logits)
        for rank, node in enumerate(node for node in range(12) if tree.parents[node] == -1):
            due = q.clone()
            due[tree.tokens[:rank]] = 0  # the root's children are nodes 0, 1, 2
            torch.testing.assert_close(laws[node], due / due.sum(), rtol=0, atol=1e-12)
        trees.add(tuple(tree.tokens))
    assert len(trees) == 8


def test_places_stay_empty_where_the_law_is_used_up(pair):
    tree, _, _ = grown(pair, {"shape": "4-ary", "budget": 40}, 0.9, transforms=[Setting("top-k", {"k": 2})])
    assert {tree.parents.count(parent) for parent in set(tree.parents)} == {2}


def test_the_tree_ends_where_the_context_does(pair):
    for ids, depth in (([1] * 61, 2), ([1] * 62, 1), ([1] * 63, 0)):
        tree, laws, _ = grown(pair, {"budget": 30}, 0.0, ids=ids)
        assert max(tree.depths, default=0) == depth and (laws is None) == (depth == 0)
