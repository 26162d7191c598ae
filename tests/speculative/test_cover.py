"""How much of p the drafts cover: the formulas against the verifiers' real code, the reference values, and the best possible."""

from __future__ import annotations

import pytest
import torch
from exact import law_of
from test_verify import FIRST, SECOND, VECTORS, one_step, vector

from labkit.speculative import cover

IID = {"V1": cover.matched, "V2": cover.residual_iid, "V3": cover.k_seq}
CEILING = {("first", 2): 0.860, ("first", 3): 0.988, ("second", 2): 0.910}


def acceptance(rows: torch.Tensor) -> float:
    return rows[:-1].sum().item()


def random_laws(count: int, size: int, seed: int = 0):
    """Laws of very different sharpness, sometimes with zeros, sometimes alike."""
    rng = torch.Generator().manual_seed(seed)
    for _ in range(count):
        p, q = torch.randn(2, size, generator=rng, dtype=torch.float64) * (4 * torch.rand(1, generator=rng)).double()
        q = torch.where(torch.rand(size, generator=rng) < 0.2, -torch.inf, (p + q) if torch.rand(1, generator=rng) < 0.5 else q)
        q[int(torch.randint(size, (), generator=rng))] = 0.0
        yield p.softmax(-1), q.softmax(-1)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("name", [*IID, "V2 without replacement"])
@pytest.mark.parametrize("vectors", VECTORS)
def test_covers_are_what_the_verifiers_do(vectors, name, k, monkeypatch):
    p, q = VECTORS[vectors]
    rows = IID.get(name, cover.without_replacement)(vector(p), vector(q), k)
    law = law_of(monkeypatch, one_step(p, q, name[:2], name in IID, k))
    for token in range(len(p)):
        assert rows[:-1, token].sum() == pytest.approx(law.get((token, True), 0.0), abs=1e-12)
        assert rows[-1, token] == pytest.approx(law.get((token, False), 0.0), abs=1e-12)


@pytest.mark.parametrize(("vectors", "k"), CEILING, ids=str)
def test_the_best_possible_is_the_reference_value(vectors, k):
    p, q = map(vector, VECTORS[vectors])
    rows = cover.transport(p, q, k)
    assert rows[0].sum() == pytest.approx(CEILING[vectors, k], abs=1e-6)
    assert rows.min() >= -1e-12
    assert cover.ceiling(p, q, k) == pytest.approx(CEILING[vectors, k], abs=1e-6)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_formula_of_the_best_is_the_linear_programme(k):
    for p, q in random_laws(25, 5, seed=k):
        assert cover.ceiling(p, q, k) == pytest.approx(cover.transport(p, q, k)[0].sum().item(), abs=1e-9)


def test_the_programme_names_its_limits():
    with pytest.raises(ValueError, match="at most 6 tokens and 3 drafts, not 3 and 4"):
        cover.transport(*map(vector, FIRST), 4)


def test_rows_of_any_laws():
    """Sum to p, no negative mass, monotone in k, in their order, and never above the best; k-SEQ within its guarantee."""
    for p, q in random_laws(150, 40):
        before = {name: 0.0 for name in IID}
        for k in range(1, 9):
            best = cover.ceiling(p, q, k)
            now = {name: make(p, q, k) for name, make in IID.items()}
            for name, rows in now.items():
                assert (rows.sum(0) - p).abs().max() < 1e-12
                assert rows.min() >= -1e-9
                assert before[name] - 1e-6 <= acceptance(rows) <= best + 1e-9  # rho* is known to 1e-7
            before = {name: acceptance(rows) for name, rows in now.items()}
            assert before["V3"] + 1e-6 >= before["V2"] >= before["V1"] - 1e-9
            assert before["V3"] >= (1 - (1 - 1 / k) ** k) * best - 1e-9
            assert acceptance(cover.k_seq(p, q, 1)) == pytest.approx(torch.minimum(p, q).sum().item(), abs=1e-12)


def test_below_the_best_division_the_residual_is_negative():
    p, q = map(vector, FIRST)
    rows = cover.k_seq(p, q, 2, 1.0)
    assert rows.sum(0).tolist() == pytest.approx(p.tolist()) and rows[-1].min() < -0.01
    assert cover.k_seq(p, q, 2, 1.457)[-1].min() >= 0


@pytest.mark.parametrize("vectors", [FIRST, SECOND])
def test_refusals_are_sampled_without_bias(vectors):
    p, q = map(vector, vectors)
    mean, error = cover.without_replacement_sampled(p, q, 3, 400, torch.Generator().manual_seed(1))
    exact = [acceptance(cover.without_replacement(p, q, k)) for k in (1, 2, 3)]
    assert mean.tolist() == pytest.approx(exact, abs=1e-9 + 4 * error.max().item())


def test_refusals_are_sampled_without_bias_where_orders_matter():
    spread = 0.0
    for p, q in random_laws(12, 5, seed=4):
        mean, error = cover.without_replacement_sampled(p, q, 4, 3000, torch.Generator().manual_seed(1))
        exact = torch.tensor([acceptance(cover.without_replacement(p, q, k)) for k in (1, 2, 3, 4)], dtype=torch.float64)
        assert ((mean - exact).abs() <= 1e-9 + 4.5 * error).all()
        assert error[0] == 0, "the first draft is summed, not drawn"
        spread = max(spread, error.max().item())
    assert spread > 1e-4, "else nothing was sampled"
