"""The maths of distillation: divergences by hand, AdaSPEC's choice, and gradients that go where they should."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from labkit.speculative.distil import (
    FORWARD,
    MIXED,
    REVERSE,
    VARIATION,
    Lesson,
    choose,
    chosen_loss,
    divergence,
    losses,
)

P, Q = [0.5, 0.3, 0.2], [0.25, 0.25, 0.5]
KL = sum(p * math.log(p / q) for p, q in zip(P, Q))
BACK = sum(q * math.log(q / p) for p, q in zip(P, Q))


def logs(law) -> torch.Tensor:
    return torch.tensor([law], dtype=torch.float64).log()


@pytest.mark.parametrize(
    ("kind", "due"), [(FORWARD, KL), (REVERSE, BACK), (MIXED, 0.9 * KL + 0.1 * BACK), (VARIATION, 0.3)]
)
def test_divergences_by_hand(kind, due):
    assert divergence(logs(P), logs(Q), kind).item() == pytest.approx(due, abs=1e-12)
    assert divergence(logs(P), logs(P), kind).item() == pytest.approx(0, abs=1e-12)


def test_total_variation_is_what_is_refused():
    agreement = sum(map(min, P, Q))
    assert divergence(logs(P), logs(Q), VARIATION).item() == pytest.approx(1 - agreement)


def test_forward_kl_has_the_gradient_of_the_soft_cross_entropy():
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 9, generator=rng, dtype=torch.float64, requires_grad=True)
    p = torch.randn(6, 9, generator=rng, dtype=torch.float64).softmax(-1)
    (ours,) = torch.autograd.grad(divergence(p.log(), logits.log_softmax(-1), FORWARD).sum(), logits)
    (soft,) = torch.autograd.grad(-(p * logits.log_softmax(-1)).sum(), logits)
    torch.testing.assert_close(ours, soft, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [7, 512, 1001])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.4, 0.75, 1.0])
def test_the_share_is_kept(size, share):
    rng = torch.Generator().manual_seed(size)
    draft, reference = torch.rand(2, size, generator=rng)
    kept = choose(draft, reference, share)
    assert abs(kept.float().mean().item() - share) <= 1 / size
    lag = draft - reference
    assert kept.all() or lag[kept].min() >= lag[~kept].max(), "those that lag most are kept"


def test_ties_are_kept_together():
    lag = torch.tensor([3.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert choose(lag, torch.zeros(10), 0.3).sum() == 5, "four equal ones share the third place"
    assert choose(torch.ones(8), torch.ones(8), 0.1).all()


def gradient(share, plain=False):
    rng = torch.Generator().manual_seed(1)
    logits = torch.randn(50, 11, generator=rng, requires_grad=True)
    log_p, log_r = torch.randn(2, 50, 11, generator=rng).log_softmax(-1)
    draft = divergence(log_p, logits.log_softmax(-1))
    loss, kept = (draft.mean(), None) if plain else chosen_loss(draft, divergence(log_p, log_r), share)
    loss.backward()
    return logits.grad, kept


def test_keeping_all_is_plain_distillation():
    everything, kept = gradient(1.0)
    assert kept.all()
    torch.testing.assert_close(everything, gradient(1.0, plain=True)[0], rtol=0, atol=1e-6)


def test_what_is_left_out_has_no_gradient():
    found, kept = gradient(0.4)
    assert 0 < kept.sum() < 50
    assert torch.equal(found.abs().sum(-1) > 0, kept)


class Leaf:
    """A draft module whose logits are one leaf, so that its gradient says which places were looked at."""

    device = torch.device("cpu")

    def __init__(self, rows: int, length: int):
        self.leaf = torch.randn(rows, length, 7, generator=torch.Generator().manual_seed(2)).requires_grad_()

    def __call__(self, input_ids, use_cache):
        assert input_ids.shape == self.leaf.shape[:2]
        return SimpleNamespace(logits=self.leaf)


def test_only_the_lessons_places_learn():
    """Two texts of different lengths; a lesson at place t is about the law of token t + 1, which the row of token t gives."""
    texts, law = [[1, 2, 3, 4, 5], [1, 2, 3]], torch.randn(7)
    lessons = [[Lesson(1, law, True), Lesson(3, law, True)], [Lesson(0, law, True)]]
    model = Leaf(2, 5)
    found = losses(model, texts, lessons)
    due = [divergence(law.log_softmax(-1)[None], model.leaf[row, place].log_softmax(-1)[None]) for row, place in
           ((0, 1), (0, 3), (1, 0))]  # fmt: skip
    torch.testing.assert_close(found, torch.cat(due))
    found.mean().backward()
    touched = model.leaf.grad.abs().sum(-1).nonzero().tolist()
    assert touched == [[0, 1], [0, 3], [1, 0]]
