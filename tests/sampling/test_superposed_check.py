"""The study of superposing: its figures are those of separate forwards, and its cosines those of the states."""

from __future__ import annotations

import pytest
import tiny_models
import torch
from tiny_models import some_tokens

from labkit.law import Law
from labkit.lm import Session
from labkit.run import run
from labkit.sampling.superposed import Superposed
from labkit.sampling.superposed_check import APART, WITH, WITHOUT, SuperposedCheck, judged, separate, superposed
from labkit.trace import Request, Step

LENGTH = 5


@pytest.fixture(scope="module")
def frames(shipped64):
    asked = Request(method="superposed-check", prompt="x", temperature=0.3, knobs={"texts": 2, "length": LENGTH})
    return [event for event in run(shipped64, asked) if isinstance(event, Step)]


def test_forwards_are_counted(frames):
    """The prompt's forward and one for every step but the first; a run of its own has to pay for each of its tokens."""
    assert [step.notes["done"] for step in frames] == [1, 2] and not any(step.emitted for step in frames)
    calls = {one["name"]: one["forwards"] for one in frames[-1].notes["runs"]}
    assert calls == {WITH: LENGTH, WITHOUT: LENGTH, APART: 1 + 3 * (LENGTH - 1)}
    for step in frames:
        assert step.cost.target_forwards == sum(calls.values()) + 3, "and one to read the drafts of each"


def test_the_losses_are_those_of_the_drafts(frames, shipped64):
    """Of the run without n-grams, whose drafts the other study writes again."""
    sums = torch.zeros(LENGTH, dtype=torch.float64)
    for text in (1, 2):
        knobs = {"text": text, "length": LENGTH, "share": 0.0}
        *_, last, _ = run(shipped64, Request(method="superposed", prompt="x", temperature=0.3, knobs=knobs))
        sums -= torch.tensor(last.notes["logprobs"], dtype=torch.float64).mean(0) / 2
    own = {one["name"]: one for one in frames[-1].notes["runs"]}[WITHOUT]
    assert own["loss"] == pytest.approx(sums.tolist(), abs=1e-5) and own["drafts"] == 3
    assert own["best"] <= sum(own["loss"]) / LENGTH


@torch.inference_mode()
@pytest.mark.parametrize("style", ["llama, grouped, tied", "qwen2, tied", "neox"])
def test_cosines_by_separate_forwards(style):
    runner = tiny_models.runner(tiny_models.tiny(style, vocabulary=64))
    prompt = some_tokens(6)
    session = Session(runner, prompt, Law(0.5))
    alone = session.fork()[0]
    drafts, moments = superposed(session, Superposed(count=3, share=0.0, length=4, candidates=20), None)
    losses, likeness = judged(alone, drafts, moments)
    assert len(drafts) == 3 and len(moments) == 3 and likeness.superposed.shape == likeness.first_alone.shape == (3, 3)
    for path, nats in zip(drafts, losses):
        logs = Session(runner, prompt + path).prompt_logits().log_softmax(-1)
        assert nats == pytest.approx([-logs[5 + place, token].item() for place, token in enumerate(path)], abs=1e-9)
    for place, moment in enumerate(moments):
        own = []
        for path in moment.paths:
            ids = torch.tensor(prompt + path)
            own.append(runner.forward(ids, torch.arange(len(ids)), None, runner.new_cache(), 0, True)[1][:, -1])
        mix = sum(weight * states for weight, states in zip(moment.weights, own))
        for layer in range(3):
            pairs = (likeness.superposed, moment.states[layer]), (likeness.first_alone, own[0][layer])
            for found, state in pairs:
                due = (state @ mix[layer] / state.norm() / mix[layer].norm()).item()
                assert found[layer, place].item() == pytest.approx(due, abs=1e-9)
        assert likeness.superposed[0, place].item() == pytest.approx(1), "the input is the mix itself"


def test_one_draft_is_its_own_mix():
    runner = tiny_models.runner(tiny_models.tiny("llama, grouped, tied", vocabulary=64))
    session = Session(runner, some_tokens(6), Law(0.5))
    alone = session.fork()[0]
    _, likeness = judged(alone, *superposed(session, Superposed(count=1, share=0.0, length=5), None))
    torch.testing.assert_close(likeness.superposed, torch.ones(3, 4, dtype=torch.float64))


def test_separate_runs_draw_from_the_nucleus():
    runner = tiny_models.runner(tiny_models.tiny("llama, grouped, tied", vocabulary=64))
    session = Session(runner, some_tokens(6), Law(0.0))
    drafts = separate(session, SuperposedCheck(count=6, length=8), torch.Generator().manual_seed(0))
    assert session.ledger.forwards == 1 + 6 * 7 and len({tuple(path) for path in drafts}) == 6 and session.ids == some_tokens(6)
    for path in drafts:
        for place, token in enumerate(path):
            law = Session(runner, some_tokens(6) + path[:place]).logits.softmax(-1)
            assert law[law > law[token]].sum() < 0.9, "the likelier ones do not hold 90 % without it"


def test_their_seed_is_the_requests_and_the_temperature_is_not(frames, shipped64):
    asked = Request(method="superposed-check", prompt="x", temperature=1.0, knobs={"texts": 1, "length": LENGTH})
    for seed, same in ((0, True), (1, False)):
        asked.seed = seed
        first = next(event for event in run(shipped64, asked) if isinstance(event, Step))
        assert (first.notes["runs"][2] == frames[0].notes["runs"][2]) == same
