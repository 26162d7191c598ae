"""The adders' training: the same sums both ways, a plain Llama comes out, and a stopped run goes on as if it had not."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from labkit import parts
from labkit.errors import ModelError
from labkit.lm import Session
from labkit.models import make_runner
from labkit.tokenization import addition
from labkit.tokenization.addition import BOTH, END, EQUALS, MARK_PIECE, PIECES, Sum, sides
from labkit.train import numbers
from labkit.train.command import app
from labkit.train.numbers import Adder, Spelled, accuracy, answers, train_numbers


@pytest.fixture
def small(monkeypatch):
    for name, value in {"BATCH": 8, "SAVE_EVERY": 4, "LOOKS": 2, "TESTS": 2, "WARMUP": 4}.items():
        monkeypatch.setattr(numbers, name, value)


def sums(run):
    """The questions and answers of a batch as text."""
    found = []
    for row, due in zip(*(tensor.tolist() for tensor in run.batch())):
        asked = row[: row.index(EQUALS) + 1]
        found.append("".join(PIECES[token] for token in [*asked, *(one for one in due if one >= 0 and one != END)]))
    return found


def test_both_directions_see_the_same_sums_and_the_sums_are_right(small):
    runs = [Adder(direction, 100) for direction in ("l2r", "r2l")]
    for done in (0, 30, 99):
        for run in runs:
            run.done = done
        left, right = map(sums, runs)
        assert left == right
        for line in left:
            question, _, total = line.partition("=")
            assert sum(map(int, question.split("+"))) == int(total)
    digits = [len(part) for line in left for part in line.partition("=")[0].split("+")]
    assert min(digits) >= 4 and max(digits) <= 9


def test_only_answers_are_learned(small):
    inputs, wanted = Adder("r2l", 100).batch()
    for row, due in zip(inputs.tolist(), wanted.tolist()):
        first = row.index(EQUALS)
        assert set(due[:first]) == {-100} and due[first] != -100 and END in due[first:]


def test_a_token_is_the_sum_of_its_digits_vectors():
    spelled = Spelled([*PIECES, MARK_PIECE], 4)
    table, place = spelled(torch.zeros(len(PIECES) + 1, 4)), PIECES.index
    torch.testing.assert_close(table[place("123")] - table[place("023")], table[place("145")] - table[place("045")])
    torch.testing.assert_close(table[place("57")] - table[place("56")], table[place("07")] - table[place("06")])
    assert not torch.allclose(table[place("5")], table[place("05")])


def test_what_is_saved_is_a_plain_llama_that_says_the_same(small, tmp_path):
    run = Adder(BOTH, 20)
    for _ in range(6):
        run.step()
    parts.save("adder", run.tensors(), parts.ALONE, {}, tmp_path)
    model = addition.assembled(parts.load_alone("adder", torch.device("cpu"), tmp_path))
    problem = Sum(4711, 815)
    rows = torch.tensor([sides(problem, "l2r")[0]])
    with torch.no_grad():
        trained = run.model.model(rows).last_hidden_state @ run.table.weight.t()
        torch.testing.assert_close(model(rows).logits, trained, atol=0.1, rtol=0.02)  # bfloat16
        runner = make_runner(model)
        torch.testing.assert_close(Session(runner, rows[0].tolist()).logits, model(rows).logits[0, -1], atol=1e-4, rtol=1e-4)
    for way in addition.ways(BOTH):
        said = answers(model, [sides(problem, way)[0]])[0]
        assert addition.answer(runner, problem, way) == addition.value(said)
    with pytest.raises(ModelError, match="belongs to no other model"):
        parts.load("adder", runner, tmp_path)


def test_a_stopped_run_goes_on_as_if_it_had_not(small, tmp_path, monkeypatch):
    monkeypatch.setattr(numbers, "LONGEST", 2)
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "whole"))
    said = []
    whole = train_numbers(("r2l",), 8, folder=tmp_path / "a", report=said.append)[0]
    assert len(said) == 2 and "step 8 of 8" in said[-1]
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "parts"))

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_numbers(("r2l",), 8, folder=tmp_path / "b", report=stop)
    again = train_numbers(("r2l",), 8, folder=tmp_path / "b", report=said.append)[0]
    assert whole.read_bytes()[-1000:] == again.read_bytes()[-1000:]
    one, two = (json.loads(file.with_suffix(".json").read_text()) for file in (whole, again))
    assert one["accuracy"] == two["accuracy"] and one["curve"] == two["curve"] and one["sums"] == 8 * 8


def test_accuracy_is_counted_by_integer_arithmetic(monkeypatch):
    """A model that always forgets the carry out of the last three digits is right just where there is none."""

    def lazy(model, asked):
        made = []
        for row in asked:
            text = "".join(PIECES[token] for token in row)
            a, b = map(int, text[:-1].split("+"))
            total = a + b - (1000 if a % 1000 + b % 1000 >= 1000 else 0)
            made.append([*addition.encode(str(total), "r2l"), END, END])
        return made

    monkeypatch.setattr(numbers, "answers", lazy)
    found = accuracy(None, "r2l", 40)
    assert list(found) == [str(digits) for digits in range(4, 10)]
    for digits, shares in found.items():
        asked = numbers.problems(40, int(digits), numbers.Random(numbers.HELD_OUT + int(digits)))
        easy = [problem.a % 1000 + problem.b % 1000 < 1000 for problem in asked]
        assert shares == {"same": sum(easy[::2]) / 20, "grows": sum(easy[1::2]) / 20}


def test_bad_choices_are_refused():
    for arguments, words in ((["--only", "up"], "there is no model 'up'"), (["--steps", "3"], "give at least 50")):
        result = CliRunner().invoke(app, ["numbers", *arguments])
        assert result.exit_code == 2 and words in result.output
