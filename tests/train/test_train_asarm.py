"""The any-subset model's training: what is asked, what a question may see, and that a stopped run goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from labkit.diffusion.asarm import AsArm, Shape, two_stream
from labkit.train import asarm
from labkit.train.asarm import Run, draw_targets, held_out, loss_of, share_at, train_asarm
from labkit.train.command import app

SMALL = Shape(width=16, layers=1, heads=2, inner=24)


@pytest.fixture
def small(monkeypatch):
    """Runs of seconds: short windows, few of them."""
    for name, value in {"WINDOW": 16, "BATCH": 4, "WARMUP": 2, "SAVE_EVERY": 4, "TESTS": 4, "EASED": 4}.items():
        monkeypatch.setattr(asarm, name, value)


def test_the_share_of_targets_warms_up():
    assert share_at(0, 0.0) == share_at(0, 1.0) == pytest.approx(0.15)
    assert share_at(500, 0.0) == share_at(9000, 0.0) == 0.5 and share_at(500, 1.0) == 1.0
    assert share_at(250, 0.5) == pytest.approx(0.45)


def test_targets_rise_and_are_scattered_or_in_a_run():
    rng = np.random.default_rng(0)
    for scattered, runs in ((0.0, 200), (1.0, 0), (0.5, 100)):
        rows = draw_targets(200, 40, 10, scattered, rng)
        assert rows.shape == (200, 10) and (rows.diff(dim=1) > 0).all() and rows.min() >= 0 and rows.max() < 40
        found = (rows.diff(dim=1) == 1).all(1)
        assert abs(int(found.sum()) - runs) <= 25
        if runs:
            assert 0.3 < (rows[found][:, -1] == 39).float().mean() < 0.75, "half of the runs end the window"
    assert draw_targets(3, 8, 8, 0.5, rng).tolist() == [list(range(8))] * 3


def test_a_question_sees_what_is_given_and_earlier_targets_only():
    """One pass gives the same laws as asking place by place, each with a text that ends there for it."""
    torch.manual_seed(0)
    model = AsArm(SMALL).double()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    ids = torch.randint(4096, (1, 9))
    targets = torch.tensor([[1, 4, 7, 8]])
    whole = two_stream(model, ids, targets)[0]
    for turn in range(4):
        later = ids.clone()
        later[0, targets[0, turn:]] = 17  # what stands at this target and at later ones must not matter
        torch.testing.assert_close(two_stream(model, later, targets)[0, : turn + 1], whole[: turn + 1], atol=1e-12, rtol=0)
        if turn:
            earlier = ids.clone()
            earlier[0, targets[0, turn - 1]] = 17
            assert not torch.allclose(two_stream(model, earlier, targets)[0, turn], whole[turn], atol=1e-3)
    logs = whole.log_softmax(-1)[torch.arange(4), ids[0, targets[0]]]
    torch.testing.assert_close(loss_of(model, ids, targets)[0], -logs.float(), atol=1e-5, rtol=1e-5)


def test_a_run_learns_and_goes_on_as_if_it_had_not_stopped(small, token_set, tmp_path):
    first, second = (Run(token_set, 12, shape=SMALL) for _ in range(2))
    losses = []
    for _ in range(12):
        first.step()
        losses.append(first.loss)
    assert losses[0] == pytest.approx(np.log(4096), abs=0.2)
    for _ in range(6):
        second.step()
    second.save(tmp_path / "half")
    resumed = Run(token_set, 12, shape=SMALL)
    resumed.resume(tmp_path / "half")
    while resumed.done < 12:
        resumed.step()
    assert resumed.loss == first.loss
    for one, two in zip(first.model.parameters(), resumed.model.parameters()):
        assert torch.equal(one, two)
    resumed.corpus = "another"
    with pytest.raises(ValueError, match="was trained with corpus 'random', not 'another': remove it"):
        resumed.resume(tmp_path / "half")


def test_what_is_written(small, token_set, tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(asarm, "load_tokens", lambda tokenizer, seed: token_set)
    monkeypatch.setattr(asarm, "Run", lambda tokens, steps, seed, device: Run(tokens, steps, seed, device, SMALL))
    said = []
    file = train_asarm(4, folder=tmp_path / "parts", report=said.append)
    found = json.loads(file.with_suffix(".json").read_text())
    assert found["model"] == "lab-target" and found["steps"] == 4 and found["tokens"] == 4 * 4 * 16
    assert set(found["loss"]) == {"scattered", "ends"} and len(found["loss"]["ends"]) == 6
    assert "step 4 of 4" in said[-1] and "4 held-out windows" in found["summary"]
    longer = train_asarm(6, folder=tmp_path / "parts", report=said.append)
    assert json.loads(longer.with_suffix(".json").read_text())["steps"] == 6 and any("goes on at step 4" in line for line in said)
    weights = load_file(longer)
    assert all(tensor.dtype == torch.bfloat16 for tensor in weights.values())
    model = AsArm(SMALL)
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    windows = torch.from_numpy(token_set.held_out[:64].astype(np.int64)).view(4, 16)
    assert held_out(model, windows)["scattered"]["1.0"] == pytest.approx(8.3, abs=0.5)


def test_bad_choices_are_refused():
    result = CliRunner().invoke(app, ["asarm", "--steps", "3"])
    assert result.exit_code == 2 and "3 steps are asked for: give at least 100" in result.output
