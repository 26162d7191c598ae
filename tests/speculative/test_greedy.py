"""At temperature 0 every lossless method writes, token for token, what transformers' `generate` writes (in float64)."""

from __future__ import annotations

import pytest

from labkit.methods import all_methods
from labkit.speculative.ground import MATCH, RESIDUAL

LOSSLESS = sorted(name for name, method in all_methods().items() if method.lossless)
KNOBS = [
    ("chain", {"length": 1}),
    ("chain", {"length": 4, "verifier": MATCH}),
    ("chain", {"length": 8, "verifier": RESIDUAL, "heat": 2.0}),
    ("chain", {"length": 16}),
    ("specdec++", {"h": 0.05, "shortest": 1}),
    ("specdec++", {"h": 0.9, "head": "even", "longest": 7}),
    ("specdec++", {"policy": "entropy", "nats": 0.5, "shortest": 1, "verifier": MATCH}),
    ("specdec++", {"policy": "fixed length", "longest": 1}),
    ("specdec++", {"policy": "oracle (peeks)"}),
    ("lookup", {"length": 1, "longest": 1}),
    ("lookup", {"length": 24, "longest": 6}),
    ("token-recycling", {"shape": "80 nodes"}),
    ("token-recycling", {"shape": "80 nodes", "width": 2}),
    ("token-recycling", {"shape": "chain"}),
    ("token-recycling", {"start_from": "hot"}),
    ("token-recycling", {"learn_from": "accepted only"}),
    ("token-recycling", {"learn_prompt": False, "width": 16}),
]


def written(traced, pair, method, prompts, **more):
    traces = [traced(pair, method, ids=prompt, max_new_tokens=64, **more) for prompt in prompts]
    return [trace.ids for trace in traces], traces


@pytest.mark.parametrize("method", LOSSLESS)
def test_shipped_pair(method, shipped64, prompts, greedy_text, traced):
    ids, traces = written(traced, shipped64, method, prompts[:60])
    assert ids == greedy_text(shipped64, prompts[:60])
    assert len({tuple(row) for row in ids}) > 50, "the prompts must ask for different texts"
    if all_methods()[method].drafts:
        assert sum(len(trace.steps) for trace in traces) < sum(map(len, ids)), (
            "no draft was ever accepted: nothing was tested"
        )


@pytest.mark.parametrize("method", LOSSLESS)
def test_every_style(method, tiny_pair, prompts, greedy_text, traced):
    ids, traces = written(traced, tiny_pair, method, prompts[:12])
    assert ids == greedy_text(tiny_pair, prompts[:12])
    if all_methods()[method].drafts == "model":
        trees = [step.tree for trace in traces for step in trace.steps]
        share = sum(len(tree.path) for tree in trees) / sum(len(tree.tokens) for tree in trees)
        assert 0.05 < share < 0.95, "drafts that are always right, or never, test nothing"


@pytest.mark.parametrize(("method", "knobs"), KNOBS, ids=str)
def test_every_setting(method, knobs, shipped64, prompts, greedy_text, traced):
    ids, _ = written(traced, shipped64, method, prompts[:6], knobs=knobs)
    assert ids == greedy_text(shipped64, prompts[:6])
