"""P038: the draft may change while it serves, the text may not; and what it learns is what the target said where it was wrong."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import tiny_models
import torch
from test_laws import LETTERS, PROMPT, every_text, is_caught

from labkit import prompts as shipped_prompts
from labkit.errors import ModelError
from labkit.lm import Session
from labkit.methods import build_law, build_method
from labkit.speculative.distil import Learner, Lesson
from labkit.speculative.ground import Proposal
from labkit.speculative.online_sd import OnlineSD
from labkit.speculative.online_stream import TAUGHT, Router

LEARNING = {"every": 1, "rate": 0.003, "gradient_steps": 2}


@pytest.fixture(scope="module")
def pair():
    return tiny_models.letters_pair("llama, grouped, tied", 24, context=128)


def opened(pair, ids, temperature=0.0):
    law = build_law(temperature, [])
    return Session(pair.target, ids, law, Session(pair.draft, ids, law))


def rounds(pair, knobs, temperature=0.0, count=12, method="online-sd"):
    """(method, session, steps) after `count` rounds."""
    made, session = build_method(method, knobs), opened(pair, PROMPT, temperature)
    running = made.steps(session, torch.Generator().manual_seed(3))
    with torch.inference_mode():
        return made, session, [next(running) for _ in range(count)]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_rate_of_zero_is_the_frozen_draft(temperature, pair):
    _, _, frozen = rounds(pair, {"length": 5}, temperature, method="chain")
    _, _, learning = rounds(pair, {**LEARNING, "rate": 0.0}, temperature)
    assert learning[-1].notes["updates"] > 3
    for step in learning:
        if step.notes["agreements"]:
            mean = sum(step.notes["agreements"]) / len(step.notes["agreements"])
            assert step.notes["frozen alpha"] == pytest.approx(mean, abs=1e-9)
    for one, other in zip(learning, frozen):
        assert one.tree.tokens == other.tree.tokens and one.emitted == other.emitted
        assert one.tree.draft_logprobs == pytest.approx(other.tree.draft_logprobs, abs=1e-9)
        assert one.tree.thresholds == pytest.approx(other.tree.thresholds, abs=1e-9)


def test_learning_changes_the_draft_and_not_the_text(quick64, prompts, traced):
    """Before and after every update: each round adds what plain decoding writes, though the drafts differ by then."""
    ask = {"ids": prompts[3], "max_new_tokens": 48}
    frozen = traced(quick64, "chain", knobs={"length": 5}, **ask)
    learning = traced(quick64, "online-sd", knobs=LEARNING, **ask)
    assert learning.steps[-1].notes["updates"] > 5
    assert learning.ids == traced(quick64, "plain", **ask).ids
    drafted = [[step.tree.draft_logprobs for step in trace.steps] for trace in (learning, frozen)]
    assert drafted[0][0] == drafted[1][0] and drafted[0] != drafted[1]


def test_the_shared_draft_is_untouched(shipped32, traced):
    ids = shipped32.vocabulary.encode("class Stack:\n    def __init__(self):\n")

    def state():
        weights = {name: tensor.clone() for name, tensor in shipped32.draft.fresh().state_dict().items()}
        return weights | {
            "own": shipped32.draft.embedding.clone(),
            "says": Session(shipped32.draft, ids).prompt_logits(),
        }

    before = state()
    trace = traced(shipped32, "online-sd", ids=ids, max_new_tokens=32, knobs=LEARNING)
    assert trace.steps[-1].notes["updates"] > 3
    after = state()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("style", ["llama, untied", "qwen2, tied", "gpt2"])
def test_the_copy_learns_and_its_runner_follows(style):
    model = tiny_models.tiny(style, vocabulary=24)
    shared = tiny_models.runner(tiny_models.shaken(model, 0.3))
    learner, ids = Learner(shared, 0.003), [1, 2, 3, 4, 5, 6]
    rows = Session(tiny_models.runner(model), ids).prompt_logits()
    lessons = [Lesson(place, rows[place], True) for place in (2, 3, 5)]
    before = Session(shared, ids).prompt_logits()
    with torch.inference_mode():
        said = [learner.learn([ids], [lessons]) for _ in range(20)]
    assert said[-1] < 0.5 * said[0]
    now = learner.session(Session(shared, ids), ids).prompt_logits()
    due = learner.model(torch.tensor([ids])).logits[0]
    torch.testing.assert_close(now, due.detach(), rtol=0, atol=1e-5)
    assert torch.equal(Session(shared, ids).prompt_logits(), before)


def test_lessons_are_the_targets_laws_one_place_before_the_corrected_token(pair):
    made, session, steps = rounds(pair, {"every": 32, "length": 4}, count=14)
    wrong = [lesson for lesson in made.lessons if lesson.wrong]
    refused = [step for step in steps if "refused" in step.tree.verdicts]
    assert 3 < len(wrong) == len(refused) < len(made.lessons)
    assert [lesson.place for lesson in made.lessons] == list(range(len(PROMPT) - 1, len(session.ids) - 1))
    for lesson, step in zip(wrong, refused):
        assert session.ids[lesson.place + 1] == step.tree.added == int(lesson.logits.argmax())
    for lesson in made.lessons:
        due = Session(pair.target, session.ids[: lesson.place + 1]).logits
        torch.testing.assert_close(lesson.logits, due, rtol=0, atol=1e-9)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_agreements_are_those_of_the_laws_that_met(temperature, pair):
    law = build_law(temperature, [])
    _, _, steps = rounds(pair, {"every": 32, "length": 4}, temperature)
    ids = list(PROMPT)
    for step in steps:
        tested = [node for node, verdict in enumerate(step.tree.verdicts) if verdict != "unreached"]
        assert len(step.notes["agreements"]) == len(tested)
        for node, agreement in zip(tested, step.notes["agreements"]):
            context = [*ids, *step.tree.tokens[:node]]
            p, q = (law(Session(runner, context).logits) for runner in (pair.target, pair.draft))
            assert agreement == pytest.approx(torch.minimum(p, q).sum().item(), abs=1e-9)
        ids += step.emitted


def test_an_update_comes_every_few_rounds_and_is_counted(pair):
    _, _, steps = rounds(pair, {"every": 3, "rate": 0.001, "learn_from": "every place"})
    assert [step.notes["updates"] for step in steps] == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
    for number, step in enumerate(steps, 1):
        assert ("loss" in step.notes) == (number % 3 == 0)
    assert steps[2].notes["places"] == sum(len(step.emitted) for step in steps[:3])


@dataclass
class Hasty(OnlineSD):
    """Updates inside a round: the old draft draws, the new one says how likely that was."""

    def propose(self, session, rng):
        tree, _ = super().propose(session, rng)
        with torch.inference_mode(False), torch.no_grad():
            for weight in self.learner.model.parameters():
                weight += 0.3 * weight.std()
            rows = self.learner.model(torch.tensor([[*session.ids, *tree.tokens]])).logits[0]
        return Proposal(tree, session.law(rows[len(session.ids) - 1 : -1]))


def test_an_update_inside_a_round_is_caught():
    pair = tiny_models.letters_pair("llama, grouped, tied", LETTERS)
    texts = every_text(pair, build_law(1.0, []))
    assert is_caught(pair, Hasty(length=2, every=32), "temperature 1", texts, seeds=500)


def test_weights_that_cannot_be_loaded_again(traced):
    bare = tiny_models.letters_pair("llama, grouped, tied")
    del bare.draft.fresh
    with pytest.raises(ModelError, match="cannot be loaded a second time"):
        traced(bare, "online-sd", ids=[1, 2], max_new_tokens=4)


# -- the stream --------------------------------------------------------------------------------------------------------


def test_the_classifier_knows_the_topics(shipped32):
    topics = [[shipped32.vocabulary.encode(text) for text in prompts] for prompts in shipped_prompts.topics().values()]
    router = Router([prompts[:TAUGHT] for prompts in topics], shipped32.target.vocabulary)
    for topic, prompts in enumerate(topics):
        right = sum(router(ids) == topic for ids in prompts[TAUGHT:])
        assert right >= 0.95 * len(prompts[TAUGHT:])


def stream(pair, traced, temperature=0.0, **knobs):
    trace = traced(pair, "online-stream", prompt="x", knobs=knobs, temperature=temperature)
    return trace, trace.steps[-1].notes


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_stream_that_learns_nothing_is_twice_the_same(temperature, quick64, traced):
    trace, notes = stream(quick64, traced, temperature, requests=8, tokens=12, rate=0.0, every=2)
    assert trace.closing.reason == "done" and len(trace.steps) == notes["done"] == notes["of"] == 8
    assert notes["topic"] == [0] * 4 + [1] * 4 and notes["switch"] == 4
    assert all(notes["same text"])
    for what in ("alpha", "calls"):
        assert notes[f"learning {what}"] == notes[f"frozen {what}"]
    assert sum(loss is not None for loss in notes["loss"]) == 4
    assert sum(notes["learning calls"]) * 2 < trace.cost.target_forwards < sum(notes["learning calls"]) * 2 + 20


def test_routed_drafts_learn_apart(shipped32, traced):
    _, notes = stream(shipped32, traced, requests=8, tokens=12, every=2, routing="one a topic", gradient_steps=1)
    assert notes["draft"] == notes["topic"] and all(notes["same text"])
    assert notes["learning alpha"][4:6] == notes["frozen alpha"][4:6], "the second draft has learned nothing yet"
    assert notes["learning alpha"][2:4] != notes["frozen alpha"][2:4]


def test_direction(shipped32, traced):
    """On a narrow stream alpha rises by more than 0.05 within 24 requests."""
    _, notes = stream(shipped32, traced, requests=24, switch=1.0, every=2, tokens=24)
    late = slice(12, 24)
    gain = [a - b for a, b in zip(notes["learning alpha"][late], notes["frozen alpha"][late])]
    assert sum(gain) / 12 > 0.05
    assert all(notes["same text"])
    assert sum(notes["learning calls"][late]) < sum(notes["frozen calls"][late])
