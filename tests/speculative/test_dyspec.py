"""P004: how the tree grows, what v means, what the draft is asked, and that a round keeps the law exactly."""

from __future__ import annotations

import math
from collections import Counter

import exact
import pytest
import tiny_models
import torch

from labkit.law import draw
from labkit.lm import Session
from labkit.methods import build_law, build_method
from labkit.speculative import growth
from labkit.speculative.dyspec import HEAP, LAYERS
from labkit.speculative.growth import Growth, warm
from labkit.trace import Setting

IDS = [0, 1, 2]
SIZES = (1, 2, 3, 5, 8, 13, 14, 30, 31)


@pytest.fixture(scope="module")
def pair():
    return tiny_models.letters_pair("llama, grouped, tied", 64, context=64)


@pytest.fixture(scope="module")
def few():
    """A pair over four letters: every tree can be enumerated, and small budgets use the draft law up."""
    return tiny_models.letters_pair("llama, grouped, tied", 4, context=64)


def grown(pair, knobs: dict, temperature: float = 0.0, seed: int = 0, ids: list[int] = IDS, transforms=()):
    """(method, tree, laws, session) of one proposal."""
    method, law = build_method("dyspec", knobs), build_law(temperature, list(transforms))
    session = Session(pair.target, ids, law, Session(pair.draft, ids, law))
    with torch.inference_mode():
        tree, laws = method.propose(session, torch.Generator().manual_seed(seed))
    return method, tree, laws, session


def path_to(tree, node: int) -> list[int]:
    path = []
    while node >= 0:
        path.insert(0, node)
        node = tree.parents[node]
    return path


def q_behind(pair, tree, node: int, temperature: float) -> torch.Tensor:
    """The draft's whole law behind `node`, from a session of its own."""
    ids = [*IDS, *(tree.tokens[above] for above in path_to(tree, node))]
    return warm(build_law(temperature, []), 0.6)(Session(pair.draft, ids).logits)


def places(tree) -> dict[tuple[int, ...], int]:
    """Which child of which child ... -> token."""
    ranks, found = [], {}
    for node, parent in enumerate(tree.parents):
        rank = tree.parents[:node].count(parent)
        ranks.append((*(ranks[parent] if parent >= 0 else ()), rank))
        found[ranks[-1]] = tree.tokens[node]
    return found


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_smaller_budget_is_a_beginning_of_a_larger_one(pair, temperature):
    for seed in range(5):
        trees = [grown(pair, {"budget": size}, temperature, seed)[1] for size in SIZES]
        assert [len(tree.tokens) for tree in trees] == list(SIZES)
        for short, long in zip(trees, trees[1:]):
            size = len(short.tokens)
            assert (short.tokens, short.parents) == (long.tokens[:size], long.parents[:size])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_layers_make_the_tree_that_the_heap_stops_at_v_below_c(pair, temperature):
    """The coins belong to places, so the order of growth changes nothing."""
    sizes = set()
    for seed in range(12):
        for c in (0.05, 0.1, 0.2):
            method, tree, _, _ = grown(pair, {"mode": LAYERS, "budget": 128, "threshold": c}, temperature, seed)
            assert all(v >= c for v in method.values)
            assert all(v < c for v, _ in method.open)
            size = len(tree.tokens)
            if size == 128:
                continue
            other, heap, _, _ = grown(pair, {"budget": size}, temperature, seed)
            assert places(heap) == places(tree)
            assert sorted(other.values) == pytest.approx(sorted(method.values))
            sizes.add(size)
    assert len(sizes) > 5


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("mode", [HEAP, LAYERS])
def test_v_never_increases(pair, mode, temperature):
    for seed in range(8):
        method, tree, _, _ = grown(pair, {"mode": mode, "budget": 40}, temperature, seed)
        assert method.values[0] == 1.0 and len(method.values) == len(tree.tokens)
        if mode == HEAP:
            assert method.values == sorted(method.values, reverse=True)
            assert all(v <= method.values[-1] for v, _ in method.open)
        for depth in range(1, max(tree.depths) + 1):
            layer = [v for v, at in zip(method.values, tree.depths) if at == depth]
            assert layer == sorted(layer, reverse=True)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("mode", [HEAP, LAYERS])
def test_v_is_the_draft_probability_of_getting_there(pair, mode, temperature):
    """q of every node above, times what the earlier siblings leave of q: from the draft's own laws, one session a node."""
    method, tree, _, _ = grown(pair, {"mode": mode, "budget": 20}, temperature, 3)

    def reached(parent: int, before: int) -> float:
        """The chance that verification looks for a child of `parent` when its children before node `before` are refused."""
        v, q = 1.0, q_behind(pair, tree, parent, temperature)
        for above in path_to(tree, parent):
            v *= q_behind(pair, tree, tree.parents[above], temperature)[tree.tokens[above]].item()
        elder = [tree.tokens[node] for node in range(before) if tree.parents[node] == parent]
        return v * (1 - q[elder].sum().item())

    for node, v in enumerate(method.values):
        assert v == pytest.approx(reached(tree.parents[node], node), rel=1e-9)
    slots = {parent: v for v, parent in method.open}
    assert set(slots) == {-1, *range(20)}, "every node leaves a slot below it, the last child one beside it"
    for parent, v in slots.items():
        assert v == pytest.approx(reached(parent, 20), rel=1e-9)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("mode", [HEAP, LAYERS])
def test_the_rows_are_those_the_nodes_were_drawn_from(pair, mode, temperature):
    for seed in range(4):
        _, tree, laws, _ = grown(pair, {"mode": mode, "budget": 24}, temperature, seed)
        assert tree.kind == "without_replacement" and laws.shape == (24, 64)
        for node, parent in enumerate(tree.parents):
            elder = [tree.tokens[other] for other in range(node) if tree.parents[other] == parent]
            due = q_behind(pair, tree, parent, temperature)
            due[elder] = 0
            torch.testing.assert_close(laws[node], due / due.sum(), rtol=0, atol=1e-12)
            assert tree.tokens[node] not in elder


def test_notes_are_v_in_the_order_of_growth_and_the_open_slots(pair):
    method = build_method("dyspec", {"budget": 9})
    law = build_law(0.7, [])
    steps = method.steps(
        Session(pair.target, IDS, law, Session(pair.draft, IDS, law)), torch.Generator().manual_seed(1)
    )
    with torch.inference_mode():
        for _ in range(6):
            step = next(steps)
            assert step.notes == {"values": method.values, "open": [[parent, v] for v, parent in method.open]}
            assert len(step.notes["values"]) == len(step.tree.tokens) == 9
            open_values = [v for _, v in step.notes["open"]]
            assert open_values == sorted(open_values, reverse=True) and len(open_values) == 10
            # the heap can be replayed from the notes: what is popped next is the best of what is open then
            parents, values = step.tree.parents, step.notes["values"]
            for now in range(9):
                left = values[now:] + open_values
                assert values[now] == max(left)
                assert parents[now] < now


@pytest.mark.parametrize("temperature", [0.0, 0.4])
def test_draft_calls(pair, temperature):
    deeper = 0
    for seed in range(10):
        _, tree, _, session = grown(pair, {"mode": LAYERS, "threshold": 0.05, "budget": 60}, temperature, seed)
        assert session.draft.ledger.forwards == max(tree.depths), "one a layer, the root's among them"
        deeper += max(tree.depths) > 2
        _, tree, _, session = grown(pair, {"budget": 30}, temperature, seed)
        assert session.draft.ledger.forwards == len(set(tree.parents)), "one for each node that has children"
        assert session.target_forwards if hasattr(session, "target_forwards") else session.ledger.forwards == 0
    assert deeper > 5


@pytest.mark.parametrize("style", ["llama, grouped, tied", "gpt2"])
@pytest.mark.parametrize(
    "knobs", [{}, {"mode": LAYERS}, {"budget": 1}, {"budget": 3}, {"mode": LAYERS, "threshold": 0.2}], ids=str
)
def test_the_drafts_cache_is_that_of_a_fresh_session(style, knobs):
    pair, kept = tiny_models.letters_pair(style, 64, noise=0.1, context=96), 0
    for temperature in (0.0, 0.8):
        law = build_law(temperature, [])
        session = Session(pair.target, IDS, law, Session(pair.draft, IDS, law))
        steps = build_method("dyspec", knobs).steps(session, torch.Generator().manual_seed(5))
        with torch.inference_mode():
            for _ in range(12):
                step = next(steps)
                kept += len(step.tree.path)
                twin = session.draft.fork()[0]  # asking it costs the draft under test nothing
                assert twin.ids == session.ids
                torch.testing.assert_close(twin.logits, Session(pair.draft, session.ids).logits, rtol=0, atol=1e-10)
                own = session.fork()[0]
                torch.testing.assert_close(own.logits, Session(pair.target, session.ids).logits, rtol=0, atol=1e-10)
    assert kept > 0


def test_the_tree_ends_where_the_context_does(pair):
    for ids, depth in (([1] * 61, 2), ([1] * 62, 1), ([1] * 63, 0)):
        for mode in (HEAP, LAYERS):
            _, tree, laws, _ = grown(pair, {"mode": mode, "budget": 90}, 0.3, ids=ids)
            assert max(tree.depths, default=0) == depth
            assert (laws is None) == (depth == 0)


@pytest.mark.parametrize("mode", [HEAP, LAYERS])
def test_a_law_that_is_used_up_opens_no_slot(few, mode):
    """Of four letters top-p leaves one or two: siblings end when every letter that is left has its node."""
    supports = set()
    for seed in range(10):
        cut = [Setting("top-p", {"p": 0.7})]
        method, tree, laws, _ = grown(few, {"mode": mode, "budget": 30}, 0.8, seed, transforms=cut)
        support = int((build_law(0.8, cut)(Session(few.draft, IDS).logits) > 0).sum())
        assert tree.parents.count(-1) == support < 4
        assert all(laws[node, token] > 0 for node, token in enumerate(tree.tokens))
        torch.testing.assert_close(laws.sum(-1), torch.ones(len(tree.tokens), dtype=torch.float64))
        assert len(method.values) == len(tree.tokens)
        supports.add(max(Counter(tree.parents).values()))
    assert supports <= {1, 2, 3}


# -- the law -----------------------------------------------------------------------------------------------------------


def first_token_law(few, monkeypatch, knobs: dict, spoil=lambda proposal: proposal) -> list[float]:
    """The exact law of the first token of one round: every draw of the tree and every coin of the verifier is played."""
    law = build_law(1.0, [])
    base = Session(few.target, IDS, law, Session(few.draft, IDS, law))
    base.logits, base.draft.logits  # noqa: B018  read the prompt once

    def play():
        session, method = base.fork()[0], build_method("dyspec", knobs)
        with torch.inference_mode():
            tree, rows = spoil(method.propose(session, torch.Generator()))
            outcome, _ = method.check(session, tree, rows, session.score(tree), torch.Generator())
        return tree.tokens[outcome.path[0]] if outcome.path else outcome.added

    with monkeypatch.context() as patch:
        dice = exact.Dice()
        assert growth.draw is draw
        patch.setattr(exact, "Dice", lambda: dice)
        patch.setattr(growth, "draw", dice.draw)
        found = exact.law_of(monkeypatch, play)
    return [found.get(token, 0.0) for token in range(4)]


@pytest.fixture(scope="module")
def p(few):
    return build_law(1.0, [])(Session(few.target, IDS).logits).tolist()


KNOBS = [{"budget": 1}, {"budget": 3}, {"mode": LAYERS, "budget": 3, "threshold": 0.2}]


@pytest.mark.parametrize("knobs", KNOBS, ids=str)
def test_a_round_keeps_the_law_exactly(knobs, few, p, monkeypatch):
    assert first_token_law(few, monkeypatch, knobs) == pytest.approx(p, abs=1e-12)


def test_the_draft_differs_from_the_target(few, p):
    q = build_law(1.0, [])(Session(few.draft, IDS).logits).tolist()
    assert max(abs(a - b) for a, b in zip(p, q)) > 0.01


def without(proposal, keep):
    """The proposal with the nodes for which `keep(node)` is false taken out, and all that hangs below them."""
    tree, laws = proposal
    index = {-1: -1}
    for node, parent in enumerate(tree.parents):
        if parent in index and keep(node):
            index[node] = len(index) - 1
    nodes = [node for node in index if node >= 0]
    cut = type(tree)([tree.tokens[node] for node in nodes], [index[tree.parents[node]] for node in nodes], tree.kind)
    return type(proposal)(cut, laws[nodes])


def test_dropping_drawn_nodes_by_their_own_probability_is_caught(few, p, monkeypatch):
    def spoil(proposal):
        return without(proposal, lambda node: proposal.laws[node, proposal.tree.tokens[node]] > 0.4)

    law = first_token_law(few, monkeypatch, {"budget": 3}, spoil)
    assert max(abs(a - b) for a, b in zip(law, p)) > 1e-3


def test_the_row_before_the_elder_siblings_were_taken_out_is_caught(few, p, monkeypatch):
    def stale(self):
        return torch.cat(self.blocks)[[self.rows[parent] for parent in self.tree.parents]]

    monkeypatch.setattr(Growth, "laws", stale)
    law = first_token_law(few, monkeypatch, {"budget": 3})
    assert max(abs(a - b) for a, b in zip(law, p)) > 1e-4


def test_rows_of_the_unwarped_draft_are_caught(few, p, monkeypatch):
    """Drawn from a colder law than the one recorded."""
    real = Growth.__init__

    def cold(self, session, law, rng):
        real(self, session, law.heated(0.5), rng)

    def unwarped(self):
        raw = Growth.laws(self)
        return raw.sqrt() / raw.sqrt().sum(-1, keepdim=True)  # temperature 0.5 undone, earlier siblings still out

    monkeypatch.setattr(
        "labkit.speculative.dyspec.Growth", type("Cold", (Growth,), {"__init__": cold, "laws": unwarped})
    )
    law = first_token_law(few, monkeypatch, {"budget": 2})
    assert max(abs(a - b) for a, b in zip(law, p)) > 1e-3


def test_coins_are_uniform_and_belong_to_their_place(pair):
    session = Session(pair.target, IDS, draft=Session(pair.draft, IDS))

    def coins(seed: int, places: list[bytes]) -> list[float]:
        grower = Growth(session, build_law(1.0, []), torch.Generator().manual_seed(seed))
        return [torch.rand((), generator=grower.coins(place)).item() for place in places]

    places = [bytes([a, b]) for a in range(100) for b in range(100)]
    drawn = coins(0, places)
    assert coins(0, places[::-1]) == drawn[::-1]
    assert coins(1, places[:10]) != drawn[:10] and len(set(drawn)) > 9_900
    assert sum(drawn) / 10_000 == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / 10_000))
    tenths = Counter(int(10 * coin) for coin in drawn)
    assert sum((tenths[tenth] - 1000) ** 2 / 1000 for tenth in range(10)) < 27.9, "chi-square at 9 df, 0.1 %"
