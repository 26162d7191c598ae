"""AdaDec's threshold: places are those of the text, the line is the likeliest, the cut is the best."""

import json
import math

import numpy as np
import pytest
import tiny_models
import torch
from scipy.optimize import minimize
from typer.testing import CliRunner

from labkit import parts
from labkit.lm import Session
from labkit.models import load
from labkit.sampling.adadec import calibration
from labkit.train import adadec
from labkit.train.command import app


def made(count=4000, slope=-1.5, intercept=2.0, seed=0):
    """Entropies, and whether the favourite was right, drawn from a line that is known."""
    rng = torch.Generator().manual_seed(seed)
    nats = torch.rand(count, generator=rng, dtype=torch.float64) * 5
    return nats, torch.rand(count, generator=rng, dtype=torch.float64) < (intercept + slope * nats).sigmoid()


def test_places_are_those_of_the_text():
    pair = tiny_models.letters_pair("llama, grouped, tied", 40)
    windows = torch.randint(40, (2, adadec.WINDOW + 1), generator=torch.Generator().manual_seed(1))
    window, nats, rank = adadec.places(pair.target, windows)
    assert window.tolist() == [number for number in (0, 1) for _ in range(adadec.WINDOW - adadec.LEAD)]
    due = []
    for ids in windows.tolist():
        for place in range(adadec.LEAD, adadec.WINDOW):
            due.append((place, ids))
    for at in (0, 1, 77, len(due) - 1):
        place, ids = due[at]
        logs = Session(pair.target, ids[: place + 1]).logits.log_softmax(-1)
        assert nats[at].item() == pytest.approx(-(logs.exp() * logs).sum().item(), abs=1e-5)
        assert rank[at].item() == 1 + sorted(logs.tolist(), reverse=True).index(logs[ids[place + 1]].item())


def test_windows_stay_within_a_document():
    text = np.arange(64, 64 + 2600).astype(np.uint16)
    text[[10, 900, 1700]] = [0, 3, 5]  # an end of text, marks of fill-in-the-middle
    found = adadec.stretches(text, 4, 0)
    assert found.shape == (4, adadec.WINDOW + 1) and found.min() >= 64
    assert len({row[0].item() for row in found}) == 4
    with pytest.raises(ValueError, match="whole windows, fewer than 40"):
        adadec.stretches(text, 40, 0)


def test_balanced_keeps_the_rarer_class_whole():
    right = torch.tensor([True] * 90 + [False] * 10)
    chosen = adadec.balanced(right, torch.Generator().manual_seed(0))
    assert len(set(chosen.tolist())) == 20 and right[chosen].sum() == 10
    assert set(range(90, 100)) <= set(chosen.tolist())


def test_the_line_is_the_likeliest():
    nats, right = made()

    def loss(weights):
        chance = (weights[1] + weights[0] * nats).sigmoid()
        return torch.nn.functional.binary_cross_entropy(chance, right.double()).item()

    slope, intercept = adadec.fit(nats, right)
    best = minimize(loss, (0.0, 0.0), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12})
    assert (slope, intercept) == pytest.approx(best.x, abs=1e-4)
    assert (slope, intercept) == pytest.approx((-1.5, 2.0), abs=0.2)


def test_the_cut_is_the_best_of_all():
    nats, right = made(seed=1)
    slope, intercept = adadec.fit(nats, right)
    cut, tau = adadec.threshold(slope, intercept, nats, right)
    accuracy = {q: ((1 / (1 + (-intercept - slope * nats).exp()) > q) == right).double().mean().item() for q in adadec.CUTS}
    assert accuracy[cut] == max(accuracy.values()) and len(set(accuracy.values())) > 50
    assert 1 / (1 + math.exp(-intercept - slope * tau)) == pytest.approx(cut)
    assert ((nats < tau) == right).double().mean().item() == accuracy[cut], "sure means below tau"


def test_bins_hold_every_place_once():
    nats, rank = torch.tensor([0.01, 0.02, 0.3, 9.0]).double(), torch.tensor([1, 3, 1, 50]).double()
    due = [[pytest.approx(0.015), 0.5, 2.0, 2], [pytest.approx(0.3), 1.0, 1.0, 1], [9.0, 0.0, 50.0, 1]]
    assert adadec.bins(nats, rank) == due


def test_measures():
    nats, rank = torch.tensor([0.1, 0.2, 3.0, 3.0, 5.0]).double(), torch.tensor([1, 2, 2, 1, 9]).double()
    found = adadec.measure(nats, rank, 3.0)
    assert found["paused"] == pytest.approx(0.6) and found["accuracy"] == pytest.approx(0.6)
    assert (found["right_when_sure"], found["right_when_paused"]) == (0.5, pytest.approx(1 / 3))
    assert found["second_or_third_when_paused"] == pytest.approx(1 / 3)
    assert (found["rank_when_sure"], found["rank_when_paused"]) == (1.5, 4.0)


def test_the_shipped_part():
    """Its figures are its tensors', and they say what must hold: the less sure, the further down the true token stands."""
    figures = json.loads((parts.FOLDER / "adadec.json").read_text())
    found = calibration(load("lab-target", "none", "cpu", "float32").target)
    for name in ("tau", "slope", "intercept"):
        assert found[name] == pytest.approx(figures[name], rel=1e-6)
    assert len(found["bins"]) == len(figures["bins"]) > 10
    held = figures["held_out"]
    assert sum(row[3] for row in figures["bins"]) == held["places"] and figures["slope"] < 0
    assert held["rank_when_paused"] > 2 * held["rank_when_sure"] and held["right_when_paused"] < held["right_when_sure"]
    thirds = [figures["bins"][number : number + 5] for number in (0, 5, 10)]
    ranks = [sum(row[2] * row[3] for row in some) / sum(row[3] for row in some) for some in thirds]
    assert ranks == sorted(ranks)


def test_trained_from_the_command_line(token_set, tmp_path, monkeypatch):
    """Whole, on random text: what is right nowhere gives no threshold worth having, but a part that loads."""
    monkeypatch.setattr(adadec, "load_tokens", lambda tokenizer, seed: token_set)
    own = adadec.train_adadec
    monkeypatch.setattr(adadec, "train_adadec", lambda *some, **more: own(*some, **more, folder=tmp_path))
    real = adadec.places

    def places(runner, windows):  # random text is never foreseen: let some of it be
        window, nats, rank = real(runner, windows)
        return torch.stack([window, nats, torch.where(nats < nats.median(), 1.0, rank)])

    monkeypatch.setattr(adadec, "places", places)
    result = CliRunner().invoke(app, ["adadec", "--windows", "20", "--threads", "1"])
    assert result.exit_code == 0, result.output
    assert "written: " in result.output and "held-out text: 960 places" in result.output
    figures = json.loads((tmp_path / "adadec.json").read_text())
    assert figures["model"] == "lab-target" and figures["corpus"] == "random" and figures["places"] == 20 * 192
    part = parts.load("adadec", load("lab-target", "none", "cpu", "float32").target, tmp_path)
    assert part["tau"].item() == pytest.approx(figures["tau"], rel=1e-6)
    refused = CliRunner().invoke(app, ["adadec", "--windows", "3"])
    assert refused.exit_code == 2 and "windows is 3: give a number from 20 to 10,000" in refused.output
