"""AdaDec: greedy where nothing is gained, the best of its branches where it pauses, and what the pauses cost."""

from __future__ import annotations

import math

import pytest
import tiny_models
import torch

from labkit.errors import KnobError
from labkit.lm import Session
from labkit.run import run
from labkit.sampling.adadec import BY_HAND, LEARNED, AdaDec, calibration
from labkit.trace import Request, Step, Trace

TOKENS = 32


def decoded(pair, ids, method=None, tokens=TOKENS, **knobs) -> list[Step]:
    """The steps of a run; `tau` by hand unless said otherwise."""
    method = method or AdaDec(**{"threshold": BY_HAND, "tau": 0.5, **knobs})
    events = run(pair, Request(method="adadec", ids=ids, max_new_tokens=tokens), method)
    return [event for event in events if isinstance(event, Step)]


def text(steps: list[Step]) -> list[int]:
    return [token for step in steps for token in step.emitted]


def out_of_function(pair, context: list[int], way: list[int]) -> bool:
    """Does the newest token stand at column 0, or end the text? Read in the text, not in the pieces."""
    before, after = pair.vocabulary.decode(context + way[:-1]), pair.vocabulary.decode(context + way)
    return way[-1] in pair.ends or (before[-1:] == "\n" and after[len(before) :][:1] != "\n")


def scored(pair, context: list[int], way: list[int], knobs: AdaDec) -> float:
    """The score of a branch, which must be the greedy text behind its first token up to where it should end.

    Without a tree, a batch or a cache: one forward reads the whole text anew.
    """
    logs = Session(pair.target, context + way).prompt_logits()[len(context) - 1 : -1].log_softmax(-1)
    assert way[1:] == logs[1:].argmax(-1).tolist()
    ends = [out_of_function(pair, context, way[:length]) for length in range(1, len(way) + 1)]
    assert not any(ends[:-1]) and (ends[-1] or len(way) == knobs.lookahead + 1)
    total = logs[range(len(way)), way].sum().item()
    return total / len(way) if knobs.normalise else total


@pytest.mark.parametrize(
    "knobs",
    [{"tau": math.inf}, {"tau": 0.0, "branches": 1}, {"tau": 0.0, "lookahead": 0}, {"tau": 0.0, "branches": 8, "lookahead": 0}],
    ids=str,
)
def test_greedy_where_nothing_can_be_gained(knobs, quick64, prompts, greedy_text):
    """tau = inf never pauses; one branch, or none that looks ahead, cannot change a pause's mind."""
    written = [text(decoded(quick64, prompt, tokens=64, **knobs)) for prompt in prompts[:3]]
    assert written == greedy_text(quick64, prompts[:3])
    assert len(set(map(tuple, written))) == 3


@pytest.mark.parametrize("knobs", [{}, {"normalise": False}, {"branches": 5, "lookahead": 7}, {"lookahead": 1}], ids=str)
def test_a_pause_takes_the_best_of_all_scores(knobs, quick64, prompts):
    """Every pause of a run, scored again with no cache, no tree and no batch."""
    method, changed = AdaDec(threshold=BY_HAND, tau=1.0, **knobs), 0
    for prompt in (prompts[5], prompts[24]):  # where look-ahead changes the choice, and branches end early
        context = list(prompt)
        for step in decoded(quick64, prompt, method, 8):
            logs = Session(quick64.target, context).logits.log_softmax(-1)
            entropy = -(logs.exp() * logs).sum().item()
            assert (entropy >= 1.0) == ("branches" in step.notes)
            if "branches" in step.notes:
                first = logs.topk(method.branches).indices.tolist()
                assert [way["tokens"][0] for way in step.notes["branches"]] == first
                scores = [scored(quick64, context, way["tokens"], method) for way in step.notes["branches"]]
                assert [way["score"] for way in step.notes["branches"]] == pytest.approx(scores, abs=1e-5)
                assert step.emitted == [first[scores.index(max(scores))]]
                assert step.notes["tokens"] == [way["tokens"] for way in step.notes["branches"]]
                changed += step.emitted[0] != first[0]
            else:
                assert step.emitted == [int(logs.argmax())]
            context += step.emitted
    assert changed, "no pause ever changed its mind: nothing was tested"


@pytest.mark.parametrize("style", ["gpt2", "mistral", "qwen2, tied"])
def test_every_style_of_model(style):
    """Models that transformers runs as well as ours."""
    pair, context = tiny_models.letters_pair(style), [1, 2]
    method, changed = AdaDec(threshold=BY_HAND, tau=0.0, branches=4, lookahead=3), 0
    for step in decoded(pair, context, method, 8):
        scores = [scored(pair, context, way["tokens"], method) for way in step.notes["branches"]]
        assert [way["score"] for way in step.notes["branches"]] == pytest.approx(scores, abs=1e-5)
        assert step.notes["kept"] == scores.index(max(scores))
        changed += step.notes["kept"] != 0
        context = context + step.emitted
    assert changed


def test_a_branch_ends_with_the_text(quick64):
    """Nothing is read behind an end of text, and the branch is scored by the tokens it has."""
    letters = tiny_models.letters_pair("llama, grouped, tied", ends=(4,))
    method, ended = AdaDec(threshold=BY_HAND, tau=0.0, branches=5, lookahead=6), 0
    for first in range(4):
        for step in decoded(letters, [first, 1], method, 12):
            for way in step.notes["branches"]:
                assert 4 not in way["tokens"][:-1]
                assert len(way["tokens"]) == 7 or way["tokens"][-1] == 4
                assert way["score"] == pytest.approx(sum(way["logprobs"]) / len(way["tokens"]))
                ended += len(way["tokens"]) < 7
    assert ended


def test_pauses_are_paid_for(quick64, prompts):
    """A pause costs `lookahead` forwards of B tokens, and the committed token is not read a second time."""
    steps = decoded(quick64, prompts[0], tau=1.0, branches=3, lookahead=4)
    cost = [(step.cost.target_forwards, step.cost.target_tokens) for step in steps]
    paused = ["branches" in step.notes for step in steps]
    assert any(paused) and not all(paused)
    for number in range(1, len(steps)):
        known = paused[number - 1]  # its rows came with the branches
        more = (4, 12) if paused[number] else (0, 0)
        assert cost[number] == ((0 if known else 1) + more[0], (0 if known else 1) + more[1])


def test_at_the_end_of_the_context(quick64):
    """A branch ends where the model's context does."""
    pair = tiny_models.letters_pair("llama, grouped, tied", context=24)
    steps = decoded(pair, [1, 2, 3] * 4, AdaDec(threshold=BY_HAND, tau=0.0, branches=2, lookahead=20), 12)
    assert len(text(steps)) == 12
    assert [len(step.notes["branches"][0]["tokens"]) for step in steps] == list(range(13, 1, -1))


def test_a_higher_threshold_never_pauses_more(shipped32, prompts):
    """On fixed texts the share of places at or above tau falls with tau: pauses of the run, given the same context."""
    shares = []
    for tau in (0.0, 0.3, 0.8, 1.5, 2.5, 4.0, 9.0):
        paused = 0
        for prompt in prompts[:12]:
            first = next(AdaDec(threshold=BY_HAND, tau=tau, lookahead=0).steps(Session(shipped32.target, prompt), None))
            paused += "branches" in first.notes
        shares.append(paused)
    assert shares == sorted(shares, reverse=True) and shares[0] == 12 and shares[-1] == 0 and len(set(shares)) > 3


def test_the_learned_threshold_is_the_parts(shipped32, prompts):
    found = calibration(shipped32.target)
    steps = decoded(shipped32, prompts[0], AdaDec(threshold=LEARNED, tau=0.0))
    assert {step.notes["tau"] for step in steps} == {found["tau"]}
    assert steps[0].notes["calibration"] == found and steps[1].notes["calibration"] is None
    for step in steps:
        assert (step.beliefs[0].entropy >= found["tau"]) == ("branches" in step.notes)
    cut = 1 / (1 + math.exp(-found["intercept"] - found["slope"] * found["tau"]))
    assert found["slope"] < 0 < cut < 1 and round(100 * cut, 3) == pytest.approx(round(100 * cut), abs=1e-3)


def test_a_model_without_a_learned_threshold_is_told(shipped32):
    pair = tiny_models.letters_pair("llama, grouped, tied")
    assert calibration(pair.target) is None and calibration(shipped32.draft) is None
    with pytest.raises(KnobError, match="No threshold was learned for 'this model': set the threshold by hand"):
        decoded(pair, [1, 2], AdaDec())


def test_temperature_and_cuts_change_nothing(shipped32, prompts, traced):
    plain, hot = (traced(shipped32, "adadec", ids=prompts[1], max_new_tokens=24, temperature=t, seed=t) for t in (0, 1))
    assert plain.ids == hot.ids


def test_the_trace_names_every_branch(shipped32, prompts, traced):
    trace: Trace = traced(shipped32, "adadec", ids=prompts[2], max_new_tokens=24, knobs={"threshold": BY_HAND, "tau": 0.3})
    mentioned = {token for step in trace.steps for row in step.notes.get("tokens", []) for token in row}
    assert mentioned and mentioned <= trace.pieces.keys()


def test_a_model_that_is_never_sure_stops_nobody():
    """A vocabulary smaller than B."""
    pair = tiny_models.letters_pair("llama, grouped, tied", vocabulary=3)
    steps = decoded(pair, [1, 2], AdaDec(threshold=BY_HAND, tau=0.0, branches=8, lookahead=2), 4)
    assert all(len(step.notes["branches"]) == 3 for step in steps)
    assert torch.isfinite(torch.tensor([way["score"] for step in steps for way in step.notes["branches"]])).all()
