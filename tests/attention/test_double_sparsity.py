"""P024: labels find the tokens that matter, cost what they say, and are never rewritten."""

from __future__ import annotations

import pytest
import tiny_models
import torch

from labkit.attention import double_sparsity as paper
from labkit.attention.codes import packed, unpacked
from labkit.kernels.labels import dequantised
from labkit.law import Law
from labkit.lm import Session

PROMPT = torch.randint(64, 4096, (70,), generator=torch.Generator().manual_seed(3)).tolist()


@pytest.fixture(scope="module")
def runner():
    return tiny_models.runner(tiny_models.tiny("llama, grouped, tied"))


def chosen(runner, policy, session=None):
    """The slots that each layer chose for the token behind the prompt, [layers, kv_heads, k]."""
    session = session or Session(runner, PROMPT, Law(0))
    policy.ranking = paper.ranked(session, policy.criterion)
    found = {}
    policy.observe = lambda layer, query, probs, selection: found.update({layer: selection})
    session.carry(runner.policy_cache(policy))
    _ = session.logits
    session.push(PROMPT[0])
    _ = session.logits
    return [selection.index for selection in found.values()]


def test_whole_labels_choose_the_true_best(runner):
    size = runner.size
    best = chosen(runner, paper.DoubleSparsity(share=0.2, criterion="oracle"))
    for criterion in ("qk", "random"):
        found = chosen(runner, paper.DoubleSparsity(share=0.2, channels=size, bits="whole", criterion=criterion))
        assert all(torch.equal(a, b) for a, b in zip(best, found))
    few = chosen(runner, paper.DoubleSparsity(share=0.2, channels=2, bits="whole"))
    assert not all(torch.equal(a, b) for a, b in zip(best, few))  # or the test above could not fail


@pytest.mark.parametrize("bits", ["8", "4", "2"])
def test_bytes_read_are_labels_and_the_chosen(runner, bits):
    policy = paper.DoubleSparsity(share=0.25, channels=8, bits=bits)
    chosen(runner, policy)
    spec, tokens = policy.spec, len(PROMPT) + 1
    width = min(8, spec.size)
    label = tokens * (width * int(bits) / 8 + 2 * 2)  # two half numbers beside the codes
    rows = round(0.25 * tokens) * 2 * spec.size * 8
    assert policy.taken == spec.layers * spec.kv_heads * (label + rows)


def test_labels_are_a_function_of_the_keys_alone_and_stay(runner):
    policy = paper.DoubleSparsity(channels=4, bits="4")
    session = Session(runner, PROMPT, Law(0))
    session.carry(runner.policy_cache(policy))
    _ = session.logits
    before = policy.slots[0]["label"].clone()
    session.push(*PROMPT[:5])
    _ = session.logits
    assert torch.equal(policy.slots[0]["label"][:, : before.shape[1]], before)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_packing(bits):
    codes = torch.randint(0, 2**bits, (3, 5, 7), generator=torch.Generator().manual_seed(bits), dtype=torch.uint8)
    held = packed(codes, bits)
    assert held.shape[-1] == -(-7 * bits // 8) and torch.equal(unpacked(held, bits, 7), codes)


@pytest.mark.parametrize("bits", ["2", "4", "8"])
def test_quantising_is_off_by_half_a_step_at_most(bits):
    label = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(0))
    held = paper.quantised(label, bits)
    wrong = (dequantised(held, bits, 8) - label).abs()
    assert (wrong <= 0.5 * held["step"].float() * 1.01 + 0.01 / 2 ** int(bits)).all() and wrong.max() > 0


def test_calibration_averages_over_all_blocks(runner):
    """The released hook keeps only the last block: the same text twice must weigh what it weighs once, two texts both."""
    meters = []
    for texts in ([PROMPT], [PROMPT, PROMPT[::-1]], [PROMPT[::-1]]):
        meter = paper.Meter("qk")
        for ids in texts:
            session = Session(runner, ids, Law(0))
            session.carry(runner.policy_cache(meter))
            _ = session.logits
        meters.append(meter.sums)
    assert torch.allclose(meters[0] + meters[2], meters[1])
