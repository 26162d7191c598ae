"""The lean forward is transformers' own, to the last digit where both compute in float64; beliefs are its softmax."""

from __future__ import annotations

import copy
import struct
from functools import partial

import pytest
import tiny_models
import torch
from tiny_models import some_tokens
from torch.nn import functional as F

from labkit import llama
from labkit.errors import LabError
from labkit.hf import HuggingFaceRunner
from labkit.llama import LlamaRunner, fits
from labkit.lm import Session, beliefs
from labkit.trace import Tree

EXACT = {"rtol": 0, "atol": 1e-10}


def in_double(model):
    """`model` with its norms in float64: transformers rounds them to float32 even there (6e-7 in the logits)."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = partial(
                F.rms_norm, normalized_shape=module.weight.shape, weight=module.weight, eps=module.variance_epsilon
            )
    return model


@pytest.mark.parametrize("style", tiny_models.LEAN)
@pytest.mark.parametrize(("dtype", "intel"), [(torch.float64, True), (torch.float32, True), (torch.float32, False)])
def test_lean_forward_is_transformers_own(style, dtype, intel, monkeypatch):
    monkeypatch.setattr(llama, "made_by_intel", lambda: intel)  # float32's weights are packed elsewhere
    model = tiny_models.tiny(style, vocabulary=64)
    with torch.inference_mode():
        exact = in_double(copy.deepcopy(model))(torch.tensor([some_tokens(40)]), output_hidden_states=True)
    model = model.to(dtype)
    lean, tolerance = LlamaRunner(model), 1e-10 if dtype == torch.float64 else 1e-4
    with torch.inference_mode():
        for n in range(1, 41):
            cache = lean.new_cache()
            ids = torch.tensor(some_tokens(40)[:n])
            logits, hidden = lean.forward(ids, torch.arange(n), None, cache, 0, True)
            scale = 1.0 if dtype == torch.float64 else exact.logits.abs().max()
            torch.testing.assert_close(logits.double() / scale, exact.logits[0, :n] / scale, rtol=0, atol=tolerance)
            assert cache.length == n
        for layer, states in enumerate(exact.hidden_states[:-1]):  # transformers' last one is behind the final norm
            torch.testing.assert_close(hidden[layer].double(), states[0], rtol=tolerance, atol=10 * tolerance)
        assert hidden.shape == (3, 40, 48)


@pytest.mark.parametrize("style", ["llama, grouped, tied", "qwen2, untied", "gpt2"])
def test_half_precision_runs_and_is_close(style):
    model = tiny_models.tiny(style, vocabulary=64, spread=0.1)
    exact = Session(tiny_models.runner(model), some_tokens(12)).logits
    session = Session(tiny_models.runner(model.to(torch.bfloat16)), some_tokens(12))
    assert session.logits.dtype == torch.float32
    assert (session.logits - exact).abs().max() < 0.1 * exact.abs().max()
    assert session.score(Tree(some_tokens(3), [-1, -1, 0])).logits.shape == (4, 64)


def test_models_the_lean_forward_cannot_run_take_the_general_path():
    for more in (
        {"hidden_act": "gelu"},
        {"mlp_bias": True},
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
    ):
        assert not fits(tiny_models.STYLES["llama, untied"][0](**more))
    assert not fits(tiny_models.STYLES["mistral"][0](sliding_window=8))
    assert not fits(tiny_models.STYLES["gpt2"][0]())
    assert fits(
        tiny_models.STYLES["llama, untied"][0](
            rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
        )
    )


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "rope_theta": 1e4,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    ],
    ids=["linear", "llama3"],
)
def test_scaled_positions(rope):
    model = tiny_models.tiny("llama, untied", vocabulary=64, rope_parameters=rope)
    ids = some_tokens(40)
    with torch.inference_mode():
        exact = in_double(model)(torch.tensor([ids])).logits[0]
    torch.testing.assert_close(Session(LlamaRunner(model), ids).prompt_logits(), exact, **EXACT)


def test_a_sliding_window_bounds_the_context():
    """Our mask lets every token see all before it, so a windowed model is right only up to its window."""
    model = tiny_models.tiny("mistral", vocabulary=64, sliding_window=24)
    made = tiny_models.runner(model)
    assert isinstance(made, HuggingFaceRunner)
    assert made.context == 24
    with torch.inference_mode():
        exact = model(torch.tensor([some_tokens(24)])).logits[0]
    torch.testing.assert_close(Session(made, some_tokens(24)).prompt_logits(), exact, **EXACT)


# -- beliefs -----------------------------------------------------------------------------------------------------------


def test_beliefs_are_the_softmax_by_hand():
    rows = torch.tensor([[0.0, 1.0, 2.0, -1.0], [3.0, 3.0, 0.0, 3.0]], dtype=torch.float64)
    first, second = beliefs(rows, [1, 2])
    weights = [2.718281828459045**x for x in (0, 1, 2, -1)]
    p = [weight / sum(weights) for weight in weights]
    logs = [x - torch.tensor(sum(weights)).log().item() for x in (0.0, 1.0, 2.0, -1.0)]
    assert (first.token, first.rank) == (1, 1)
    assert first.logprob == pytest.approx(logs[1], abs=1e-6)
    assert first.entropy == pytest.approx(-sum(a * b for a, b in zip(p, logs)), abs=1e-6)
    assert first.top == [2, 1, 0, 3]
    assert first.top_logprobs == pytest.approx([logs[2], logs[1], logs[0], logs[3]], abs=1e-6)
    assert first.law is None
    assert (second.rank, sorted(second.top[:3])) == (3, [0, 1, 3])


def test_certain_beliefs_have_no_entropy_and_no_nan():
    (belief,) = beliefs(torch.tensor([[0.0, 500.0, -500.0]]), [1])
    assert (belief.entropy, belief.logprob, belief.rank) == (0.0, 0.0, 0)


def test_kept_laws_decode_to_the_log_probabilities():
    row = Session(tiny_models.runner(tiny_models.tiny("gpt2", vocabulary=64)), some_tokens(8)).logits
    (belief,) = beliefs(row[None], [3], laws=True)
    assert len(belief.law) == 2 * 64
    kept = struct.unpack("<64e", belief.law)
    assert kept == pytest.approx(row.log_softmax(-1).tolist(), rel=1e-3, abs=1e-3)
    assert len(belief.top) == 12


def test_logits_that_are_no_numbers():
    rows = torch.zeros(2, 5)
    rows[1, 3] = float("nan")
    with pytest.raises(LabError, match="not numbers"):
        beliefs(rows, [0, 0])
    rows[1, 3] = float("inf")
    with pytest.raises(LabError, match="not numbers"):
        beliefs(rows, [0, 0])
