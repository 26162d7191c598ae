""" "Is it really lossless?": the right verifiers pass, the wrong ones are found out, and a rare token is no false alarm."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from scipy.stats import chi2

from labkit.errors import KnobError, ModelError, PromptError
from labkit.lm import Session
from labkit.speculative.check import check, power
from labkit.speculative.check import chi_square as statistic_of
from labkit.speculative.variants import VARIANTS
from labkit.trace import Setting


@pytest.fixture(scope="module")
def open_place(shipped32, prompts):
    """The place among some where drawing from p after a refusal bends the law most: there wrong verifiers show."""

    def bend(ids):
        p, q = (Session(runner, ids).logits.softmax(-1) for runner in (shipped32.target, shipped32.draft))
        kept = torch.minimum(p, q)
        return (kept - kept.sum() * p).abs().sum().item()

    return max((prompt[:n] for prompt in prompts[:10] for n in (4, 8, 12, 16)), key=bend)


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if variant.right])
@pytest.mark.parametrize("law", [{}, {"temperature": 0.5, "transforms": [Setting("top-p", {"p": 0.9})]}], ids=str)
def test_right_verifiers_pass(name, law, shipped32, open_place):
    assert check(shipped32, open_place, name, draws=2000, seed=1, **law)["p_value"] > 1e-3


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if not variant.right])
def test_wrong_verifiers_are_found_out(name, shipped32, open_place):
    """Those whose law is far enough from p at this place; of the others the answer says that it is not."""
    answer = check(shipped32, open_place, name, draws=2000, seed=1, temperature=0.7, drafts=4)
    assert not answer["right"] and answer["kind"] in ("lossy", "broken")
    if answer["distance"] > 0.05:
        assert answer["p_value"] < 1e-6
        assert answer["chi_square"] > answer["limit"]
        assert answer["power"] > 0.999
    else:
        assert name in ("merged-siblings", "stale-row", "distinct-k-seq"), answer["distance"]
    assert (answer["p_value"] < 1e-6) <= (answer["power"] > 0.5)


def test_drafts_are_as_many_as_asked_for(shipped32, open_place):
    """k-SEQ with rho = 1 is right for one draft, and the more drafts the worse."""
    far = [check(shipped32, open_place, "small-division", draws=1, drafts=drafts)["distance"] for drafts in (1, 2, 4, 8)]
    assert far[0] < 1e-12 and far == sorted(far) and far[-1] > 0.01
    assert check(shipped32, open_place, "V3", draws=1500, seed=2, drafts=8)["p_value"] > 1e-3


@pytest.mark.parametrize("law", [[0.5, 0.3, 0.2], [0.52, 0.3, 0.18], [0.45, 0.3, 0.25], [0.5, 0.29, 0.2, 0.01]], ids=str)
def test_power_is_how_often_a_check_finds_it(law):
    exact = torch.tensor([0.5, 0.3, 0.2] + [0.0] * (len(law) - 3), dtype=torch.float64)
    law, rng, draws, found = torch.tensor(law, dtype=torch.float64), torch.Generator().manual_seed(3), 300, 0
    for row in law.expand(1000, -1).multinomial(draws, replacement=True, generator=rng):
        statistic, df = statistic_of(exact, dict(enumerate(row.bincount(minlength=len(law)).tolist())))
        found += statistic > chi2.isf(0.05, df)
    assert found / 1000 == pytest.approx(power(exact, law, draws), abs=0.05)


def test_draws_add_up_over_calls(shipped32, open_place):
    first = check(shipped32, open_place, "V2", draws=300, seed=1)
    assert sum(first["counts"].values()) == first["draws"] == 300
    second = check(shipped32, open_place, "V2", draws=200, seed=2, counts=first["counts"])
    assert sum(second["counts"].values()) == second["draws"] == 500
    assert all(second["counts"][token] >= count for token, count in first["counts"].items())
    assert sum(second["exact"]) + second["rest_exact"] == pytest.approx(1)
    assert sum(second["drawn"]) + second["rest_drawn"] == pytest.approx(1)
    p = Session(shipped32.target, open_place).logits.softmax(-1)
    assert second["tokens"] == p.topk(8).indices.tolist()
    assert second["exact"] == pytest.approx(p.topk(8).values.tolist(), rel=1e-4)
    assert second["pieces"] == [shipped32.vocabulary.piece(token) for token in second["tokens"]]


def chi_square(law: list[float], counts: dict[int, int]) -> tuple[float, int]:
    return statistic_of(torch.tensor(law, dtype=torch.float64), counts)


def test_chi_square_by_hand():
    assert chi_square([0.5, 0.3, 0.2], {0: 60, 1: 25, 2: 15}) == (pytest.approx(2 + 25 / 30 + 25 / 20), 2)
    statistic, df = chi_square([0.5, 0.46, 0.03, 0.01], {0: 55, 1: 40, 2: 3, 3: 2})  # 4 rare ones join the smaller cell
    assert (statistic, df) == (pytest.approx(25 / 50 + 25 / 50), 1)
    statistic, df = chi_square([0.5, 0.4, 0.04, 0.06], {0: 50, 1: 30, 2: 8, 3: 12})
    assert (statistic, df) == (pytest.approx(0 + 100 / 40 + 100 / 10), 2)


def test_one_rare_token_is_no_alarm_and_one_forbidden_is():
    law = [0.7, 0.29999, 0.00001, 0.0]
    for counts, alarm in (({0: 700, 1: 299, 2: 1}, False), ({0: 700, 1: 299, 3: 1}, True), ({0: 1000}, True)):
        statistic, df = chi_square(law, counts)
        assert (chi2.sf(statistic, df) < 1e-6) == alarm
    assert chi_square([1.0, 0.0], {0: 50})[0] == 0
    assert chi_square([0.5, 0.5], {0: 1})[0] == 0, "one draw says nothing"


@pytest.mark.parametrize(
    ("ask", "kind", "sentence"),
    [
        ({"variant": "V9"}, KnobError, "There is no verifier 'V9'"),
        ({"draws": 0}, KnobError, "choose 1 to 20,000"),
        ({"draws": 10**9}, KnobError, "choose 1 to 20,000"),
        ({"drafts": 0}, KnobError, "0 drafts are asked for: choose 1 to 8"),
        ({"drafts": 9}, KnobError, "choose 1 to 8"),
        ({"ids": []}, PromptError, "The context has 0 tokens"),
        ({"ids": [1] * 3000}, PromptError, "The context has 3,000 tokens"),
        ({"counts": {1: -5}}, KnobError, "not those of an earlier answer"),
        ({"counts": {9999: 5}}, KnobError, "not those of an earlier answer"),
        ({"temperature": 9.0}, KnobError, "The temperature is 9.0"),
        ({"transforms": [Setting("top-z")]}, KnobError, "There is no transform 'top-z'"),
    ],
    ids=str,
)
def test_bad_questions(ask, kind, sentence, shipped32):
    with pytest.raises(kind, match=sentence):
        check(shipped32, **{"ids": [70], "draws": 10, **ask})


def test_no_draft_no_check(shipped32):
    with pytest.raises(ModelError, match="choose a draft"):
        check(dataclasses.replace(shipped32, draft=None), [70])
