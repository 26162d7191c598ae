"""Transforms and laws: sets computed by hand, transformers' own warpers as an oracle, draws that have the right law."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.stats import chisquare
from transformers import (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from labkit.errors import KnobError, LabError
from labkit.law import Law, draw, entropy
from labkit.methods import build_law
from labkit.trace import Setting


def logits_of(*chances: float) -> torch.Tensor:
    return torch.tensor(chances, dtype=torch.float64).log()


def kept(law: torch.Tensor) -> list[int]:
    return law.nonzero().flatten().tolist()


def law_of(logits, *settings, temperature=1.0):
    return build_law(temperature, [Setting(name, {knob: value}) for name, knob, value in settings])(logits)


FIVE = (0.1, 0.4, 0.05, 0.25, 0.2)
SOME_CUTS = [("top-p", "p", 0.5), ("min-p", "p", 0.5), ("typical", "mass", 0.5), ("eta", "epsilon", 0.01)]
SOME_CUTS += [("top-h", "alpha", 0.4)]


@pytest.mark.parametrize(
    ("setting", "stay"),
    [
        (("top-k", "k", 0), [0, 1, 2, 3, 4]),  # off
        (("top-k", "k", 1), [1]),
        (("top-k", "k", 3), [1, 3, 4]),
        (("top-k", "k", 5), [0, 1, 2, 3, 4]),
        (("top-k", "k", 4096), [0, 1, 2, 3, 4]),
        (("top-p", "p", 1.0), [0, 1, 2, 3, 4]),  # off
        (("top-p", "p", 0.01), [1]),
        (("top-p", "p", 0.39), [1]),
        (("top-p", "p", 0.41), [1, 3]),
        (("top-p", "p", 0.64), [1, 3]),
        (("top-p", "p", 0.66), [1, 3, 4]),
        (("top-p", "p", 0.99), [0, 1, 2, 3, 4]),
        (("min-p", "p", 0.0), [0, 1, 2, 3, 4]),  # off
        (("min-p", "p", 0.2), [0, 1, 3, 4]),
        (("min-p", "p", 0.26), [1, 3, 4]),
        (("min-p", "p", 0.51), [1, 3]),
        (("min-p", "p", 1.0), [1]),
        (("typical", "mass", 1.0), [0, 1, 2, 3, 4]),  # off
        (("typical", "mass", 0.2), [3]),  # H is 1.42 nats; surprises 2.30, 0.92, 3.00, 1.39, 1.61
        (("typical", "mass", 0.4), [3, 4]),  # nearer than the likeliest, which is cut
        (("typical", "mass", 0.5), [1, 3, 4]),
        (("typical", "mass", 0.9), [0, 1, 3, 4]),
        (("eta", "epsilon", 0.0), [0, 1, 2, 3, 4]),  # off
        (("eta", "epsilon", 0.07), [0, 1, 3, 4]),  # sqrt(0.07) e^-1.42 = 0.064 < 0.07
        (("eta", "epsilon", 0.04), [0, 1, 2, 3, 4]),
        (("top-h", "alpha", 1.0), [0, 1, 2, 3, 4]),  # off
        (("top-h", "alpha", 0.4), [1]),  # two tokens have 0.666 nats, the bound is 0.566
        (("top-h", "alpha", 0.5), [1, 3]),
        (("top-h", "alpha", 0.95), [0, 1, 3, 4]),
    ],
    ids=str,
)
def test_what_stays(setting, stay):
    law = law_of(logits_of(*FIVE), setting)
    assert kept(law) == stay
    mass = sum(FIVE[token] for token in stay)
    assert law.tolist() == pytest.approx([FIVE[token] / mass if token in stay else 0 for token in range(5)])


def test_ties():
    tied = logits_of(0.3, 0.2, 0.3, 0.2)
    assert kept(law_of(tied, ("top-k", "k", 1))) == [0, 2], "tokens tied with the k-th stay"
    assert kept(law_of(tied, ("top-k", "k", 3))) == [0, 1, 2, 3]
    assert kept(law_of(tied, ("top-p", "p", 0.2))) == [0], "the fewest tokens; among equals the first"
    assert kept(law_of(tied, ("top-p", "p", 0.5))) == [0, 2]
    assert kept(law_of(tied, ("min-p", "p", 1.0))) == [0, 2]
    assert kept(law_of(torch.zeros(6), ("top-p", "p", 0.4))) == [0, 1, 2]
    assert kept(law_of(tied, ("typical", "mass", 0.3))) == [0, 2], "tokens as near as the last one stay"
    assert kept(law_of(torch.zeros(6), ("eta", "epsilon", 0.1))) == [0, 1, 2, 3, 4, 5]


def test_extreme_logits():
    steep = torch.tensor([1e4, -1e4, 0.0, float("-inf")])
    for setting in (("top-k", "k", 2), *SOME_CUTS):
        law = law_of(steep, setting)
        assert law.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert law_of(steep, temperature=5.0).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert law_of(steep, temperature=0.001).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_order_matters_and_is_kept():
    five = logits_of(*FIVE)
    one = law_of(five, ("top-k", "k", 2), ("top-p", "p", 0.7))  # 0.4 / 0.65 < 0.7: both stay
    two = law_of(five, ("top-p", "p", 0.3), ("top-k", "k", 2))
    assert (kept(one), kept(two)) == ([1, 3], [1])
    narrow = law_of(five, ("top-k", "k", 2), ("top-p", "p", 0.6))  # 0.4 / 0.65 > 0.6: the mass is that of what stayed
    assert kept(narrow) == [1]


def test_temperature_comes_first():
    five = logits_of(*FIVE)
    powers = [chance**2 for chance in FIVE]
    share = [power / sum(powers) for power in powers]
    assert law_of(five, temperature=0.5).tolist() == pytest.approx(share)
    assert kept(law_of(five, ("top-p", "p", 0.8), temperature=0.5)) == [1, 3]  # 0.16 + 0.0625 of 0.275 > 0.8
    assert kept(law_of(five, ("top-p", "p", 0.8))) == [1, 3, 4]
    assert law_of(five, temperature=0.0).tolist() == [0, 1, 0, 0, 0]


def test_greedy_takes_the_first_of_equals():
    assert Law(0.0)(torch.tensor([[0.0, 2.0, 2.0], [5.0, 5.0, 5.0]])).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_rows_are_independent():
    rows = torch.randn(4, 3, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    stack = [Setting("top-k", {"k": 20}), Setting("top-p", {"p": 0.7}), Setting("min-p", {"p": 0.05})]
    for settings_ in (stack, *([Setting(name, {knob: value})] for name, knob, value in SOME_CUTS)):
        law = build_law(0.8, settings_)
        whole = law(rows)
        assert whole.shape == rows.shape
        for at in ((0, 0), (3, 2), (1, 1)):
            torch.testing.assert_close(whole[at], law(rows[at]))


def test_inputs_are_left_alone():
    logits = torch.randn(50)
    before = logits.clone()
    for setting in (("top-k", "k", 3), *SOME_CUTS):
        law_of(logits, setting)
        law_of(logits, setting, temperature=0.5)
        assert torch.equal(logits, before)


@pytest.mark.parametrize(
    ("setting", "warper"),
    [
        (("top-k", "k", 1), TopKLogitsWarper(1)),
        (("top-k", "k", 50), TopKLogitsWarper(50)),
        (("top-p", "p", 0.1), TopPLogitsWarper(0.1)),
        (("top-p", "p", 0.9), TopPLogitsWarper(0.9)),
        (("top-p", "p", 0.99), TopPLogitsWarper(0.99)),
        (("min-p", "p", 0.01), MinPLogitsWarper(0.01)),
        (("min-p", "p", 0.3), MinPLogitsWarper(0.3)),
        (("min-p", "p", 1.0), MinPLogitsWarper(1.0)),
        (("typical", "mass", 0.1), TypicalLogitsWarper(0.1)),
        (("typical", "mass", 0.9), TypicalLogitsWarper(0.9)),
        (("typical", "mass", 0.99), TypicalLogitsWarper(0.99)),
        (("eta", "epsilon", 0.0005), EtaLogitsWarper(0.0005)),
        (("eta", "epsilon", 0.05), EtaLogitsWarper(0.05)),
    ],
    ids=lambda value: str(value) if isinstance(value, tuple) else "",
)
def test_transformers_cut_the_same_tokens(setting, warper):
    rng = torch.Generator().manual_seed(3)
    for spread in (0.5, 2.0, 6.0):
        for temperature in (0.3, 1.0, 1.7):
            logits = spread * torch.randn(20, 4096, generator=rng, dtype=torch.float64)
            ours = law_of(logits, setting, temperature=temperature)
            theirs = warper(None, TemperatureLogitsWarper(temperature)(None, logits)).softmax(-1)
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=0)


@pytest.mark.parametrize("epsilon", [0.0005, 0.05])
def test_epsilon_is_a_floor_that_stays(epsilon):
    logits = 3 * torch.randn(20, 4096, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ours = build_law(1.0, [Setting("eta", {"epsilon": epsilon, "rule": "epsilon"})])(logits)
    torch.testing.assert_close(ours, EpsilonLogitsWarper(epsilon)(None, logits).softmax(-1), rtol=1e-9, atol=0)


OFF = [Setting("top-h", {"alpha": 1.0}), Setting("typical", {"mass": 1.0}), Setting("eta", {"epsilon": 0.0})]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_switched_off_they_leave_the_text_alone(shipped32, traced, temperature):
    more = {"prompt": "class Queue:\n    def", "temperature": temperature, "max_new_tokens": 32, "seed": 4}
    assert traced(shipped32, "plain", transforms=OFF, **more).ids == traced(shipped32, "plain", **more).ids
    on = [Setting("top-h", {"alpha": 0.2})]
    assert temperature == 0 or traced(shipped32, "plain", transforms=on, **more).ids != traced(shipped32, "plain", **more).ids


@pytest.mark.parametrize("temperature", [-0.1, 5.01, math.nan, math.inf, -math.inf, 1e-6, 5e-324])
def test_temperatures_out_of_range(temperature):
    with pytest.raises(KnobError, match="choose 0 .greedy. or a value from 0.001 to 5"):
        build_law(temperature, [])


def test_unknown_transforms_and_their_knobs():
    with pytest.raises(KnobError, match="There is no transform 'top-z': choose one of eta, min-p, top-h, top-k, top-p, typical."):
        build_law(1.0, [Setting("top-z")])
    with pytest.raises(KnobError, match="There is no knob 'q'"):
        build_law(1.0, [Setting("top-p", {"q": 0.5})])
    with pytest.raises(KnobError, match="Top-p is 1.5, outside its range"):
        build_law(1.0, [Setting("top-p", {"p": 1.5})])


# -- drawing -----------------------------------------------------------------------------------------------------------


class FixedCoin:
    """torch with a `rand` that always gives one number."""

    def __init__(self, coin: float):
        self.coin = coin

    def __getattr__(self, name):
        return getattr(torch, name)

    def rand(self, *size, **more):
        return torch.tensor(self.coin, dtype=torch.float64)


LARGEST = 1 - 2**-53  # the largest number torch.rand gives in float64


@settings(max_examples=200, deadline=None)
@given(
    some.lists(some.integers(0, 9), min_size=1, max_size=12).filter(any), some.sampled_from([0.0, 0.3, 0.5, LARGEST])
)
def test_a_token_of_probability_zero_is_never_drawn(weights, coin):
    for dtype in (torch.float32, torch.float64):
        law = torch.tensor(weights, dtype=dtype) / 7  # need not sum to 1
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("labkit.law.torch", FixedCoin(coin))
            assert weights[draw(law, None)] > 0


def test_draws_have_the_law():
    rng, law = torch.Generator().manual_seed(1), torch.tensor([0.0, 0.1, 0.5, 0.0, 0.15, 0.25, 0.0])
    counts = [0] * 7
    for _ in range(20_000):
        counts[draw(law, rng)] += 1
    assert [count for count, share in zip(counts, law) if share == 0] == [0, 0, 0]
    due = [share * 20_000 for share in law.double().tolist() if share]
    assert chisquare([count for count in counts if count], due, sum_check=False).pvalue > 1e-3
    assert chisquare([count for count in counts if count], due[::-1], sum_check=False).pvalue < 1e-9


def test_the_same_seed_draws_the_same():
    law = torch.rand(100, generator=torch.Generator().manual_seed(0))

    def draws(seed):
        rng = torch.Generator().manual_seed(seed)
        return [draw(law, rng) for _ in range(20)]

    assert draws(7) == draws(7) != draws(8)


def test_a_law_that_is_no_numbers_is_refused():
    with pytest.raises(LabError, match="not numbers"):
        draw(torch.tensor([float("nan")] * 4), torch.Generator())


def test_entropy_in_nats():
    assert entropy(torch.tensor([0.25] * 4)).item() == pytest.approx(math.log(4))
    assert entropy(torch.tensor([[1.0, 0.0], [0.5, 0.5]])).tolist() == pytest.approx([0.0, math.log(2)])
