"""The part "exits": a low-rank change that comes back as plain weights, whose runs continue to the bit."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from labkit import parts
from labkit.models import load_model
from labkit.train import exits, plan
from labkit.train.command import app
from labkit.train.exits import ExitTrainer, layer_figures, speak, trail
from labkit.train.plan import Plan

STEP = plan.SHORT_WINDOW  # tokens
PLAN = Plan(tokens=4 * STEP, decay_from=2 * STEP, batch=STEP, rate=2e-3, seed=1)
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def short_windows():
    """Every window is a short one, and a step has one: whole contexts take four times as long to say the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "LONG_WINDOW", STEP)
        patch.setattr(exits, "BATCH", STEP)
        yield


@pytest.fixture(scope="module")
def trained(token_set):
    """A run of four steps on random ids."""
    trainer = ExitTrainer(PLAN, token_set)
    for _ in range(4):
        trainer.step()
    return trainer


def test_nothing_changes_before_the_first_step(token_set):
    fresh = ExitTrainer(PLAN, token_set).model.eval()
    target = load_model("lab-target", CPU, torch.float32)
    ids = torch.randint(64, 4096, (1, 40))
    with torch.inference_mode():
        torch.testing.assert_close(fresh(ids).logits, target(ids).logits, rtol=1e-4, atol=1e-4)


def test_a_resumed_run_is_the_same_to_the_bit(trained, token_set, tmp_path):
    """Layers are dropped by coins that depend on the step alone."""
    halved = ExitTrainer(PLAN, token_set)
    for _ in range(2):
        halved.step()
    halved.save(tmp_path / "half")
    resumed = ExitTrainer(Plan.of(STEP * 50), token_set)
    resumed.resume(tmp_path / "half")
    for _ in range(2):
        resumed.step()
    ours, theirs = trained.tensors(), resumed.tensors()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert resumed.progress.loss == trained.progress.loss


def test_it_goes_on_from_a_part_beside_other_weights(trained, token_set, tmp_path):
    parts.save(exits.NAME, trained.tensors(), exits.BASE, {}, tmp_path)
    again = ExitTrainer(PLAN, token_set)
    again.go_on_from(tmp_path / "exits.safetensors")
    ours, theirs = trained.tensors(), again.tensors()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    again.step()
    assert not all(torch.equal(again.tensors()[key], theirs[key]) for key in ours)
    parts.save(exits.NAME, {key: ours[key] for key in list(ours)[1:]}, exits.BASE, {}, tmp_path)
    with pytest.raises(ValueError, match="holds another change than one of rank 32"):
        again.go_on_from(tmp_path / "exits.safetensors")


def test_only_the_change_is_trained(trained):
    target = dict(load_model("lab-target", CPU, torch.float32).named_parameters())
    for name, weight in trained.model.named_parameters():
        if name.endswith(".original"):
            torch.testing.assert_close(weight, target[name.replace("parametrizations.weight.original", "weight")])
    torch.testing.assert_close(trained.model.model.embed_tokens.weight, target["model.embed_tokens.weight"])
    made = trained.tensors()
    assert all(key.endswith((".a", ".b")) or "norm" in key for key in made)
    assert all(made[key].any() for key in made), "every matrix got a gradient"
    assert sum(tensor.numel() * tensor.element_size() for tensor in made.values()) < 3_000_000


def test_the_part_becomes_plain_weights(trained, tmp_path):
    parts.save("exits", trained.tensors(), "lab-target", {}, tmp_path)
    merged = load_model("lab-target", CPU, torch.float32)
    parts.merge(merged, "lab-target", "exits", tmp_path)
    ids = torch.randint(64, 4096, (1, 40))
    with torch.inference_mode():
        expected, found = trained.model.eval()(ids).logits, merged(ids).logits
    trained.model.train()
    assert (found - load_model("lab-target", CPU, torch.float32)(ids).logits).abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.05)  # the part is stored in bfloat16
    tensors = parts.load("exits", SimpleNamespace(name="lab-target", device=CPU), tmp_path)
    key = "model.layers.3.mlp.down_proj.weight"
    before = dict(load_model("lab-target", CPU, torch.float32).named_parameters())[key]
    by_hand = before + tensors[f"{key}.b"] @ tensors[f"{key}.a"]
    torch.testing.assert_close(dict(merged.named_parameters())[key], by_hand)


def test_dropped_layers_are_skipped(trained):
    """A sequence that skips a layer is handed on as it came; the others are not touched."""
    ids = torch.randint(64, 4096, (2, 12))
    kept = torch.ones(8, 2, dtype=torch.bool)
    kept[5, 0] = False
    with torch.inference_mode():
        whole, dropped = trail(trained.model, ids), trail(trained.model, ids, kept)
    assert torch.equal(dropped[5][0], dropped[4][0]) and not torch.equal(whole[5][0], whole[4][0])
    for a, b in zip(whole, dropped):
        torch.testing.assert_close(a[1], b[1])


def test_layer_figures_are_the_layers(trained):
    windows = torch.randint(64, 4096, (3, 33))
    found = layer_figures(trained.model, windows)
    assert found["argmax"][-1] == 1 and found["alpha"][-1] == pytest.approx(1, abs=1e-5)
    with torch.inference_mode():
        laws = [speak(trained.model, trail(trained.model, window[None, :-1])[2]) for window in windows]
        losses = [-law[torch.arange(32), window[1:]].mean().item() for law, window in zip(laws, windows)]
    assert found["loss"][2] == pytest.approx(sum(losses) / 3, rel=1e-4)


def test_the_whole_path_writes_part_and_card(token_set, tmp_path, monkeypatch):
    """Trained, saved, measured, and written into the model card; the shipped part stays as it is."""
    manifest = {"fingerprint": "random", "seed": 0, "sources": {}, "files": {}, "characters": {}, "tokens": {}}
    corpus = SimpleNamespace(**{**vars(token_set), "manifest": manifest})
    layers = {key: [0.5] * 8 for key in ("loss", "argmax", "alpha")}
    measured = {"loss": {"1024": {"nats_per_token": 1.5}}, "needles": {"0-100": {"accuracy": 0.5, "cases": 2}}, "layers": layers}
    written = {}
    monkeypatch.setattr(exits, "load_tokens", lambda tokenizer, seed: corpus)
    monkeypatch.setattr(exits, "measure", lambda tokens: {"before": measured, "after": measured})
    monkeypatch.setattr(exits, "write_card", lambda folder: written.update(card=folder))
    monkeypatch.setattr(exits.parts, "save", lambda name, tensors, model, figures: written.update({name: (model, figures)}))
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    exits.train_exits(2 * STEP, report=lambda line: None)
    model, figures = written["exits"]
    assert model == "lab-target" and written["card"].name == "models"
    assert figures["training"]["tokens"] == 2 * STEP and "| alpha with the last layer, after | 0.50 |" in figures["card"]
    with pytest.raises(ValueError, match="give a budget in tokens"):
        exits.train_exits()


def test_the_command_says_what_is_wrong_in_one_line():
    result = CliRunner().invoke(app, ["exits"])
    assert result.exit_code == 2 and result.output == "Error: give a budget in tokens\n"
