"""P113: the search against one that computes every score, the table's arithmetic, and what learning brings."""

from __future__ import annotations

import dataclasses
import random
import sys
from types import SimpleNamespace

import pytest
import tiny_models
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from labkit import parts
from labkit.errors import ModelError
from labkit.law import Law
from labkit.lm import Session
from labkit.methods import build_method
from labkit.speculative.aded import Search, exploration, most_visited, search
from labkit.speculative.trigrams import NOTHING, PART, WIDTH, Counted, TriGrams

LETTERS = 6


class Fixed:
    """A table given as a dict."""

    def __init__(self, rows: dict):
        self.rows = rows

    def row(self, u, v):
        return self.rows.get((u, v), NOTHING)


def made_table(seed: int, letters: int = LETTERS, gaps: float = 0.2) -> Fixed:
    """Random rows, likeliest first; some pairs have none."""
    chance = random.Random(seed)
    rows = {}
    for u in range(letters):
        for v in range(letters):
            if chance.random() > gaps:
                weights = sorted((chance.random() ** 3 for _ in range(chance.randint(1, letters))), reverse=True)
                scale = chance.uniform(0.5, 1) / sum(weights)
                tokens = chance.sample(range(letters), len(weights))
                rows[u, v] = (tokens, [weight * scale for weight in weights])
    return Fixed(rows)


def every_score(table, u, v, simulations, deepest, explore) -> dict[tuple[int, ...], tuple[int, float]]:
    """PUCT written out: all edges of a node are scored, unvisited ones too. Path to (N, Q)."""
    visits, worths = {(): 1}, {}

    def q(path):
        return sum(worths.get(path, ())) / max(len(worths.get(path, ())), 1)

    for _ in range(simulations - 1):
        path, probabilities = (), []
        while True:
            before = (u, v, *path)
            tokens, chances = table.row(*before[-2:])
            if not tokens or len(path) == deepest:
                break
            scores = []
            for token, chance in zip(tokens, chances):
                edge = (*path, token)
                scores.append(q(edge) + chance * explore[visits[path]] / (1 + visits.get(edge, 0)))
            best = scores.index(max(scores))
            path, probabilities = (*path, tokens[best]), [*probabilities, chances[best]]
            if path not in visits:
                break
        if not path:
            break
        visits[()] += 1
        for depth in range(1, len(path) + 1):
            visits[path[:depth]] = visits.get(path[:depth], 0) + 1
            worths.setdefault(path[:depth], []).append(sum(probabilities) / len(path))
    return {path: (count, q(path)) for path, count in visits.items()}


def paths_of(found: Search) -> list[tuple[int, ...]]:
    paths: list[tuple[int, ...]] = [()]
    for token, parent in zip(found.tokens[1:], found.parents[1:]):
        paths.append((*paths[parent], token))
    return paths


@given(st.integers(0, 10_000), st.integers(2, 120), st.integers(1, 5), st.sampled_from([0.0, 0.1, 1.25, 5.0]))
def test_the_search_is_puct(seed, simulations, deepest, c1):
    table = made_table(seed)
    explore = exploration(simulations, c1, 19652.0) if c1 else (0.0,) * (simulations + 1)
    found = search(table, 0, 1, simulations, deepest, explore)
    due = every_score(table, 0, 1, simulations, deepest, explore)
    paths = paths_of(found)
    assert len(set(paths)) == len(paths) == len(due)
    for path, visits, value in zip(paths[1:], found.visits[1:], found.values[1:]):
        assert (visits, value) == (due[path][0], pytest.approx(due[path][1]))
    if table.row(0, 1) is not NOTHING:
        children = [visits for visits, parent in zip(found.visits, found.parents) if parent == 0]
        assert sum(children) == simulations - 1, "every walk but the one that expanded the root leaves through a child"
        assert found.visits[0] == simulations
    assert max(map(len, paths)) <= deepest


def test_no_exploration_follows_the_largest_value():
    """With the factor at 0 only Q counts: after the first walk down it never leaves the likeliest chain."""
    table = made_table(3, gaps=0)
    found = search(table, 0, 1, 60, 4, (0.0,) * 61)
    chain, pair = [], (0, 1)
    for _ in range(4):
        chain.append(table.row(*pair)[0][0])
        pair = (pair[1], chain[-1])
    assert paths_of(found)[-1] == tuple(chain) and found.visits == [60, 59, 58, 57, 56]


def test_exploration_makes_a_bush(shipped32):
    table = TriGrams(Counted(parts.load(PART, shipped32.target)))
    sizes = []
    for c1 in (0.1, 1.25, 5.0):
        ids = shipped32.vocabulary.encode("def read(self, path):\n        return")
        found = [search(table, u, v, 150, 4, exploration(150, c1, 19652.0)) for u, v in zip(ids, ids[1:])]
        sizes.append(sum(len(one.tokens) for one in found))
    assert 1.5 * sizes[0] < sizes[1] < sizes[2] / 1.2
    assert exploration(500, 1.25, 100.0)[-1] > 2 * exploration(500, 1.25, 19652.0)[-1]


@given(st.integers(0, 10_000), st.integers(1, 12))
def test_the_most_visited_paths_are_kept(seed, paths):
    found = search(made_table(seed), 0, 1, 80, 4, exploration(80, 1.25, 19652.0))
    kept = most_visited(found, paths)
    leaves = set(range(1, len(found.tokens))) - set(found.parents)
    ends = leaves & set(kept)
    assert len(ends) == min(paths, len(leaves)) and kept == sorted(kept)
    assert all(found.parents[node] in (0, *kept) for node in kept)
    assert set(kept) <= {node for leaf in ends for node in ancestors(found, leaf)}
    if leaves - ends:
        assert max(found.visits[leaf] for leaf in leaves - ends) <= min(found.visits[leaf] for leaf in ends)


def ancestors(found, node):
    while node:
        yield node
        node = found.parents[node]


# -- the table ---------------------------------------------------------------------------------------------------------


def law(seed: int, size: int) -> torch.Tensor:
    return torch.randn(3, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).mul(2).softmax(-1)


@pytest.mark.parametrize("size", [5, 40])
def test_a_row_moves_to_the_targets_law(size):
    below = made_table(1, 5)
    pairs = [(0, 1), (2, 3), (4, 4)]
    for rate in (0.25, 1.0):
        table, p = TriGrams(below), law(0, size)
        table.learn(pairs, p, rate)
        for pair, row in zip(pairs, p):
            dense = torch.zeros(size, dtype=torch.float64)
            tokens, chances = below.row(*pair)
            dense[tokens] = torch.tensor(chances, dtype=torch.float64)
            due = (1 - rate) * dense + rate * row
            best = due.topk(min(WIDTH, size))
            names, learned = table.row(*pair)
            assert names == best.indices.tolist() and learned == pytest.approx(best.values.tolist())
            if rate == 1:
                assert learned == pytest.approx(row.topk(min(WIDTH, size)).values.tolist()), "what was there is replaced"


def test_what_the_law_forbids_is_not_kept():
    table, p = TriGrams(None), torch.tensor([[0.7, 0.0, 0.3, 0.0]])
    table.learn([(0, 1)], p, 1.0)
    assert table.row(0, 1) == ([0, 2], pytest.approx([0.7, 0.3]))
    assert table.learn([(0, 1)], p, 0.5) == [pytest.approx(0, abs=0.02)]


def test_rate_0_changes_nothing():
    below = made_table(1, 5)
    table = TriGrams(below)
    before = {pair: (list(row[0]), list(row[1])) for pair, row in below.rows.items()}
    table.learn([(0, 1), (2, 3), (4, 4)], law(0, 40), 0.0)
    assert table.learned == {} and below.rows == before


def test_runs_do_not_share_what_they_learn():
    below = made_table(1, 5)
    one, other = TriGrams(below), TriGrams(below)
    one.learn([(0, 1), (2, 3), (4, 4)], law(0, 40), 0.5)
    assert one.row(0, 1) != other.row(0, 1) == below.row(0, 1)


@pytest.mark.parametrize("size", [5, 40])
def test_the_divergence_is_that_of_whole_laws(size):
    below, p = made_table(1, 5), law(2, size)
    pairs = [(0, 1), (2, 3), (4, 4)]
    for pair, row, told in zip(pairs, p, TriGrams(below).learn(pairs, p, 0.0)):
        tokens, chances = below.row(*pair)
        others = size - len(tokens)
        left = max(1 - sum(chances), 0.01) if others else 0
        dense = torch.full((size,), left / max(others, 1), dtype=torch.float64)
        dense[tokens] = torch.tensor(chances, dtype=torch.float64) / sum(chances) * (1 - left)
        assert told == pytest.approx(scipy_entropy(row.numpy(), dense.numpy()), abs=1e-12)
    assert TriGrams(None).learn([(0, 1)], torch.full((1, 40), 1 / 40), 0.0) == [pytest.approx(0, abs=1e-6)]


# -- the shipped table -------------------------------------------------------------------------------------------------


def test_the_shipped_table(shipped32):
    file = parts.FOLDER / f"{PART}.safetensors"
    assert file.stat().st_size < 2_000_000
    table = Counted(parts.load(PART, shipped32.target))
    held = sum(sys.getsizeof(one) for one in (table.pairs, table.starts, table.tokens, table.chances))
    rows = sum(sys.getsizeof(one) for row in table.singles for one in (row, *row, *row[0], *row[1]))
    assert held + rows < 8e6, "bytes in memory"
    encode = shipped32.vocabulary.encode
    u, v = encode("import numpy")[-2:]
    assert table.row(u, v)[0][0] == encode("import numpy as")[-1]
    assert table.row(u, 63) == table.singles[63] == NOTHING, "a pair that is not there has the row of its last token"
    for tokens, chances in (table.row(u, v), *table.singles):
        assert len(tokens) == len(chances) <= WIDTH and chances == sorted(chances, reverse=True)
        assert all(0 < chance <= 1 for chance in chances) and sum(chances) < 1.02  # rounded to bfloat16


def test_it_is_loaded_once_and_bound_to_the_tokenizer(shipped32, monkeypatch):
    loads, load = [], parts.load
    monkeypatch.setattr(parts, "load", lambda *asked: loads.append(asked) or load(*asked))
    for runner in (shipped32.target, shipped32.draft):  # any model with this tokenizer
        memory: dict = {}
        for _ in range(3):
            build_method("aded", {}).start(Session(runner, [70], memory=memory))
    assert len(loads) == 2
    stranger = tiny_models.runner(tiny_models.tiny("llama, grouped, tied", vocabulary=64))
    with pytest.raises(ModelError, match="belongs to lab-target .* set Start to empty"):
        build_method("aded", {}).start(Session(stranger, [5]))
    build_method("aded", {"start_from": "empty"}).start(Session(stranger, [5]))


# -- whole runs --------------------------------------------------------------------------------------------------------


def followed(pair, ids, knobs: dict, steps: int = 12, temperature: float = 0.0):
    """Step by step: (method, step, the last two tokens, rows learned before, and after, the logits of its forward)."""
    method = build_method("aded", knobs)
    session = Session(pair.target, ids, Law(temperature), memory={})
    rows, score, seen = [], session.score, []
    session.score = lambda tree, hidden=False: rows.append(score(tree, hidden)) or rows[-1]
    with torch.inference_mode():
        running = method.steps(session, torch.Generator().manual_seed(1))
        before: dict = {}
        for _ in range(steps):
            root = tuple(session.ids[-2:])
            step = next(running)
            after = dict(method.table.learned)
            seen.append((method, step, root, before, after, rows[-1].logits))
            before = after
    return seen


@pytest.mark.parametrize("knobs", [{}, {"rate": 1.0, "paths": 48}, {"start_from": "empty"}], ids=str)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_every_pair_of_the_tree_is_learned_once(knobs, temperature, quick64, prompts):
    law_of = (lambda logits: logits.softmax(-1)) if not temperature else (lambda logits: (logits / temperature).softmax(-1))
    twice, total, met = 0, 0, set()
    for method, step, root, before, after, logits in followed(quick64, prompts[3], knobs, temperature=temperature):
        tree = step.tree
        pairs = [root]
        for token, parent in zip(tree.tokens, tree.parents):
            pairs.append((pairs[parent + 1][1], token))
        wins = {pair: row for row, pair in enumerate(pairs)}
        wins |= {pairs[row]: row for row in (0, *(node + 1 for node in tree.path))}
        twice += len(pairs) - len(wins)
        total += len(wins)
        table = TriGrams(method.table.below)
        table.learned = dict(before)
        apart = dict(zip(wins, table.learn(list(wins), law_of(logits[list(wins.values())]), method.rate)))
        assert after.keys() == table.learned.keys() and step.notes["pairs"]["learned"] == len(after)
        for pair, (tokens, chances) in table.learned.items():
            assert after[pair] == (tokens, pytest.approx(chances))
        assert step.notes["divergence"]["all"] == pytest.approx(sum(apart.values()) / len(apart))
        again = [value for pair, value in apart.items() if pair in met]
        assert step.notes["pairs"]["again"] == len(again)
        if again:
            assert step.notes["divergence"]["again"] == pytest.approx(sum(again) / len(again))
        met |= wins.keys()
    assert total > 10
    if knobs.get("paths"):
        assert twice > 0, "pairs must stand in several nodes, else it is not tested which one wins"


def test_the_tree_is_the_search(shipped32, prompts):
    for _, step, *_ in followed(shipped32, prompts[0], {"simulations": 60, "depth": 3, "paths": 8}):
        notes, tree = step.notes["search"], step.tree
        tokens = step.notes["tokens"][0]
        assert [tokens[node] for node in notes["kept"]] == tree.tokens and tree.source == "matrix"
        place = {0: -1} | {node: index for index, node in enumerate(notes["kept"])}
        assert [place[notes["parents"][node]] for node in notes["kept"]] == tree.parents
        assert max(tree.depths, default=0) <= 3
        assert len({len(notes[name]) for name in ("parents", "visits", "values", "priors")} | {len(tokens)}) == 1


def test_no_room_drafts_nothing(shipped32):
    method = build_method("aded", {})
    session = Session(shipped32.target, [70] * (shipped32.target.context - 1), memory={})
    method.start(session)
    assert method.propose(session, None).tree.tokens == []
    assert method.propose(SimpleNamespace(ids=[70] * 5, runner=shipped32.target, draft=None), None).tree.tokens


def test_directions(shipped32, prompts, traced):
    """Tokens a forward at temperature 0: learning beats a fixed table, a counted table beats an empty one."""

    def tokens_per_forward(**knobs) -> float:
        pair = dataclasses.replace(shipped32, memory={})
        traces = [traced(pair, "aded", ids=ids, max_new_tokens=48, knobs=knobs) for ids in prompts[:16]]
        return sum(len(trace.ids) for trace in traces) / sum(trace.cost.target_forwards for trace in traces)

    learning = tokens_per_forward()
    assert learning > 1.15 * tokens_per_forward(rate=0.0)
    assert learning > 1.15 * tokens_per_forward(start_from="empty")
    assert learning > 2
