"""At temperature 0 every lossless method writes, token for token, what transformers' `generate` writes (in float64)."""

from __future__ import annotations

import os

import pytest

from labkit.errors import ModelError
from labkit.llama import LlamaRunner
from labkit.methods import all_methods
from labkit.speculative.ground import KSEQ, MATCH, RESIDUAL

# `make test THOROUGH=1` runs all that was promised; every other run a part of it, as exactly.
PROMPTS, PROMPTS_A_STYLE, PROMPTS_A_SETTING = (60, 12, 6) if os.environ.get("LABKIT_THOROUGH") else (4, 2, 1)
LEAN_ONLY = ("del",)  # they look between the layers, which only the lean forward allows
LOSSLESS = sorted(name for name, method in all_methods().items() if method.lossless)
KNOBS = [
    ("chain", {"length": 1}),
    ("chain", {"length": 4, "verifier": MATCH}),
    ("chain", {"length": 8, "verifier": RESIDUAL, "heat": 2.0}),
    ("chain", {"length": 16}),
    ("del", {"longest": 16, "stop_early": False, "discount": 0.5}),
    ("del", {"policy": "fixed", "layer": 7, "length": 3}),
    ("del", {"policy": "fixed", "layer": 1, "length": 1, "stop_early": False}),
    ("dyspec", {"budget": 1}),
    ("dyspec", {"budget": 128, "draft_temperature": 1.2}),
    ("dyspec", {"mode": "threshold"}),
    ("dyspec", {"mode": "threshold", "budget": 64, "threshold": 0.05, "draft_temperature": 0.2}),
    ("dyspec", {"mode": "threshold", "budget": 2}),
    ("specdec++", {"h": 0.05, "shortest": 1}),
    ("specdec++", {"h": 0.9, "head": "even", "longest": 7}),
    ("specdec++", {"policy": "entropy", "nats": 0.5, "shortest": 1, "verifier": MATCH}),
    ("specdec++", {"policy": "fixed length", "longest": 1}),
    ("specdec++", {"policy": "oracle (peeks)"}),
    ("lookup", {"length": 1, "longest": 1}),
    ("pearl", {"gamma": 1}),
    ("pearl", {"gamma": 2, "ratio": 3.0}),
    ("pearl", {"gamma": 5, "pre": False}),
    ("pearl", {"gamma": 5, "post": False}),
    ("pearl", {"gamma": 4, "pre": False, "post": False}),
    ("pearl", {"gamma": 16, "clock": "measured here"}),
    ("pearl", {"ratio": 20.0}),
    ("lookup", {"length": 24, "longest": 6}),
    ("static-tree", {"shape": "2-ary"}),
    ("static-tree", {"shape": "4-ary", "budget": 3, "verifier": MATCH}),
    ("static-tree", {"budget": 1}),
    ("static-tree", {"budget": 128}),
    ("online-sd", {"every": 1, "rate": 0.003, "gradient_steps": 2}),
    ("online-sd", {"every": 2, "rate": 0.001, "learn_from": "every place", "loss": "reverse KL"}),
    ("token-recycling", {"shape": "80 nodes"}),
    ("token-recycling", {"shape": "80 nodes", "width": 2}),
    ("token-recycling", {"shape": "chain"}),
    ("token-recycling", {"start_from": "hot"}),
    ("token-recycling", {"learn_from": "accepted only"}),
    ("token-recycling", {"learn_prompt": False, "width": 16}),
    ("spectr", {"count": 1, "length": 8}),
    ("spectr", {"count": 8, "length": 1}),
    ("spectr", {"count": 8, "length": 8, "verifier": KSEQ, "division": "manual", "rho": 8.0}),
    ("spectr", {"count": 2, "length": 2, "verifier": RESIDUAL}),
    ("spectr", {"count": 3, "length": 6, "verifier": MATCH}),
    ("typical", {"length": 1, "width": 1}),  # lossy above temperature 0 only
    ("typical", {"length": 6, "width": 4, "epsilon": 0.0}),
    ("aded", {"simulations": 10, "paths": 4, "depth": 2}),
    ("aded", {"simulations": 500, "paths": 48, "depth": 8, "c1": 5.0, "c2": 100.0}),
    ("aded", {"start_from": "empty", "rate": 1.0}),
    ("aded", {"rate": 0.0, "c1": 0.1}),
]


def written(traced, pair, method, prompts, **more):
    traces = [traced(pair, method, ids=prompt, max_new_tokens=64, **more) for prompt in prompts]
    return [trace.ids for trace in traces], traces


@pytest.mark.parametrize("method", LOSSLESS)
def test_shipped_pair(method, shipped64, prompts, greedy_text, traced):
    ids, traces = written(traced, shipped64, method, prompts[:PROMPTS])
    assert ids == greedy_text(shipped64, prompts[:PROMPTS])
    assert len({tuple(row) for row in ids}) > 0.8 * PROMPTS, "the prompts must ask for different texts"
    if all_methods()[method].drafts:
        assert sum(len(trace.steps) for trace in traces) < sum(map(len, ids)), (
            "no draft was ever accepted: nothing was tested"
        )


@pytest.mark.parametrize("method", LOSSLESS)
def test_every_style(method, tiny_pair, prompts, greedy_text, traced):
    if method in LEAN_ONLY and not isinstance(tiny_pair.target, LlamaRunner):
        with pytest.raises(ModelError, match="Llama family"):
            traced(tiny_pair, method, ids=prompts[0])
        return
    ids, traces = written(traced, tiny_pair, method, prompts[:PROMPTS_A_STYLE])
    assert ids == greedy_text(tiny_pair, prompts[:PROMPTS_A_STYLE])
    if all_methods()[method].drafts == "model":
        trees = [step.tree for trace in traces for step in trace.steps]
        share = sum(len(tree.path) for tree in trees) / sum(len(tree.tokens) for tree in trees)
        assert 0.05 < share < 0.95, "drafts that are always right, or never, test nothing"


@pytest.mark.parametrize(("place", "method", "knobs"), [(place, *case) for place, case in enumerate(KNOBS)], ids=str)
def test_every_setting(place, method, knobs, fitting, prompts, greedy_text, traced):
    some = [prompts[(place + one) % PROMPTS] for one in range(PROMPTS_A_SETTING)]  # each setting its own
    ids, _ = written(traced, fitting, method, some, knobs=knobs)
    assert ids == greedy_text(fitting, some)
