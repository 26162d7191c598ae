"""The stop head's training: its labels are chances to be accepted, its loss is the paper's, and it goes on where it stopped."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_models
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from labkit import parts
from labkit.lm import Session
from labkit.speculative.stopping import HEADS, judge
from labkit.trace import Tree
from labkit.train import continuations, stop_head
from labkit.train.command import app

STYLE = "llama, grouped, tied"


@pytest.fixture(scope="module")
def pair():
    return tiny_models.letters_pair(STYLE, 40, noise=0.05)


def test_labels_are_the_chances_of_drafts_at_their_places(pair, monkeypatch):
    """Each is found again from two sessions: p and q behind the target's text, the state behind the mixed one."""
    drawn, real, coins = [], torch.multinomial, torch.rand(stop_head.NEW)
    monkeypatch.setattr(torch, "multinomial", lambda *some, **more: drawn.append(real(*some, **more)) or drawn[-1])
    monkeypatch.setattr(torch, "rand", lambda count, generator: coins)
    ids = torch.randint(40, (stop_head.PROMPT + stop_head.NEW,), generator=torch.Generator().manual_seed(1))
    states, labels = stop_head.examples(pair.target, pair.draft, ids, torch.Generator().manual_seed(2))
    drafted = drawn[0][:, 0].tolist()
    p, q = (Session(runner, ids.tolist()).prompt_logits().softmax(-1) for runner in (pair.target, pair.draft))
    places = [place for place in range(stop_head.NEW) if coins[place] >= 0.15]
    mixed, due = ids.clone(), []
    for place in places:
        row, token = stop_head.PROMPT + place - 1, drafted[place]
        mixed[row + 1] = token
        due.append(min(1.0, (p[row, token] / q[row, token]).item()))
    assert labels.tolist() == pytest.approx(due, abs=1e-6)
    assert len({round(label, 3) for label in due}) > 20 and min(due) < 0.2
    trail = Session(pair.draft, mixed[:1].tolist()).score(Tree(mixed[1:].tolist(), list(range(-1, len(mixed) - 2))), hidden=True)
    torch.testing.assert_close(states, trail.hidden[-1, [stop_head.PROMPT + place for place in places]].float())


def test_the_loss_is_the_papers():
    """The release: cross entropy of both classes weighted by (weight, 1) and the soft label, over the summed weights."""
    rng = torch.Generator().manual_seed(0)
    logits, labels, weights = torch.randn(50, 2, generator=rng), torch.rand(50, generator=rng), torch.tensor([6.0, 1.0])
    refused, accepted = (
        torch.nn.functional.cross_entropy(logits, torch.full((50,), which), weights, reduction="none") for which in (0, 1)
    )
    due = (refused * (1 - labels) + accepted * labels).sum() / (6 * (1 - labels).sum() + labels.sum())
    torch.testing.assert_close(stop_head.weighted_loss(logits, labels, 6.0), due)


def separable(count=6000, width=8):
    rng = torch.Generator().manual_seed(3)
    states = torch.randn(count, width, generator=rng)
    return states, (states[:, 0] * 2).sigmoid()


@pytest.mark.parametrize(("depth", "shared"), [(0, False), (2, False), (3, True)])
def test_a_head_learns_and_the_weight_leans_it(depth, shared, monkeypatch):
    monkeypatch.setattr(stop_head, "BATCH", 64)
    monkeypatch.setattr(stop_head, "RATE", 1e-2)
    states, labels = separable()
    even, heavy = (stop_head.fit(states, labels, weight, depth, shared, 0) for weight in (1.0, 6.0))
    assert even["blocks"].shape == (depth, 8, 8)
    if shared:
        assert all(torch.equal(even["blocks"][0], other) for other in even["blocks"])
    elif depth:
        assert not torch.equal(even["blocks"][0], even["blocks"][1])
    said, leaning = (judge(states, head).softmax(-1)[:, 1] for head in (even, heavy))
    assert torch.corrcoef(torch.stack([said, labels]))[0, 1] > 0.85
    assert abs(said.mean() - labels.mean()) < 0.05
    assert leaning.mean() < labels.mean() - 0.2


def test_shards_are_made_once_and_a_stopped_run_goes_on(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(stop_head, "ROWS", 2)
    texts, said = torch.randint(40, (5, stop_head.PROMPT + stop_head.NEW)), []
    first = stop_head.all_examples(pair.target, pair.draft, texts[:2], 0, tmp_path, said.append)
    whole = stop_head.all_examples(pair.target, pair.draft, texts, 0, tmp_path, said.append)
    assert said == ["examples: 1 of 1 shards", "examples: 2 of 3 shards", "examples: 3 of 3 shards"]
    for some, all_ in zip(first, whole):
        assert torch.equal(some, all_[: len(some)]) and len(all_) > 2 * len(some)


def test_continuations_begin_with_the_corpus_and_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(continuations, "ROWS", 3)
    monkeypatch.setattr(continuations, "fast_dtype", lambda device: torch.float32)
    made = []

    def fresh():
        made.append(tiny_models.tiny(STYLE, vocabulary=64))
        return made[-1]

    runner = SimpleNamespace(fresh=fresh, device=torch.device("cpu"))
    corpus = np.arange(4000, dtype=np.uint16) % 64
    ids = continuations.continuations(runner, corpus, 2, 0, tmp_path, lambda line: None)
    assert ids.shape == (6, continuations.PROMPT + continuations.NEW) and len(made) == 1
    steps = ids[:, 1 : continuations.PROMPT] - ids[:, : continuations.PROMPT - 1]
    assert set(steps.flatten().tolist()) == {1, -63}, "the prompts are windows of the corpus"
    assert len({tuple(row) for row in ids[:, continuations.PROMPT :].tolist()}) == 6
    again = continuations.continuations(runner, corpus, 2, 0, tmp_path, lambda line: None)
    assert torch.equal(ids, again) and len(made) == 1
    (tmp_path / "text-001.safetensors").unlink()
    assert torch.equal(ids, continuations.continuations(runner, corpus, 2, 0, tmp_path, lambda line: None))


def test_bad_choices_are_named():
    for choices, message in (
        ({"tokens": 5}, "tokens is 5: give a number from 12,288"),
        ({"weight": 13.0}, "weight is 13.0: give a number from 1 to 12"),
        ({"depth": 5}, "depth is 5"),
    ):
        with pytest.raises(ValueError, match=message):
            stop_head.train_stop_head(**choices)
    result = CliRunner().invoke(app, ["stop-head", "--depth", "9"])
    assert result.exit_code == 2 and result.output.startswith("Error: depth is 9")


def test_the_shipped_part_is_small_and_says_what_it_measured():
    file = parts.FOLDER / "stop-head.safetensors"
    assert file.stat().st_size < 1_000_000
    tensors = load_file(file)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    about = json.loads(file.with_suffix(".json").read_text())
    assert {name.split(".")[0] for name in tensors} == set(HEADS) == set(about["heads"])
    even = about["heads"]["even"]
    assert even["loss"] < even["loss_of_a_constant"], "it knows more than the average"
    assert abs(even["rounds"]["predicted"] - even["rounds"]["actual"]) < 0.05
