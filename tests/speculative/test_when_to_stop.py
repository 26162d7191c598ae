"""The study of stopping: its cheap counts are those of really decoding, and its figures add up."""

from __future__ import annotations

import pytest
import torch

from labkit.lm import Session
from labkit.methods import build_law
from labkit.run import run
from labkit.speculative import when_to_stop
from labkit.speculative.specdecpp import ENTROPY, FIXED, HEAD, ORACLE
from labkit.speculative.when_to_stop import LONGEST, decode, drafts, replay, settings
from labkit.trace import Closing, Request, Step

TOKENS = 24


def opened(pair, ids, temperature=0.0):
    law = build_law(temperature, [])
    return Session(pair.target, ids, law, Session(pair.draft, ids, law))


def test_a_replay_counts_what_decoding_counts(quick64, prompts):
    """In float64, where no rounding decides; every third setting of every policy, of the head for both its losses; the oracle."""
    weighted, even = settings("weighted"), [point for point in settings("even") if point[0] == HEAD]
    for number, ids in enumerate(prompts[4:7]):
        with torch.inference_mode():
            found = drafts(opened(quick64, ids), TOKENS)
            for curve, value, method in [*weighted[number::3], weighted[-1], *even[number::3]]:
                real, _ = decode(method, opened(quick64, ids), TOKENS, 0)
                assert replay(method, quick64.draft, found) == real, (curve, value)


def test_what_is_stored_is_what_the_models_say(quick64, prompts):
    ids = prompts[2]
    with torch.inference_mode():
        found = drafts(opened(quick64, ids), TOKENS)
    text = list(ids)
    for place in range(TOKENS):
        chain = list(text)
        for level in range(LONGEST):
            logits = Session(quick64.draft, chain).logits
            assert found.entropies[place][level] == pytest.approx(
                torch.special.entr(logits.softmax(-1)).sum().item(), abs=1e-9
            )
            chain.append(int(logits.argmax()))
            same = chain[-1] == int(Session(quick64.target, chain[:-1]).logits.argmax())
            if not same:
                break
        assert found.agreeing[place] == (LONGEST if same else level)
        text.append(int(Session(quick64.target, text).logits.argmax()))


def frames(pair, temperature, **knobs):
    events = list(run(pair, Request(method="when-to-stop", prompt="x", temperature=temperature, knobs=knobs)))
    assert isinstance(events[-1], Closing) and events[-1].reason == "done"
    return [event for event in events if isinstance(event, Step)]


def test_at_temperature_0_a_step_is_a_text(shipped32):
    steps = frames(shipped32, 0.0, prompts=3, tokens=16)
    assert [(step.notes["done"], step.notes["of"]) for step in steps] == [(1, 3), (2, 3), (3, 3)]
    curves = steps[-1].notes["curves"]
    assert [len(curves[name]) for name in (FIXED, ENTROPY, HEAD, ORACLE)] == [16, 13, 13, 1]
    for points in curves.values():
        assert all(0 <= lost and 0 < calls <= 1 for _, lost, calls in points)
    assert curves[ORACLE][0][1] == 0
    assert curves[ORACLE][0][2] == min(calls for points in curves.values() for _, _, calls in points)
    never = dict((value, rest) for value, *rest in curves[HEAD])[1.0]
    assert never == dict((value, rest) for value, *rest in curves[FIXED])[LONGEST]
    lost = [point[1] for point in curves[FIXED]]
    assert lost == sorted(lost), "longer chains throw more away"
    assert set(steps[-1].notes["reliability"]) == {"weighted", "even"}


def test_above_it_a_step_is_a_run(shipped32, monkeypatch):
    monkeypatch.setattr(when_to_stop, "NATS", (1.0,))
    monkeypatch.setattr(when_to_stop, "LINES", (0.3, 1.0))
    steps = frames(shipped32, 1.0, prompts=1, tokens=16, head="even")
    assert len(steps) == steps[-1].notes["of"] == 1 + 2 + 16 + 1 + 1
    assert set(steps[0].notes["reliability"]) == {"weighted"} and set(steps[1].notes["reliability"]) == {"weighted", "even"}
    curves = steps[-1].notes["curves"]
    assert curves[ORACLE][0][1] == 0
    fixed, head = ({point[0]: point[1:] for point in curves[name]} for name in (FIXED, HEAD))
    assert head[1.0] == fixed[LONGEST], "the same seed, the same run"
    assert head[0.3][0] < head[1.0][0]
