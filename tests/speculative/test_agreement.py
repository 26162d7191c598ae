"""The study of agreement: its shares are those of the laws, computed another way."""

from __future__ import annotations

import pytest
import torch

from labkit.lm import Session
from labkit.methods import build_law
from labkit.prompts import heldout
from labkit.run import run
from labkit.trace import Closing, Request, Step


def frames(pair, temperature):
    events = list(run(pair, Request(method="agreement", prompt="x", temperature=temperature, knobs={"texts": 3})))
    assert isinstance(events[-1], Closing) and events[-1].reason == "done"
    return [event for event in events if isinstance(event, Step)]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_alpha_is_the_shared_mass(shipped64, temperature):
    steps = frames(shipped64, temperature)
    assert [step.notes["done"] for step in steps] == [1, 2, 3] and not any(step.emitted for step in steps)
    law, shared = build_law(temperature, []), []
    fixed, shared_fixed = build_law(0.4, []), []
    for text in heldout(3):
        ids = shipped64.vocabulary.encode(text)
        p, q = (Session(runner, ids).prompt_logits() for runner in (shipped64.target, shipped64.draft))
        for one, into in ((law, shared), (fixed, shared_fixed)):
            into += (1 - 0.5 * (one(p) - one(q)).abs().sum(-1)).tolist()  # one minus the total variation
    notes = steps[-1].notes
    assert notes["places"] == len(shared)
    assert notes["alpha"][notes["temperatures"].index(0.4)] == pytest.approx(sum(shared_fixed) / len(shared), abs=1e-12)
    mean = sum(alpha * share for alpha, share in zip(notes["by_entropy"], notes["share"]))
    assert mean == pytest.approx(sum(shared) / len(shared), abs=1e-12)
    assert sum(notes["share"]) == pytest.approx(1)
    assert torch.tensor(notes["alpha"]).gt(0).all()


def test_it_counts_one_forward_of_each_model_a_text(shipped64):
    cost = sum((step.cost for step in frames(shipped64, 1.0)[1:]), frames(shipped64, 1.0)[0].cost)
    assert cost.target_forwards == cost.draft_forwards == 3
