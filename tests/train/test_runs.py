"""The whole path on a small corpus: train, extend, measure, card, command line."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from labkit.train import needles, runs, tokens, train
from labkit.train.command import app
from labkit.train.tokenizer import save_tokenizer


@pytest.fixture
def small(monkeypatch, tmp_path, token_set, tokenizer):
    """A folder with a tokenizer, a cache of its own and a small corpus."""
    made = [needles.make_needle(random.Random(i), ["value = other(argument)\n" * 50]) for i in range(3)]
    manifest = {
        "fingerprint": "random",
        "seed": 0,
        "files": {"train": 9, "held_out": 1},
        "characters": {"train": 10_000},
        "tokens": {"train": 9000},
        "sources": {"python": {"version": "3", "licence": "PSF-2.0"}},
    }
    corpus = tokens.TokenSet(token_set.train, token_set.needles, token_set.asked, token_set.held_out, made, manifest)
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(runs, "load_tokens", lambda tokenizer, seed=0: corpus)
    save_tokenizer(tokenizer, tmp_path / "target")
    return tmp_path


def test_a_draft_is_trained_written_and_trained_on(small):
    folder = train("draft", small, tokens=2 * 8192, report=lambda line: None)
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "loss.csv", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "training.json",
    }  # fmt: skip
    stored = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    assert "lm_head.weight" not in stored
    (run,) = json.loads((folder / "training.json").read_text())["runs"]
    assert run["tokens"] == 2 * 8192
    train("draft", small, tokens=8192, init=folder, report=lambda line: None)
    assert [run["tokens"] for run in json.loads((folder / "training.json").read_text())["runs"]] == [16384, 8192]


def test_an_unfinished_run_is_not_overwritten(small):
    train("draft", small, tokens=8192, report=lambda line: None)
    state = small / "cache" / "train" / "draft" / "latest" / "state.json"
    content = json.loads(state.read_text())
    state.write_text(json.dumps(content | {"plan": content["plan"] | {"tokens": 10**9}}))
    with pytest.raises(ValueError, match="unfinished run"):
        train("draft", small, tokens=8192)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({}, "give a budget"),
        ({"tokens": 5, "minutes": 1.0}, "give a budget"),
        ({"tokens": 0}, "tokens is 0: give a number above 0"),
        ({"minutes": -1.0}, "minutes is -1.0"),
        ({"tokens": 8192, "threads": 4096}, "threads is 4096"),
        ({"tokens": 8192, "device": "cuda:77"}, "PyTorch sees no GPU"),
        ({"tokens": 8192, "init": "nowhere"}, "no model.safetensors in nowhere"),
        ({"tokens": 8192, "teacher": "nowhere"}, "no model.safetensors in nowhere"),
        ({"tokens": 8192, "tokenizer": "nowhere"}, "no tokenizer.json in nowhere"),
        ({"resume": "nowhere"}, "nowhere is no checkpoint"),
        ({"resume": "nowhere", "init": "there"}, "both resume and init"),
    ],
)
def test_bad_choices_are_named(small, monkeypatch, choices, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=message):
        train("draft", small, **choices)


def test_unknown_work_is_named():
    with pytest.raises(ValueError, match="can't train 'teacher'"):
        train("teacher")
    with pytest.raises(ValueError, match="resume is for one model"):
        train("pair", resume="somewhere")


def test_the_command_says_what_is_wrong_in_one_line(small):
    result = CliRunner().invoke(app, ["draft", "--out", str(small), "--tokens", "0"])
    assert result.exit_code == 2
    assert result.output == "Error: tokens is 0: give a number above 0\n"
    result = CliRunner().invoke(app, ["tokenizer", str(small)])
    assert result.exit_code == 2
    assert "frozen" in result.output


COMMANDS = ["pair", "target", "draft", "exits", "stop-head", "ngrams", "ngrams-super", "topics", "adaspec", "tokenizer"]
COMMANDS += ["figures", "prompts"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_an_example(command):
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"Example: labkit train {command}" in " ".join(result.output.split())
