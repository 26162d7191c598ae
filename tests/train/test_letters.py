"""Training on letters: every arm reads the same text, learns the same lessons, and a stopped run goes on as if it had not."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from labkit.models import SHIPPED, load_model
from labkit.tokenization.charbench import GOLD, kept_apart
from labkit.tokenization.language_games import GAMES
from labkit.tokenization.stochastok import ARMS
from labkit.train import letters, letters_exam
from labkit.train.command import app
from labkit.train.tokenizer import load_tokenizer

CPU = torch.device("cpu")
TEXT = "class Queue:\n    def __init__(self, configuration):\n        self.naïve = configuration  # strawberry\n"


@pytest.fixture(scope="module")
def cutter():
    return letters.Cutter(load_tokenizer(SHIPPED["lab-draft"]))


def fresh():
    return load_model("lab-draft", CPU, torch.float32)


def spell(cutter, ids):
    return b"".join(cutter.spellings.get(token, f"<{token}>".encode()) for token in ids)


def test_every_arm_reads_the_same_text(cutter):
    ids = [0, *cutter.encode(TEXT), 3, *cutter.encode(TEXT)]
    read = {arm: letters.recut(cutter, arm, ids, torch.Generator().manual_seed(1)) for arm in ARMS}
    assert read["plain"] == ids and len({tuple(of) for of in read.values()}) == 3
    for of in read.values():
        assert len(of) == len(ids), "the window keeps its length"
        assert spell(cutter, ids).startswith(spell(cutter, of))
    assert cutter.dropped(ids, 0.0, torch.Generator()) == ids
    assert cutter.dropped([cutter.ids[b"\xc3"], *cutter.encode("a")], 0.0, torch.Generator()) == cutter.encode("a")


def test_lessons_are_the_same_for_all_and_ask_no_word_kept_apart(cutter):
    first = letters.lessons(cutter, 0, 7)
    assert first == letters.lessons(cutter, 0, 7) != letters.lessons(cutter, 0, 8)
    assert list(map(len, first)) == [letters.QUESTIONS, letters.PLAYED]
    for some in first:
        for ask, answer in some:
            words = spell(cutter, ask[1:]).decode().split()
            task = words[0]
            asked = [words[1]] if task == "unique" else [words[2]] if task in ("count", "first", "last") else words[-5:-1]
            assert not any(map(kept_apart, asked)), words
            assert ask[0] == 0 and spell(cutter, answer).endswith(b"\n")
    questions = [spell(cutter, ask + answer).decode() for ask, answer in first[0]]
    short = {"count": "count_char", "unique": "count_unique", "first": "find_first", "last": "find_last"}
    for text in questions:
        task, *rest = text.removeprefix("<0>").split()
        word, gold = rest[-3], int(rest[-1])
        assert gold == GOLD[short[task]](word, rest[0])
        assert len(cutter.encode(str(gold))) == 1, "an answer is one token"


def test_answers_are_scored_as_the_model_says(cutter):
    model, pairs = fresh(), letters.lessons(cutter, 0, 0)[1][:5]
    with torch.inference_mode():
        logs, row = letters.answer_logprobs(model, pairs)
        for number, (ask, answer) in enumerate(pairs):
            whole = model(torch.tensor([ask + answer])).logits[0].log_softmax(-1)
            due = [whole[len(ask) + at - 1, token].item() for at, token in enumerate(answer)]
            assert logs[row == number].tolist() == pytest.approx(due, abs=1e-3)


def test_a_run_goes_on_where_it_was(cutter, tmp_path, monkeypatch):
    monkeypatch.setattr(letters, "SAVE_EVERY", 2)
    monkeypatch.setattr(letters, "QUESTIONS", 4)
    monkeypatch.setattr(letters, "PLAYED", 2)
    text = np.tile(np.array(cutter.encode(TEXT), dtype=np.uint16), 40)
    monkeypatch.setattr(letters, "ROWS", 2)

    class Stopped(Exception):
        pass

    def stop(said):
        if "step 2 of 4" in said:
            raise Stopped

    def run(place, report=lambda said: None):
        return letters.train_arm(cutter, "stochastok", {"text": 4, "questions": 2}, text, 0, place, CPU, report)

    whole = run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path / "parted", stop)
    parted = run(tmp_path / "parted")
    for one, other in zip(whole, parted):
        for (name, a), b in zip(one.named_parameters(), other.parameters()):
            assert torch.equal(a, b), name
    assert not torch.equal(whole[0].lm_head.weight, whole[1].lm_head.weight), "the text's model is kept as it was"
    rates = [letters.rate_at(step, 1000, 1.0) for step in (0, 49, 500, 999)]
    assert rates[0] == pytest.approx(0.02) and rates[1] > 0.99 and rates[2] == pytest.approx(0.5) and rates[3] < 1e-4


def test_the_command_trains_measures_and_writes(cutter, tmp_path, monkeypatch):
    for name, value in {"SAVE_EVERY": 1, "QUESTIONS": 4, "PLAYED": 2, "ROWS": 2}.items():
        monkeypatch.setattr(letters, name, value)
    for name, value in {"EACH": 2, "GAMES_EACH": 2, "RECUTS": 2, "HELD_WINDOW": 32, "HELD_WINDOWS": 2}.items():
        monkeypatch.setattr(letters_exam, name, value)
    text = np.tile(np.array(cutter.encode(TEXT), dtype=np.uint16), 40)
    corpus = SimpleNamespace(train=text, held_out=text, manifest={"fingerprint": "made up"})
    monkeypatch.setattr(letters, "load_tokens", lambda tokenizer, seed: corpus)
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(letters.train_letters, "__kwdefaults__", letters.train_letters.__kwdefaults__ | {"folder": tmp_path})
    said = CliRunner().invoke(app, ["letters", "--text-steps", "1", "--question-steps", "1"])
    assert said.exit_code == 0, said.output
    for arm in ARMS:
        figures = json.loads((tmp_path / f"letters-{arm}.json").read_text())
        assert figures["arm"] == arm and figures["model"] == "lab-draft" and figures["steps"] == {"text": 1, "questions": 1}
        assert all(of == {task: [of[task][0], 14] for task in GOLD} for of in figures["tasks"].values())
        assert {game: items for game, (_, items) in figures["games"].items()} == {game: 2 for game in GAMES}
        weights = load_file(tmp_path / f"letters-{arm}.safetensors")
        assert {name for name, _ in fresh().named_parameters()} == set(weights)
        assert all(weight.dtype == torch.bfloat16 for weight in weights.values())
    table = figures["card"].splitlines()
    assert table[2] == "| | plain | dropout | stochastok |" and len(table) == 4 + 2 * len(GOLD) + len(GAMES) + 2
    assert f"{figures['tasks']['letter by letter']['find_last'][0] / 14:.1%} |" in table[11]
    assert (tmp_path / "letters-plain.safetensors").stat().st_size < 1_900_000
    refused = CliRunner().invoke(app, ["letters", "--text-steps", "0"])
    assert refused.exit_code == 2 and "text steps are 0: give a number above 0" in refused.output
