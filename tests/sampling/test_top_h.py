"""Top-H: the bound of the paper, brute force on small vocabularies, transformers' warper, and the example that goes wrong."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from transformers import TemperatureLogitsWarper, TopHLogitsWarper

from labkit.law import entropy
from labkit.methods import build_law
from labkit.sampling.top_h import TopH
from labkit.trace import Setting

ALPHAS = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)
LAWS = some.lists(some.floats(-8, 8), min_size=2, max_size=10)


def top_h(logits: torch.Tensor, temperature: float = 1.0, **knobs) -> torch.Tensor:
    return build_law(temperature, [Setting("top-h", knobs)])(logits)


def sizes(law: torch.Tensor) -> int | list[int]:
    return (law > 0).sum(-1).tolist()


def rows(count: int = 24, size: int = 400, seed: int = 0) -> torch.Tensor:
    """Flat laws and steep ones, float64."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=rng, dtype=torch.float64) * torch.linspace(0.1, 8, count)[:, None]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_bound_is_kept_and_the_next_token_would_break_it(alpha, temperature):
    logits = rows()
    whole = (logits / temperature).softmax(-1)
    bounds = alpha * entropy(whole)
    kept = top_h(logits, temperature, alpha=alpha)
    for law, cut, bound in zip(whole, kept, bounds):
        count, order = int((cut > 0).sum()), law.argsort(descending=True)
        assert cut.nonzero().flatten().sort().values.equal(order[:count].sort().values), "a prefix of the sorted law"
        torch.testing.assert_close(cut[order[:count]], law[order[:count]] / law[order[:count]].sum(), rtol=1e-12, atol=0)
        assert count == 1 or entropy(cut) <= bound + 1e-9
        more = law[order[: count + 1]]
        assert entropy(more / more.sum()) > bound - 1e-9


@given(LAWS, some.sampled_from(ALPHAS))
def test_small_laws_by_brute_force(chances, alpha):
    """No feasible set that holds the likeliest token has more mass than the best one; the greedy set is the longest prefix."""
    logits = torch.tensor(chances, dtype=torch.float64)
    law = logits.softmax(-1)
    kept = (top_h(logits, alpha=alpha) > 0).nonzero().flatten().tolist()
    mass = law[kept].sum().item()
    bound, order = alpha * entropy(law).item(), law.argsort(descending=True, stable=True).tolist()

    def feasible(tokens):
        shares = law[list(tokens)]
        return entropy(shares / shares.sum()).item() <= bound + 1e-9

    prefixes = [count for count in range(1, len(order) + 1) if count == 1 or feasible(order[:count])]
    assert prefixes == list(range(1, len(prefixes) + 1)), "growing a prefix raises its entropy: one scan is enough"
    assert len(kept) in (len(prefixes), len(prefixes) - 1), "one less only where the bound is met to the last digit"
    best = 0.0
    for count in range(1, len(order) + 1):
        for tokens in itertools.combinations(range(len(order)), count):
            if count == 1 or feasible(tokens):
                best = max(best, law[list(tokens)].sum().item())
    assert mass <= best + 1e-9
    assert len(kept) == 1 or feasible(kept)


def test_the_greedy_set_may_hold_less_than_the_best_one():
    """Why greedy is not the optimum: the second token breaks the bound, the last one would not."""
    law = torch.tensor([0.5, 0.3, 0.19, 0.01], dtype=torch.float64)
    kept, bound = top_h(law.log(), alpha=0.4), 0.4 * entropy(law)
    assert sizes(kept) == 1
    other = law[[0, 3]] / law[[0, 3]].sum()
    assert entropy(other) < bound and law[[0, 3]].sum() > law[0]


@pytest.mark.parametrize("alpha", [0.1, 0.4, 0.7, 0.99])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
def test_released_is_transformers(alpha, temperature):
    for logits in (rows(size=4096), rows(size=60, seed=1)):  # the second has fewer tokens than the cap
        theirs = TopHLogitsWarper(alpha)(None, TemperatureLogitsWarper(temperature)(None, logits)).softmax(-1)
        ours = top_h(logits, temperature, alpha=alpha, rule="released", cap=100)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=0)


def test_the_two_rules_differ():
    """Of n equal tokens the paper's rule keeps n^alpha, the released one alpha n."""
    equal = torch.zeros(100, dtype=torch.float64)
    assert sizes(top_h(equal, alpha=0.4)) == int(100**0.4) == 6
    assert sizes(top_h(equal, alpha=0.4 + 1e-9, rule="released")) == 40  # 40 terms come to the bound itself
    capped = top_h(torch.zeros(4000, dtype=torch.float64), alpha=0.4 + 1e-9, rule="released", cap=100)
    assert sizes(capped) == 40


def test_the_example_that_goes_wrong():
    """0.95 on one token and a flat tail of 99: H is small, so a share of it lets half the tail in; min-p keeps one token."""
    law = torch.tensor([0.95] + [0.05 / 99] * 99, dtype=torch.float64)
    assert sizes(top_h(law.log(), alpha=0.4)) == 39
    assert sizes(build_law(1.0, [Setting("min-p", {"p": 0.1})])(law.log())) == 1


def test_off_keeps_all_and_a_sure_law_one():
    logits = rows(3)
    assert torch.equal(TopH(1.0)(logits), logits), "alpha 1 without a cap changes nothing"
    assert sizes(top_h(logits, alpha=1.0, cap=50)) == [50] * 3
    sure = torch.tensor([float("-inf"), 2.0, float("-inf")])
    steep = torch.tensor([1e4, -1e4, 0.0, float("-inf")])
    for rule in ("paper", "released"):
        assert top_h(sure, alpha=0.4, rule=rule).tolist() == [0, 1, 0]
        assert top_h(steep, alpha=0.4, rule=rule).tolist() == [1, 0, 0, 0]


def test_any_base_of_the_logarithm_gives_the_same_set():
    """Written out in bits and in decimal digits: H(q) / H(p) is a ratio."""
    for law, kept in zip(rows(8).softmax(-1), sizes(top_h(rows(8), alpha=0.4))):
        p = law.sort(descending=True).values
        for base in (2.0, 10.0):
            bound = 0.4 * -(p * p.log() / math.log(base)).sum()
            count = 1
            while count < len(p):
                q = p[: count + 1] / p[: count + 1].sum()
                if -(q * q.log() / math.log(base)).sum() > bound:
                    break
                count += 1
            assert kept == count


@pytest.mark.parametrize("knobs", [{}, {"rule": "released"}, {"cap": 100}, {"rule": "released", "cap": 100}], ids=str)
def test_a_batch_is_a_loop_over_its_rows(knobs):
    logits = rows().view(4, 6, -1)
    whole = top_h(logits, 1.3, alpha=0.4, **knobs)
    assert whole.shape == logits.shape
    for at in itertools.product(range(4), range(6)):
        assert torch.equal(whole[at] > 0, top_h(logits[at], 1.3, alpha=0.4, **knobs) > 0)
        torch.testing.assert_close(whole[at], top_h(logits[at], 1.3, alpha=0.4, **knobs))


def test_equal_tokens_are_cut_by_their_number():
    assert (top_h(torch.zeros(100, dtype=torch.float64), alpha=0.4) > 0).nonzero().flatten().tolist() == list(range(6))


def test_the_logits_given_are_left_alone():
    for knobs in ({}, {"rule": "released", "cap": 20}):
        logits = rows()
        before = logits.clone()
        TopH(0.4, **knobs)(logits)
        assert torch.equal(logits, before)


def test_heat_widens_min_p_more_than_top_h():
    """The paper's point: on one law min-p's and top-p's sets grow with the temperature far more than Top-H's."""
    logits = 2.5 * torch.randn(4096, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    growth = {}
    for name, knobs in (("top-p", {"p": 0.9}), ("min-p", {"p": 0.1}), ("top-h", {"alpha": 0.4})):
        cool, hot = (sizes(build_law(t, [Setting(name, knobs)])(logits)) for t in (1.0, 2.0))
        growth[name] = hot / cool
    assert growth["top-h"] < 2 < 3 < min(growth["top-p"], growth["min-p"])
