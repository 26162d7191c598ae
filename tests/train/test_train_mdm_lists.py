"""The training of `mdm-lists`: every number of hidden tokens as often, a floor that a perfect model meets, runs that go on."""

from __future__ import annotations

import json
from math import log
from random import Random
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from labkit import parts
from labkit.diffusion.lists import HEAD, MASK, TASKS, VOCABULARY, count, draw, length, task_of, valid
from labkit.diffusion.perfect import Perfect
from labkit.errors import ModelError
from labkit.ledger import Ledger
from labkit.train import mdm_lists
from labkit.train.command import app
from labkit.train.mdm_lists import LEAST_GAP, LENGTHS, PAIRS, covered, loss_of, problems, shares, train_lists


def test_every_number_of_hidden_tokens_comes_as_often():
    rng = torch.Generator().manual_seed(0)
    seen = torch.cat([covered(32, 8, rng).sum(1) for _ in range(50)]).bincount(minlength=9)
    assert seen[0] == 0 and seen[1:].min() == seen[1:].max() == 200  # spread evenly within a batch


def test_problems_are_right_equally_long_and_of_every_task():
    rng, tasks = Random(0), set()
    for _ in range(60):
        ids = problems(8, rng, shares({}))
        for row in ids.tolist():
            problem, answer = tuple(row[:HEAD]), tuple(row[HEAD:])
            assert valid(problem, answer) and length(problem) == ids.shape[1] - HEAD
            tasks.add(task_of(problem))
    assert tasks == set(TASKS) and len(PAIRS) == len(LENGTHS) == 10 * len(TASKS)


def test_a_task_comes_as_often_as_the_root_of_its_gap_says():
    weights = shares({task: LEAST_GAP for task in TASKS} | {"running-sum": 100 * LEAST_GAP, "copy": -0.2})
    assert dict.fromkeys(weights) == {LEAST_GAP**0.5: None, 10 * LEAST_GAP**0.5: None}  # no gap, or below the floor: the least
    rng, tasks = Random(0), []
    for _ in range(600):
        tasks += [task_of(tuple(row[:HEAD])) for row in problems(8, rng, weights).tolist()]
    assert tasks.count("running-sum") / len(tasks) == pytest.approx(10 / (len(TASKS) + 9), abs=0.05)
    assert set(tasks) == set(TASKS)


class Telling:
    """The perfect model in the clothes of a network: its "states" are its logits, its head is the identity."""

    def __init__(self):
        self.lm_head = SimpleNamespace(weight=torch.eye(VOCABULARY))

    def model(self, ids, use_cache):
        assert not (ids[:, :HEAD] == MASK).any()
        return SimpleNamespace(last_hidden_state=Perfect()(ids, Ledger()).float())


@pytest.mark.parametrize("task", ["shuffle", "replace-random", "copy", "brackets"])
def test_the_perfect_model_meets_the_floor(task):
    """The mean over hidden tokens, every number of them as likely, is H(Y|X) / |Y|."""
    problem, _ = draw(task, 5, Random(1))
    drawn = []
    while len(drawn) < 1500:
        other, answer = draw(task, 5, Random(len(drawn) + 10))
        drawn.append((other, answer))
    ids = torch.tensor([[*other, *answer] for other, answer in drawn])
    losses = loss_of(Telling(), ids, covered(len(ids), ids.shape[1] - HEAD, torch.Generator().manual_seed(0)))
    floor = sum(log(count(other)) / length(other) for other, _ in drawn) / len(drawn)
    assert losses.mean().item() == pytest.approx(floor, abs=5 * losses.std().item() / len(drawn) ** 0.5 + 1e-6)
    if task == "shuffle":
        assert floor == pytest.approx(log(120) / 5)


@pytest.fixture
def small(monkeypatch):
    shape = mdm_lists.SHAPE | {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape["num_key_value_heads"] = 2
    for name, value in {"SHAPE": shape, "GROUPS": 2, "ROWS": 4, "SAVE_EVERY": 4, "TESTS": 1, "WARMUP": 4}.items():
        monkeypatch.setattr(mdm_lists, name, value)
    monkeypatch.setattr(mdm_lists, "measured", lambda model, tests: {"copy": {"loss": 2.0, "floor": 0.0, "above": 2.0}})


def test_a_stopped_run_goes_on_as_if_it_had_not(small, tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "whole"))
    said = []
    whole = train_lists(8, folder=tmp_path / "a", report=said.append)
    assert len(said) == 2 and "step 8 of 8" in said[-1]
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "parts"))

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_lists(8, folder=tmp_path / "b", report=stop)
    again = train_lists(8, folder=tmp_path / "b", report=said.append)
    one, two = (parts.load_alone("mdm-lists", torch.device("cpu"), file.parent) for file in (whole, again))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    about = json.loads(whole.with_suffix(".json").read_text())
    assert about["problems"] == 64 and "copy 2.00" in about["summary"]


def test_a_part_goes_on_with_its_weights_and_its_count(small, tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "first"))
    first = train_lists(4, folder=tmp_path / "parts", report=lambda line: None)
    stored = parts.load_alone("mdm-lists", torch.device("cpu"), first.parent)
    run = mdm_lists.ListTrainer(12)
    run.go_on_from(first.parent)
    assert all(torch.equal(weight, stored[name]) for name, weight in run.model.named_parameters())
    assert (run.done, run.begun, run.plans, run.leaning) == (4, 4, [[0, 4], [4, 12]], 4)

    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "second"))
    with pytest.raises(ValueError, match="4 steps are asked for in all, and the part has had 4"):
        train_lists(4, folder=first.parent, from_shipped=True)
    said = []
    longer = train_lists(8, folder=first.parent, from_shipped=True, report=said.append)
    about = json.loads(longer.with_suffix(".json").read_text())
    assert about["problems"] == 64 and about["plans"] == [[0, 4], [4, 8]] and [one["step"] for one in about["curve"]] == [4, 8]
    assert len(said) == 1 and "step 8 of 8" in said[0]
    later = parts.load_alone("mdm-lists", torch.device("cpu"), longer.parent)
    assert any(not torch.equal(weight, stored[name]) for name, weight in later.items())


def test_going_on_needs_a_part(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="mdm-lists"):
        train_lists(200, folder=tmp_path, from_shipped=True)


def test_bad_choices_are_refused():
    result = CliRunner().invoke(app, ["mdm-lists", "--steps", "3"])
    assert result.exit_code == 2 and "give at least 100" in result.output
