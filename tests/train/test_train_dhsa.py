"""The boundary predictor: its examples are the target's own attention, and a stopped run goes on to the same weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_models
import torch
from typer.testing import CliRunner

from labkit import parts
from labkit.attention.dhsa_chunks import PART, WINDOW, Predictor, predictor
from labkit.lm import Session
from labkit.train import dhsa
from labkit.train.command import app

TOKENS = np.random.default_rng(0).integers(0, 64, 3000).astype(np.uint16)


@pytest.fixture(scope="module")
def runner():
    return tiny_models.runner(tiny_models.tiny("llama, grouped, tied"))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(dhsa, "LENGTH", 48)
    monkeypatch.setattr(dhsa, "SAVE_EVERY", 3)


def test_examples_are_keys_without_their_places_and_later_rows(runner):
    ids = torch.from_numpy(TOKENS[:40].astype(np.int64))
    keys, ratio = dhsa.labelled(runner, ids)
    assert keys.shape == (2, 40, runner.kv_heads * runner.size) and ratio.shape == (2, 40)
    assert (ratio > float("-inf")).sum(1).tolist() == [40 - 2 * WINDOW + 1] * 2 and ratio[ratio > 0].min() >= 1
    alike = (ids[:, None] == ids).triu(1).nonzero()
    for one, other in alike[:5].tolist():  # in the first layer a token's key is the same wherever it stands
        assert torch.allclose(keys[0, one], keys[0, other], atol=1e-4)
    again = Session(runner, ids.tolist())
    assert torch.isfinite(again.logits).all()


def test_a_stopped_run_goes_on_to_the_same_weights(runner, tmp_path):
    said: list[str] = []
    whole = dhsa.fit(runner, TOKENS, 6, 0, tmp_path / "whole", said.append)
    at = dhsa.SAVE_EVERY

    class Stopped(Exception):
        pass

    def stop(words):
        if words.startswith(f"step {at} "):
            raise Stopped

    with pytest.raises(Stopped):
        dhsa.fit(runner, TOKENS, 6, 0, tmp_path / "parts", stop)
    rest = dhsa.fit(runner, TOKENS, 6, 0, tmp_path / "parts", said.append)
    for mine, theirs in zip(whole.parameters(), rest.parameters()):
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_the_predictor_tells_unlike_halves_from_like_ones():
    """It learns in sixty steps, from any of two layers, whether the keys before a gap are of the kind of those behind it."""
    torch.manual_seed(0)
    kinds, layer = torch.randint(0, 3, (400, 2)), torch.randint(0, 2, (400,))
    centres = 2 * torch.randn(3, 32)
    windows = centres[kinds].repeat_interleave(WINDOW, 1) + torch.randn(400, 2 * WINDOW, 32)
    truth = (kinds[:, 0] != kinds[:, 1]).float()
    model = Predictor(32, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(windows[:300], layer[:300]), truth[:300])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    said = model(windows[300:], layer[300:])
    assert ((said > 0) == truth[300:].bool()).float().mean() > 0.9
    alone = torch.cat([model(windows[i : i + 1], int(layer[i])) for i in range(300, 310)])
    assert torch.allclose(alone, said[:10], atol=1e-5)


def test_auc_counts_pairs():
    scores, truth = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([False, False, True, True])
    assert dhsa.auc(scores, truth) == pytest.approx(3 / 4)


def test_the_shipped_part_is_small_and_says_what_it_measured(shipped32):
    file = parts.FOLDER / f"{PART}.safetensors"
    figures = json.loads(file.with_suffix(".json").read_text())
    assert file.stat().st_size < 300_000 and figures["weights"] < 100_000 and figures["steps"] == 2000
    made = predictor(parts.load(PART, shipped32.target))
    assert sum(weight.numel() for weight in made.parameters()) == figures["weights"]
    held = figures["held_out"]
    assert held["loss"] < held["loss_of_a_constant"] and held["auc"] > 0.6
    assert held["mean_log_ratio"]["all"] < held["mean_log_ratio"]["predictor"] < held["mean_log_ratio"]["labels"]
    card = (parts.FOLDER.parent / "README.md").read_text()
    assert f"| {PART} | lab-target |" in card and figures["summary"] in card


def test_the_command_refuses_no_steps():
    said = CliRunner().invoke(app, ["dhsa", "--steps", "0"])
    assert said.exit_code == 2 and "steps is 0: give a number above 0" in said.output
