"""P153: one line for all layers, found by halving; exact sums; the slots that go while decoding."""

from __future__ import annotations

import hashlib
from itertools import product

import pytest
import tiny_models
import torch

from labkit.attention import prefix_kv as paper
from labkit.attention.prefix_kv import PrefixKV, apportioned, curves_of, divided, halvings
from labkit.attention.prefix_search import PrefixSearch
from labkit.errors import PromptError
from labkit.knobs import build
from labkit.law import Law
from labkit.lm import Session
from labkit.train.corpus import is_held_out, training_library

PROMPT = torch.randint(64, 4096, (60,), generator=torch.Generator().manual_seed(3)).tolist()
NEXT = PROMPT[:9]


def scores_of(layers=6, tokens=200, seed=0):
    """Layers from spread out to peaked."""
    rng = torch.Generator().manual_seed(seed)
    return torch.stack([torch.rand(tokens, generator=rng, dtype=torch.float64) ** (1 + 3 * layer) for layer in range(layers)])


@pytest.fixture(scope="module")
def runner():
    """Two layers, the first of them far more spread out than the second."""
    model = tiny_models.tiny("llama, grouped, tied")
    for layer, factor in zip(model.model.layers, (0.1, 3)):
        layer.self_attn.q_proj.weight.data *= factor
    return tiny_models.runner(model)


def read(runner, policy, tokens=()):
    """A session under the policy behind the prompt and `tokens`, fed one by one; after each, the positions held by layer."""
    session, held = Session(runner, PROMPT, Law(0)), []
    session.carry(runner.policy_cache(policy))
    for token in (*tokens, None):
        _ = session.logits
        held.append([slots.positions.tolist() for slots in policy.slots])
        if token is not None:
            session.push(token)
    return session, held


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("protected", [0, 1, 5])
def test_each_layer_keeps_the_fewest_tokens_that_reach_the_line(seed, protected):
    curves = curves_of(scores_of(seed=seed))
    for target in (0, 3, 100, 600, 1100, 1199 - 6 * protected):
        search = list(halvings(curves, target, protected))
        assert 1 <= len(search) <= 60
        low, high = 0.0, 1.0
        for step in search:
            assert step.p == (low + high) / 2  # the line moves to the middle of what is left
            for curve, n, gone in zip(curves.tolist(), step.counts, step.dropped):
                assert curve[n - 1] >= step.p > (curve[n - 2] if n > 1 else 0.0)
                assert gone == max(0, 200 - n - protected)
            low, high = (low, step.p) if sum(step.dropped) < target else (step.p, high)
        assert abs(sum(search[-1].dropped) - target) < 5 or len(search) == 60
        assert all(abs(sum(step.dropped) - target) >= 5 for step in search[:-1])


def test_curves_are_shares_of_the_ranking_not_of_the_text():
    curves = curves_of(torch.tensor([[1.0, 6.0, 3.0], [2.0, 2.0, 2.0]]))
    assert torch.allclose(curves, torch.tensor([[0.6, 0.9, 1.0], [1 / 3, 2 / 3, 1.0]], dtype=torch.float64))


def test_ties_end_and_the_sum_is_exact():
    """Layers that are alike jump together, past the target: without a limit the search would never end."""
    curves = curves_of(torch.ones(16, 50))
    search = list(halvings(curves, 16 * 30 + 8, 0))
    assert len(search) == 60 and {sum(step.dropped) for step in search[-20:]} <= {16 * 30, 16 * 31}
    assert apportioned(search[-1].dropped, 16 * 30 + 8, 50) == [31] * 8 + [30] * 8
    assert divided(torch.ones(16, 50), 20, 0).kept["PrefixKV"] == [20] * 16


@pytest.mark.parametrize("kept", [1, 2, 7, 61, 199, 200])
@pytest.mark.parametrize("protected", [0, 2, 9])
def test_every_split_has_the_same_exact_sum(kept, protected):
    for scores in (scores_of(), torch.ones(6, 200), torch.eye(6, 200) + 1e-9):
        found = divided(scores, kept, protected)
        sums = {name: sum(split) for name, split in found.kept.items()}
        assert set(sums.values()) == {6 * max(kept, protected)}, sums
        assert all(protected <= one <= 200 for split in found.kept.values() for one in split)


def test_curves_that_are_alike_are_divided_evenly():
    alike = scores_of(layers=1).expand(6, -1)
    for kept in (3, 50, 121):
        found = divided(alike, kept, 2)
        assert found.kept["PrefixKV"] == found.kept["uniform"] == [kept] * 6
    assert divided(scores_of(), 50, 2).kept["PrefixKV"] != [50] * 6


def test_spread_out_layers_keep_more_and_the_pyramid_falls():
    found = divided(scores_of(), 60, 2)
    widths, steps = found.kept["PrefixKV"], found.kept["pyramid"]
    assert widths == sorted(widths, reverse=True) and widths[0] > 3 * widths[-1]
    assert steps == sorted(steps, reverse=True) and steps[-1] == 2 + round(58 / 20) and steps[0] == 2 + round(58 * (2 - 1 / 20))


@pytest.mark.parametrize("seed", range(5))
def test_no_other_split_of_the_sum_has_a_larger_minimum(seed):
    """Every split of three layers of twelve tokens, by brute force."""
    curves = curves_of(scores_of(3, 12, seed))
    mass = [[0.0, *row] for row in curves.tolist()]
    for step in halvings(curves, 18, 0):
        ours = min(row[n] for row, n in zip(mass, step.counts))
        same = [split for split in product(range(13), repeat=3) if sum(split) == sum(step.counts)]
        best = max(min(row[n] for row, n in zip(mass, split)) for split in same)
        assert ours == best
        even = min(row[sum(step.counts) // 3] for row in mass)
        assert even <= ours


def test_sharing_out_whole_numbers():
    assert apportioned([1, 1, 1], 10, 20) == [4, 3, 3] and apportioned([5, 3, 1], 9, 9) == [5, 3, 1]
    assert apportioned([8, 1, 1], 10, 5) == [5, 3, 2]  # what does not fit goes to the others
    assert apportioned([0, 0], 3, 2) == [2, 1] and apportioned([7, 0, 0], 9, 4) == [4, 3, 2]
    truncated = [int(10 * weight / 22) for weight in (7, 7, 8)]  # as the release rounds
    assert sum(truncated) == 9 and sum(apportioned([7, 7, 8], 10, 10)) == 10


def columns_of(runner, layers=2):
    """The attention that each token was given in the prompt, by layer, from the dense attention matrix: [layers, N]."""
    dense, columns = PrefixKV(budget=1.0), [None] * layers
    session = Session(runner, PROMPT, Law(0))
    session.carry(runner.policy_cache(dense))
    dense.observe = lambda layer, query, probs, selection: columns.__setitem__(layer, probs.sum((0, 1, 2)))
    _ = session.logits
    return torch.stack(columns)


@pytest.mark.parametrize("budget", [0.05, 0.25, 0.4, 0.9])
@pytest.mark.parametrize("protected", [0, 1, 8])
def test_behind_the_prompt_the_best_stay_and_the_sum_is_the_budget(runner, budget, protected):
    """The budget is the share kept; read as the share dropped, as the release's `ratio` is, the sum would be another."""
    policy = PrefixKV(budget=budget, protected=protected)
    _, (held,) = read(runner, policy)
    columns = columns_of(runner)
    sizes = [len(heads[0]) for heads in held]
    expected = 2 * max(round(budget * 60), protected + 1)
    assert sum(sizes) == expected and sizes == divided(columns, round(budget * 60), protected + 1).kept["PrefixKV"]
    assert expected != 2 * max(round((1 - budget) * 60), protected + 1)
    for column, heads, size in zip(columns, held, sizes):
        middle = column[protected:-1].topk(size - protected - 1).indices + protected
        assert heads[0] == heads[1] == sorted([*range(protected), *middle.tolist(), 59])


def test_layers_differ_and_rivals_hold_as_many_bytes(runner):
    sizes, held = {}, set()
    for allocation in paper.SPLITS:
        policy = PrefixKV(allocation=allocation)
        read(runner, policy)
        sizes[allocation] = [slots.length for slots in policy.slots]
        held.add(policy.bytes)
    assert sizes["uniform"] == [24, 24] and sizes["PrefixKV"][0] > 26 and sizes["pyramid"] == [45, 3]
    assert len(held) == 1


def test_while_decoding_each_layer_keeps_its_share_of_all_tokens(runner):
    for removal in ("fixed place", "lowest score"):
        policy = PrefixKV(removal=removal)
        _, held = read(runner, policy, NEXT)
        first = [len(heads[0]) for heads in held[0]]
        for new, layers in enumerate(held):
            for size, heads in zip(first, layers):
                assert len(heads[0]) == -(-size * (60 + new) // 60)
                assert heads[0] == heads[1] == sorted(set(heads[0])) and heads[0][-1] == 59 + new


@pytest.mark.parametrize("budget", [0.4, 0.8])  # fewer and more than 25 slots
def test_the_fixed_place_is_25_before_the_end_of_the_kept_prompt(runner, budget):
    policy = PrefixKV(budget=budget)
    _, held = read(runner, policy, NEXT)
    for layer in range(2):
        place = len(held[0][layer][0])
        place = place - 25 if place > 25 else place // 2
        removed = 0
        for before, after, new in zip(held, held[1:], range(60, 69)):
            had, has = before[layer][0] + [new], after[layer][0]
            gone = sorted(set(had) - set(has))
            assert gone == ([had[place]] if gone else []) and has == [one for one in had if one not in gone]
            removed += len(gone)
        assert 0 < removed <= 9


def test_the_lowest_score_goes_and_protected_ones_stay(runner):
    policy, seen = PrefixKV(removal="lowest score", protected=2), []
    keep = paper.PrefixKV.keep_best

    def watched(self, layer):
        slots = self.slots[layer]
        before = (slots.positions[0].tolist(), slots["score"].sum(0).tolist())
        keep(self, layer)
        seen.append((*before, slots.positions[0].tolist()))

    policy.keep_best = watched.__get__(policy)
    read(runner, policy, NEXT)
    assert len(seen) > 6
    for positions, scores, left in seen[2:]:
        (gone,) = set(positions) - set(left)
        free = [(score, position) for position, score in zip(positions, scores) if position >= 2 and position != positions[-1]]
        assert gone == min(free)[1]


def test_averaged_shares_come_from_training_texts_alone(shipped32, monkeypatch):
    texts = []
    monkeypatch.setattr(paper, "training_library", lambda every: (texts.append(text) or text for text in training_library(every)))
    monkeypatch.setattr(paper, "TEXTS", 2)
    monkeypatch.setattr(paper, "LENGTH", 128)
    session = Session(shipped32.target, shipped32.vocabulary.encode("def put(self, item):\n    self.items"), Law(0))
    session.vocabulary = shipped32.vocabulary
    policy = PrefixKV(budget=0.5, searched="averaged")
    policy.prepare(session)
    assert len(texts) == 2 and not any(is_held_out(hashlib.sha256(text.encode()).hexdigest()) for text in texts)
    kept = [divided(scores, 64, 2).kept["PrefixKV"] for scores in session.memory["prefix-kv"]]
    assert len(kept) == 2 and kept[0] != kept[1]
    assert policy.averaged == pytest.approx([1 - sum(column) / 256 for column in zip(*kept)])
    session.carry(shipped32.target.policy_cache(policy))
    known = session.memory["prefix-kv"]
    _ = session.logits
    tokens = len(session.ids)
    sizes = [slots.length for slots in policy.slots]
    assert sum(sizes) == 8 * round(0.5 * tokens)
    assert all(abs(size - tokens * (1 - share)) <= 2 for size, share in zip(sizes, policy.averaged))
    policy.prepare(session)
    assert session.memory["prefix-kv"] is known  # read once


def test_the_study_shows_a_halving_a_step_and_ends_exact(runner):
    session = Session(runner, PROMPT, Law(0))
    steps = list(build(PrefixSearch, {"budget": 0.3}).steps(session, torch.Generator()))
    found = divided(columns_of(runner), 18, 2)
    assert len(steps) == len(found.search) + 1 and [step.notes["done"] for step in steps] == list(range(1, len(steps) + 1))
    for number, (step, halving) in enumerate(zip(steps, found.search), 1):
        told = step.notes
        assert len(told["lines"]) == number and told["lines"][-1] == [halving.p, 120 - sum(halving.dropped)]
        assert told["counts"] == halving.counts and not told["final"]
        assert told["kept"]["PrefixKV"] == [60 - gone for gone in halving.dropped]
    last = steps[-1].notes
    assert last["final"] and last["kept"] == found.kept and sum(last["kept"]["PrefixKV"]) == 36 == last["target"]
    for heights, curve in zip(last["curves"], found.curves.tolist()):
        assert heights == [round(curve[rank - 1], 5) for rank in last["ranks"]]
    with pytest.raises(PromptError, match="one token"):
        list(build(PrefixSearch, {}).steps(Session(runner, [70], Law(0)), torch.Generator()))
