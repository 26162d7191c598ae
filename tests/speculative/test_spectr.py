"""P035 SpecTr and typical acceptance as methods: what is drafted, what is noted, what it costs."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import tiny_models
import torch

from labkit.errors import LabError
from labkit.law import draws
from labkit.lm import Session
from labkit.methods import build_law, build_method
from labkit.speculative import verify
from labkit.speculative.ground import KSEQ, MATCH, RESIDUAL

PROMPT = "class Queue:\n    def __init__(self):\n        self.items = []\n\n    def put(self, item):"


@pytest.fixture(scope="module")
def pair():
    return tiny_models.letters_pair("llama, untied", context=64)


def proposal(pair, knobs: dict, ids: list[int], temperature: float = 1.0, seed: int = 0, method: str = "spectr"):
    made, law = build_method(method, knobs), build_law(temperature, [])
    draft = Session(pair.draft, ids, law)
    session = Session(pair.target, ids, law, draft)
    made.start(session)
    return made, made.propose(session, torch.Generator().manual_seed(seed)), draft


def texts(made, tree) -> list[list[int]]:
    return [[tree.tokens[node] for node in path] for path in made.grown.paths]


def test_drafts_are_drawn_from_the_drafts_own_law(pair):
    """Every node's law is that of a separate forward, and as one prefix tree the drafts are what they were one by one."""
    seen = Counter()
    for seed in range(30):
        made, (tree, laws), draft = proposal(pair, {"count": 4, "length": 3}, [1, 2, 3], 0.8, seed)
        drafts = texts(made, tree)
        assert len(drafts) == 4 and all(len(text) == 3 for text in drafts)
        assert len(tree.tokens) == len({tuple(text[:n]) for text in drafts for n in (1, 2, 3)}), "one node a distinct prefix"
        for path in made.grown.paths:
            for place, node in enumerate(path):
                context = [1, 2, 3, *(tree.tokens[before] for before in path[:place])]
                torch.testing.assert_close(laws[node], build_law(0.8, [])(Session(pair.draft, context).logits))
        assert draft.ledger.forwards == 3, "one forward a layer, the root's among them, none for the last"
        seen.update(map(tuple, drafts))
    assert len(seen) > 30


def test_many_draws_are_as_single_ones():
    laws = torch.tensor([[0.2, 0.5, 0.3, 0.0], [0.0, 0.0, 1.0, 0.0], [0.1, 0.0, 0.0, 0.9]])
    rows = [0, 1, 2] * 2000
    tokens = draws(laws, rows, torch.Generator().manual_seed(2))
    for row in range(3):
        shares = Counter(token for token, own in zip(tokens, rows) if own == row)
        assert [shares[token] / 2000 for token in range(4)] == pytest.approx(laws[row].tolist(), abs=0.05)
        assert all(laws[row, token] > 0 for token in shares)
    with pytest.raises(LabError, match="not numbers"):
        draws(torch.full((1, 3), math.nan), [0], torch.Generator())


def test_at_temperature_zero_all_drafts_are_one_chain(pair):
    made, (tree, _), _ = proposal(pair, {"count": 3, "length": 4}, [1, 2, 3], 0.0)
    assert (tree.kind, tree.parents) == ("deterministic", [-1, 0, 1, 2])
    ids = [1, 2, 3]
    for token in tree.tokens:
        assert token == int(Session(pair.draft, ids).logits.argmax())
        ids.append(token)
    assert made.grown.draws[0] == [0, 0, 0]


def test_drafts_stop_where_the_context_ends(pair):
    assert max(proposal(pair, {"length": 8}, [1] * 60)[1].tree.depths) == 3
    made, (tree, laws), _ = proposal(pair, {}, [1] * 63)
    assert tree.tokens == [] and laws is None


@pytest.mark.parametrize("verifier", [KSEQ, RESIDUAL, MATCH])
def test_notes_of_a_run(verifier, shipped32, traced):
    knobs = {"count": 4, "length": 3, "verifier": verifier}
    trace = traced(shipped32, "spectr", prompt=PROMPT, temperature=1.0, max_new_tokens=40, seed=3, knobs=knobs, keep=["tests"])
    assert trace.opening.lossless and trace.opening.paper == "P035" and trace.opening.charts == ["cover"]
    shared = 0
    for step in trace.steps:
        tree, paths = step.tree, step.notes["drafts"]
        assert len(paths) == 4 and {node for path in paths for node in path} == set(range(len(tree.tokens)))
        copies = Counter(node for path in paths for node in path)
        for node, count in copies.items():
            assert (f"({count} drafts)" in tree.reasons[node]) == (count > 1 and tree.coins[node] is not None)
            shared += count > 1
        assert len({test.node for test in step.tests}) == len(step.tests), "one test a node"
        (cover,) = step.notes["cover"]
        assert sum(sum(bar["parts"]) for bar in cover["bars"]) == pytest.approx(1, abs=1e-4)
        assert len(step.notes["places"]) == (0 if verifier != KSEQ else len([n for n in tree.path if tree.depths[n] < 3]) + 1)
        for place in step.notes["places"]:
            assert 1 <= place["rho"] == place["least"] <= place["drafts"] <= 4
            assert place["chance"] == pytest.approx(1 - (1 - place["beta"]) ** place["drafts"])
            assert place["chance"] <= place["rho"] * place["beta"] + 1e-5
        for node, (coin, threshold) in enumerate(zip(tree.coins, tree.thresholds)):
            if verifier == KSEQ and coin is not None:
                place = step.notes["places"][tree.depths[node] - 1]
                ratio = math.exp(tree.target_logprobs[node] - tree.draft_logprobs[node]) / place["rho"]
                assert threshold == pytest.approx(min(1, ratio), rel=1e-4)
                assert tree.reasons[node].startswith(f"k-SEQ: coin {'below' if coin < threshold else 'above'} p/(ρ q)")
    assert shared > 0


def test_a_manual_division_is_used_where_it_is_valid(shipped32, traced):
    ask = {"prompt": PROMPT, "temperature": 1.0, "max_new_tokens": 40, "seed": 3}
    for rho in (1.0, 2.5, 8.0):
        trace = traced(shipped32, "spectr", knobs={"division": "manual", "rho": rho}, **ask)
        places = [place for step in trace.steps for place in step.notes["places"]]
        assert all(place["rho"] == min(max(rho, place["least"]), place["drafts"]) for place in places)
        assert {place["rho"] > place["least"] for place in places} >= {rho > 1}
    auto = traced(shipped32, "spectr", **ask)
    below = traced(shipped32, "spectr", knobs={"division": "manual", "rho": 1.0}, **ask)
    assert auto.ids == below.ids, "below rho* the step is the one with rho*"


def test_one_draft_is_the_chain(quick64, traced):
    """k = 1: standard speculative sampling, with the same chance at every place."""
    one = traced(quick64, "spectr", prompt=PROMPT, temperature=1.0, max_new_tokens=32, seed=1, knobs={"count": 1})
    for step in one.steps:
        assert step.tree.parents == list(range(-1, len(step.tree.tokens) - 1))
        assert all(place["rho"] == 1 for place in step.notes["places"])
        for threshold, p, q in zip(step.tree.thresholds, step.tree.target_logprobs, step.tree.draft_logprobs):
            assert threshold is None or threshold == pytest.approx(min(1, math.exp(p - q)), abs=1e-9)


def test_costs_one_target_forward_a_step(shipped32, traced):
    trace = traced(shipped32, "spectr", prompt=PROMPT, temperature=1.0, max_new_tokens=32, knobs={"count": 8, "length": 5})
    assert trace.cost.target_forwards == len(trace.steps)
    assert trace.cost.draft_forwards <= 5 * len(trace.steps)
    assert all(len(step.tree.tokens) <= 40 for step in trace.steps)


# -- typical acceptance ------------------------------------------------------------------------------------------------


def test_candidates_hang_on_the_drafts_favourites(pair):
    _, (tree, laws), draft = proposal(pair, {"length": 3, "width": 2}, [1, 2, 3], method="typical")
    assert tree.parents == [-1, -1, 0, 0, 2, 2] and tree.kind == "deterministic"
    for first, context in ((0, []), (2, [0]), (4, [0, 2])):
        law = Session(pair.draft, [1, 2, 3, *(tree.tokens[node] for node in context)]).logits.softmax(-1)
        assert tree.tokens[first : first + 2] == law.topk(2).indices.tolist()
        torch.testing.assert_close(laws[first], law)
    assert draft.ledger.forwards == 3


def test_typical_is_announced_as_lossy(shipped32, traced):
    trace = traced(shipped32, "typical", prompt=PROMPT, temperature=1.0, max_new_tokens=40, seed=1, keep=["tests"])
    assert not trace.opening.lossless
    reasons = [reason for step in trace.steps for reason in step.tree.reasons]
    assert any(reason.startswith("is typical: p above 0.0") for reason in reasons)
    assert any(reason.startswith("is not typical: p not above 0.0") for reason in reasons)
    for step in trace.steps:
        for node, reason in enumerate(step.tree.reasons):
            if "typical" in reason:
                bar = min(0.09, 0.3 * math.exp(-step.tree.target_entropies[node]))
                assert (math.exp(step.tree.target_logprobs[node]) > bar) == (step.tree.verdicts[node] == "accepted")
                assert float(reason.split()[-1]) == pytest.approx(bar, rel=0.01)


def test_a_bar_at_one_takes_nothing_and_at_zero_everything(shipped32, traced):
    ask = {"prompt": PROMPT, "temperature": 1.0, "max_new_tokens": 30}
    strict = traced(shipped32, "typical", knobs={"epsilon": 1.0, "delta": 1.0, "width": 4}, **ask)
    loose = traced(shipped32, "typical", knobs={"epsilon": 0.0, "length": 5}, **ask)
    assert all(len(step.tree.path) == 5 for step in loose.steps[:-1])
    assert len(loose.steps) < len(strict.steps)


def test_the_drafts_cache_follows_a_candidate_that_was_no_favourite(pair):
    """The second candidate is accepted: the draft must go on from it, not from its own favourite."""
    made, law = build_method("typical", {"length": 3, "width": 3}), build_law(1.0, [])
    draft = Session(pair.draft, [1, 2, 3], law)
    session = Session(pair.target, [1, 2, 3], law, draft)
    made.decide = lambda tree, p, laws, rng: verify.Outcome(path=[0, 4], added=2)
    steps = made.steps(session, torch.Generator())
    with torch.inference_mode():
        next(steps)
    assert draft.ids == session.ids
    torch.testing.assert_close(draft.logits, Session(pair.draft, session.ids).logits)
