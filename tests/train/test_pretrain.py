import csv
import json

import pytest
import torch

from labkit.train.plan import ASKED_WEIGHT, Plan
from labkit.train.pretrain import Trainer, pretrain

PLAN = Plan(tokens=6 * 2048, decay_from=3 * 2048, batch=2048, rate=2e-3, seed=1)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}


def test_a_resumed_run_is_the_same_to_the_bit(token_set, tmp_path):
    straight = Trainer("draft", PLAN, token_set)
    before = weights(straight)
    for _ in range(6):
        straight.step()
    halved = Trainer("draft", PLAN, token_set)
    for _ in range(3):
        halved.step()
    halved.save(tmp_path / "half")
    resumed = Trainer("draft", Plan.of(2048 * 50), token_set)
    resumed.resume(tmp_path / "half")
    assert resumed.progress.plan == PLAN
    for _ in range(3):
        resumed.step()
    assert resumed.progress.needle_loss == straight.progress.needle_loss
    assert resumed.progress.loss == straight.progress.loss
    after = weights(resumed)
    assert all(torch.equal(after[name], tensor) for name, tensor in weights(straight).items())
    assert any(not torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_run_leaves_a_curve_and_two_checkpoints(token_set, tmp_path):
    lines = []
    pretrain(Trainer("draft", Plan(10 * 2048, 8 * 2048, 2048), token_set), tmp_path, lines.append)
    assert {path.name for path in tmp_path.iterdir()} == {"loss.csv", "latest", "stable"}
    assert json.loads((tmp_path / "stable" / "state.json").read_text())["seen"] == 8 * 2048
    assert json.loads((tmp_path / "latest" / "state.json").read_text())["seen"] == 10 * 2048
    (row,) = csv.DictReader((tmp_path / "loss.csv").open())
    assert int(row["tokens"]) == 10 * 2048
    assert float(row["loss"]) == pytest.approx(8.3, abs=0.3)  # random ids: log 4,096 nats
    assert "0.02 of 0.02 M tokens" in lines[-1]
    # Started again from the earlier checkpoint, the run writes the later row once more, not twice.
    again = Trainer("draft", PLAN, token_set)
    again.resume(tmp_path / "stable")
    pretrain(again, tmp_path, lines.append)
    assert [line.split(",")[0] for line in (tmp_path / "loss.csv").read_text().splitlines()] == ["tokens", "20480"]


def test_a_teacher_is_imitated(token_set):
    torch.manual_seed(3)
    teacher = Trainer("draft", Plan(2048 * 9, 2048 * 9, 2048, 2e-3, seed=9), token_set).model
    pupil = Trainer("draft", Plan(2048 * 9, 2048 * 9, 2048, 2e-3, seed=9), token_set, teacher=teacher)
    rows = torch.randint(64, 4096, (2, 65))
    none = torch.zeros_like(rows)
    plain = Trainer("draft", pupil.progress.plan, token_set)._loss(rows, none)
    # Pupil and teacher are the same model here, so only the text's tenth of the loss is left.
    assert pupil._loss(rows, none).item() == pytest.approx(0.1 * plain.item(), rel=1e-3)


def test_what_a_needle_asks_for_counts_more(token_set):
    trainer = Trainer("draft", PLAN, token_set)
    rows = torch.randint(64, 4096, (1, 65))
    marks = [torch.zeros_like(rows) for _ in range(3)]
    marks[1][0, 64], marks[2][:] = 1, 1
    plain, one, all_of_them = (trainer._loss(rows, mark).item() for mark in marks)
    last = trainer._loss(rows[:, 63:], marks[0][:, 63:]).item()  # blocks begin as the identity: the last token alone counts
    assert all_of_them == pytest.approx(ASKED_WEIGHT * plain, rel=1e-2)
    assert one - plain == pytest.approx((ASKED_WEIGHT - 1) * last / 64, rel=1e-2)


def test_a_mismatching_checkpoint_is_refused(token_set, tmp_path):
    trainer = Trainer("draft", PLAN, token_set)
    for _ in range(4):
        trainer.step()
    trainer.save(tmp_path / "draft")
    with pytest.raises(ValueError, match="role 'draft', not 'target'"):
        Trainer("target", PLAN, token_set).resume(tmp_path / "draft")
    with pytest.raises(ValueError, match="already decaying"):
        Trainer("draft", PLAN, token_set).resume(tmp_path / "draft", tokens=100 * 2048)
    with pytest.raises(ValueError, match="is no checkpoint"):
        Trainer("draft", PLAN, token_set).resume(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds another model"):
        Trainer("target", PLAN, token_set).start_from(tmp_path / "draft", [])
    with pytest.raises(ValueError, match="teacher 'none', not 'a teacher'"):
        Trainer("draft", PLAN, token_set, teacher=trainer.model).resume(tmp_path / "draft")
    other = type(token_set)(
        token_set.train, token_set.needles, token_set.asked, token_set.held_out, [], token_set.manifest | {"fingerprint": "other"}
    )
    with pytest.raises(ValueError, match="corpus 'random', not 'other'"):
        Trainer("draft", PLAN, other).resume(tmp_path / "draft")


def test_a_stable_checkpoint_can_be_extended(token_set, tmp_path):
    trainer = Trainer("draft", PLAN, token_set)
    trainer.step()
    trainer.save(tmp_path / "early")
    longer = Trainer("draft", PLAN, token_set)
    longer.resume(tmp_path / "early", tokens=20 * 2048)
    assert longer.progress.plan == Plan(20 * 2048, 14 * 2048, 2048, 2e-3, 1)
    assert longer.progress.seen == 2048
