"""USCD: switched off it is greedy decoding; the gate is a Renyi-2 test; the contrast follows the formula."""

from __future__ import annotations

import math

import pytest
import tiny_models
import torch

from labkit.errors import LabError, PromptError
from labkit.lm import Session
from labkit.sampling.uscd import contrast, peakedness
from labkit.tasks import kit, without_examples
from labkit.trace import loads

TASKS = kit("whole")[:6]
RNG = torch.Generator().manual_seed(0)


def law(size=4096, spread=3.0):
    return (spread * torch.randn(size, generator=RNG, dtype=torch.float64)).softmax(-1)


@pytest.mark.parametrize("knobs", [{"r": 0.0}, {"r": 1.0, "w1": 0.0, "f": 0.0}, {"r": 0.9, "w1": 0.0, "f": 0.0}], ids=str)
def test_off_is_greedy(knobs, quick64, traced, once):
    for task in TASKS:
        ask = {"prompt": task.prompt, "max_new_tokens": 24}
        assert traced(quick64, "uscd", knobs=knobs, **ask).ids == once(quick64, "plain", **ask).ids


def test_off_is_greedy_in_every_style(tiny_pair, traced):
    ask = {"prompt": TASKS[0].prompt, "max_new_tokens": 12}
    contrasted = traced(tiny_pair, "uscd", knobs={"r": 1.0, "w1": -0.9}, **ask)
    assert any(step.notes["open"] for step in contrasted.steps), "and on, it runs"
    assert traced(tiny_pair, "uscd", knobs={"r": 0.0}, **ask).ids == traced(tiny_pair, "plain", **ask).ids


@pytest.mark.parametrize("w1", [-0.99, -0.7, 0.0])
def test_the_same_law_twice_changes_no_favourite(w1, quick64, traced, once):
    """A prompt without examples, or with all of them kept, is its own lame prompt."""
    bare = without_examples(TASKS[0].prompt)
    for prompt, keep in ((bare, 0), (TASKS[1].prompt, 2)):
        ask = {"prompt": prompt, "max_new_tokens": 24}
        trace = traced(quick64, "uscd", knobs={"r": 1.0, "w1": w1, "keep": keep}, **ask)
        assert trace.ids == once(quick64, "plain", **ask).ids
        assert all(step.notes["P"] == pytest.approx(step.notes["P'"]) for step in trace.steps)
    p = law()
    assert int(contrast(p, p, w1, 0.67).argmax()) == int(p.argmax())


@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0, 30.0])
@pytest.mark.parametrize("size", [5, 4096, 32000])
def test_the_gate_is_a_renyi_test(spread, size):
    """s^2 = (sum p^2 - 1/V) / (V - 1), and r = s sqrt(V)."""
    p = law(size, spread)
    identity = math.sqrt(max(0.0, ((p * p).sum().item() - 1 / size) / (size - 1)) * size)
    assert peakedness(p) == pytest.approx(identity, abs=1e-7)
    assert 0 <= peakedness(p) <= 1.0 + 1 / math.sqrt(size) + 1e-9


def test_papers_threshold():
    assert 0.005 * math.sqrt(32000) == pytest.approx(0.895, abs=1e-3)
    assert 0.0035 * math.sqrt(32000) == pytest.approx(0.626, abs=1e-3)


def test_the_formula_by_hand():
    p = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    lame = torch.tensor([0.6, 0.1, 0.1, 0.2], dtype=torch.float64)
    score = contrast(p, lame, -0.7, 0.67)  # the floor is 0.1675: the last two are cut
    assert score[:2].exp().tolist() == pytest.approx([0.08, 0.23]) and score[2:].tolist() == [-math.inf, -math.inf]
    assert contrast(p, lame, -0.7, 0.0).exp().tolist() == pytest.approx([0.08, 0.23, 0.08, 0.0])
    assert int(score.argmax()) == 1 != int(p.argmax()), "what the lame prompt likes as well loses"
    logs = (p.log() - 0.7 * lame.log())[:3]
    assert logs.exp().tolist() != pytest.approx([0.08, 0.23, 0.08]), "not a contrast of logarithms"


def test_nothing_left_falls_back():
    p = torch.tensor([0.5, 0.5], dtype=torch.float64)
    assert contrast(p, torch.ones(2, dtype=torch.float64), -1.0, 0.0).exp().tolist() == pytest.approx([0.5, 0.5])


def test_every_step_is_the_formula(quick64, traced):
    """Both laws from scratch at every place; the lame prompt gets the same tokens."""
    task = TASKS[3]
    knobs = {"r": 0.9, "w1": -0.7, "f": 0.67}
    trace = traced(quick64, "uscd", prompt=task.prompt, max_new_tokens=20, knobs=knobs)
    encode = quick64.vocabulary.encode
    rich, poor = encode(task.prompt), encode(without_examples(task.prompt))
    assert len(poor) < len(rich) and {step.notes["open"] for step in trace.steps} == {True, False}
    for place, step in enumerate(trace.steps):
        p, lame = (Session(quick64.target, ids + trace.ids[:place]).logits.softmax(-1) for ids in (rich, poor))
        assert step.notes["peaked"] == pytest.approx(peakedness(p)) and step.notes["open"] == (peakedness(p) < 0.9)
        score = contrast(p, lame, -0.7, 0.67) if step.notes["open"] else p.log()
        named = step.notes["tokens"][0]
        assert step.emitted == [int(score.argmax())]
        assert step.notes["P"] == pytest.approx(p[named].tolist())
        assert step.notes["result"] == pytest.approx(score.softmax(-1)[named].tolist(), abs=1e-9)
        if step.notes["open"]:
            assert step.notes["P'"] == pytest.approx(lame[named].tolist())
        else:
            assert step.notes["P'"] is None
        assert step.beliefs[0].logprob == pytest.approx(p.log()[step.emitted[0]].item())
    opened = sum(step.notes["open"] for step in trace.steps)
    assert trace.cost.target_forwards == 20 + opened, "the lame prompt is asked only where the gate opens"
    assert loads(trace.dumps()) == trace


def test_the_gate_opens_where_the_entropy_is_high(shipped32, traced):
    by_state = {True: [], False: []}
    for task in TASKS:
        for step in traced(shipped32, "uscd", prompt=task.prompt, max_new_tokens=32).steps:
            by_state[step.notes["open"]].append(step.beliefs[0].entropy)
    means = {state: sum(found) / len(found) for state, found in by_state.items()}
    assert means[True] > means[False]


def test_sampling_follows_the_score(shipped32, traced):
    """At a temperature the contrast's own law is drawn from: what it cuts is never written."""
    ask = {"prompt": TASKS[2].prompt, "temperature": 1.0, "max_new_tokens": 24}
    runs = [traced(shipped32, "uscd", seed=seed, **ask) for seed in range(4)]
    assert len({tuple(run.ids) for run in runs}) > 1
    for step in (step for run in runs for step in run.steps):
        place = step.notes["tokens"][0].index(step.emitted[0])
        assert step.notes["result"][place] > 0


def test_bad_input(shipped32, traced):
    with pytest.raises(PromptError, match="nothing but examples"):
        traced(shipped32, "uscd", prompt=">>> f(1)\n2")
    pair = tiny_models.letters_pair("llama, grouped, tied")
    pair.target.embedding = torch.full_like(pair.target.embedding, math.nan)
    with pytest.raises(LabError, match="not numbers"):
        traced(pair, "uscd", ids=[1, 2])
