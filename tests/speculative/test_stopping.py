"""When to stop drafting (P013): what each policy reads, where it stops, and that no way of stopping changes what is written."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import exact
import pytest
import torch

from labkit.law import entropy
from labkit.lm import Session
from labkit.methods import build_law, build_method
from labkit.speculative import stopping
from labkit.speculative.specdecpp import ENTROPY, FIXED, HEAD, ORACLE
from labkit.speculative.stopping import RiskStop, judge, judgements, load_head, reliability
from labkit.trace import Tree

NAME = "specdec++"
TEMPERATURES = pytest.mark.parametrize("temperature", [0.0, 1.0])


@TEMPERATURES
@pytest.mark.parametrize("length", [1, 6])
@pytest.mark.parametrize("knobs", [{"policy": FIXED}, {"h": 1.0}, {"h": 1.0, "head": "even"}], ids=str)
def test_without_a_stop_it_is_the_fixed_chain(shipped64, prompts, traced, temperature, length, knobs):
    more = {"temperature": temperature, "seed": 3, "max_new_tokens": 40}
    for prompt in prompts[length : length + 1]:
        fixed = traced(shipped64, "chain", ids=prompt, knobs={"length": length}, **more)
        ours = traced(shipped64, NAME, ids=prompt, knobs={"longest": length, **knobs}, **more)
        assert ours.ids == fixed.ids
        assert [step.tree for step in ours.steps] == [step.tree for step in fixed.steps]  # coins and laws and all
        assert [step.cost.draft_forwards for step in ours.steps] == [step.cost.draft_forwards for step in fixed.steps]


@TEMPERATURES
def test_the_head_stops_behind_the_first_risky_token(shipped64, prompts, traced, temperature):
    """Every judgement is made again, from one forward over the whole text."""
    knobs, lengths, head = {"h": 0.7, "head": "even"}, set(), load_head("even", shipped64.draft)
    for seed, prompt in enumerate(prompts[:6]):
        ids = list(prompt)
        run = traced(shipped64, NAME, ids=prompt, knobs=knobs, temperature=temperature, seed=seed, max_new_tokens=40)
        for step in run.steps:
            drafted = step.tree.tokens
            hidden = Session(shipped64.draft, ids).score(Tree(drafted, list(range(-1, len(drafted) - 1))), hidden=True).hidden
            kept = judge(hidden[-1, 1:], head).softmax(-1)[:, 1].cumprod(0)
            climb = (1 - kept[:-1]).tolist()  # the newest token is never judged
            assert step.notes["climb"] == pytest.approx(climb, abs=1e-5)
            assert all(risk <= 0.7 for risk in climb[: len(drafted) - 2])
            assert len(drafted) == 20 or climb[-1] > 0.7
            lengths.add(len(drafted))
            ids += [*(drafted[node] for node in step.tree.path), step.tree.added]
    assert len(lengths) > 3


@TEMPERATURES
def test_the_entropy_stop_keeps_the_unsure_token_as_its_last(quick64, prompts, traced, temperature):
    knobs, lengths = {"policy": ENTROPY, "nats": 1.0, "shortest": 1, "longest": 12}, set()
    for seed, prompt in enumerate(prompts[:8]):
        run = traced(quick64, NAME, ids=prompt, knobs=knobs, temperature=temperature, seed=seed, max_new_tokens=40)
        for step in run.steps:
            assert step.notes["climb"] == pytest.approx(step.tree.draft_entropies, abs=1e-9)
            *before, last = step.notes["climb"]
            assert all(nats <= 1.0 for nats in before) and (last > 1.0 or len(before) == 11)
            lengths.add(len(before) + 1)
    assert len(lengths) > 4


@pytest.mark.parametrize("policy", [HEAD, ENTROPY])
def test_bounds_hold(shipped64, prompts, traced, policy):
    eager = {"policy": policy, "h": 0.05, "nats": 0.0, "shortest": 5}
    lengths = {len(step.tree.tokens) for step in traced(shipped64, NAME, ids=prompts[0], knobs=eager).steps}
    assert lengths == {5}
    for shortest in (1, 8):  # the longest wins
        never = {"policy": policy, "h": 0.95, "nats": 6.0, "shortest": shortest, "longest": 3}
        assert all(len(step.tree.tokens) <= 3 for step in traced(shipped64, NAME, ids=prompts[0], knobs=never).steps)


@TEMPERATURES
def test_the_oracle_discards_nothing_and_its_peeks_are_apart(quick64, prompts, traced, temperature):
    drafted = 0
    for seed, prompt in enumerate(prompts[:4]):
        more = {"temperature": temperature, "seed": seed, "max_new_tokens": 40}
        run = traced(quick64, NAME, ids=prompt, knobs={"policy": ORACLE}, **more)
        for step in run.steps:
            assert step.tree.path == list(range(len(step.tree.tokens)))
            assert step.notes["peeks"] == min(len(step.tree.tokens) + 1, 20)
        assert run.cost.target_forwards == len(run.steps)
        drafted += sum(len(step.tree.tokens) for step in run.steps)
        if not temperature:  # as few calls as the longest chain makes
            longest = traced(quick64, NAME, ids=prompt, knobs={"policy": FIXED}, **more)
            assert [step.emitted for step in run.steps] == [step.emitted for step in longest.steps]
    assert drafted > 60


@pytest.mark.parametrize(
    ("p", "q"), [([0.2, 0.3, 0.5], [0.5, 0.3, 0.2]), ([0.3, 0.4, 0.2, 0.1], [0.6, 0.2, 0.1, 0.1]), ([1.0, 0.0], [0.5, 0.5])]
)
def test_the_oracle_keeps_the_law_exactly(monkeypatch, p, q):
    """All its coins are played: what one round's first token can be, with exact probabilities."""
    p, q = torch.tensor(p, dtype=torch.float64), torch.tensor(q, dtype=torch.float64)
    dice, law = exact.Dice(), defaultdict(float)
    monkeypatch.setattr(stopping, "draw", dice.draw)
    monkeypatch.setattr(stopping, "torch", exact.FakeTorch(dice.rand))

    def play():
        oracle = stopping.Oracle()
        oracle.law, oracle.target = lambda logits: p, SimpleNamespace(logits=None, push=lambda token: None)
        token = oracle.pick(q, False, None)
        return oracle.outcome(Tree([], []), p[None], None).added if token is None else token

    for token, weight in dice.outcomes(play):
        law[token] += weight
    assert [law[token] for token in range(len(p))] == pytest.approx(p.tolist(), abs=1e-12)


def test_a_higher_line_never_stops_earlier():
    rng = torch.Generator().manual_seed(0)
    for judged in torch.rand(50, 12, generator=rng).sqrt().tolist():
        lengths = []
        for line in (0.05, 0.3, 0.6, 0.9, 1.0):
            stop = RiskStop(line, {})
            stop.begin()
            lengths.append(next((place for place, said in enumerate([None, *judged]) if stop.passes(said)), 99))
        assert lengths == sorted(lengths) and lengths[-1] == 99


def test_the_head_is_its_formula():
    """h + SiLU(W h + b) thrice, then a linear layer, over a state of unit mean square; written out."""
    rng = torch.Generator().manual_seed(1)
    head = {"blocks": torch.randn(3, 4, 4, generator=rng), "shifts": torch.randn(3, 4, generator=rng)}
    head["out"] = torch.randn(2, 5, generator=rng)
    state = torch.randn(4, generator=rng)
    x = (state / (state.square().mean() + 1e-5).sqrt()).tolist()
    for weight, shift in zip(head["blocks"].tolist(), head["shifts"].tolist()):
        y = [sum(w * value for w, value in zip(row, x)) + b for row, b in zip(weight, shift)]
        x = [value + one * torch.tensor(one).sigmoid().item() for value, one in zip(x, y)]
    due = [sum(w * value for w, value in zip(row, [*x, 1.0])) for row in head["out"].tolist()]
    assert judge(state, head).tolist() == pytest.approx(due, rel=1e-5)


def test_reliability_adds_up():
    predicted, actual = torch.tensor([0.05, 0.02, 0.55, 1.0]), torch.tensor([0.0, 1.0, 0.5, 1.0])
    found = reliability(predicted, actual)
    assert found["bins"] == [[0.035, 0.5, 2], [0.55, 0.5, 1], [1.0, 1.0, 1]]
    assert found["predicted"] == pytest.approx(0.405) and found["actual"] == pytest.approx(0.625)
    assert found["error"] == pytest.approx((2 * 0.465 + 0.05) / 4, abs=1e-6)


def calibration(pair, prompts, head):
    """Judged and tested drafts of rounds that never stop, on held-out prompts at temperature 1."""
    method, law, said = build_method(NAME, {"h": 1.0, "longest": 6, "head": head}), build_law(1.0, []), []
    for seed, ids in enumerate(prompts):
        session = Session(pair.target, ids, law, Session(pair.draft, ids, law))
        with torch.inference_mode():
            for _, step in zip(range(8), method.steps(session, torch.Generator().manual_seed(seed))):
                said += judgements(step)
    return reliability(*torch.tensor(said).t())


def test_the_even_head_is_calibrated_on_held_out_text(shipped32, prompts):
    even, weighted = calibration(shipped32, prompts[:40], "even"), calibration(shipped32, prompts[:10], "weighted")
    assert abs(even["predicted"] - even["actual"]) < 0.05
    assert even["error"] < 0.08
    spread = [was for _, was, count in even["bins"] if count > 30]
    assert max(spread) - min(spread) > 0.2, "a head that says the same of all drafts is calibrated too"
    assert weighted["predicted"] < weighted["actual"] - 0.2, "refusals were counted six times"


def test_entropy_is_that_of_the_warped_law(quick64, prompts):
    """At temperature 0.5 the stop reads the law that is drawn from."""
    law = build_law(0.5, [])
    session = Session(quick64.target, prompts[0], law, Session(quick64.draft, prompts[0], law))
    method = build_method(NAME, {"policy": ENTROPY, "longest": 1})
    method.start(session)
    method.propose(session, torch.Generator().manual_seed(0))
    due = entropy(law(Session(quick64.draft, prompts[0]).logits)).item()
    assert method.stop.climb == [pytest.approx(due, abs=1e-9)]
