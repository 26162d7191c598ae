"""mdm-py's training: what is hidden, what counts, a checkpoint goes on exactly, and the figures are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig
from typer.testing import CliRunner

from labkit import parts
from labkit.diffusion.predictor import MaskPredictor, open_llama
from labkit.train import mdm, mdm_exam
from labkit.train.command import app
from labkit.train.mdm import MaskTrainer, masked, run_mask_training, texts
from labkit.train.mdm_exam import complete, parses
from labkit.train.tokenizer import END_OF_TEXT, FIM_PREFIX, MASK
from labkit.train.tokens import TokenSet

V = 64
SHAPE = dict(
    vocab_size=V, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, intermediate_size=16,
    max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=END_OF_TEXT, eos_token_id=END_OF_TEXT,
    pad_token_id=END_OF_TEXT,
)  # fmt: skip


@pytest.fixture
def corpus():
    """20,000 tokens that count up and begin anew now and then; a tenth is in fill-in-the-middle form."""
    rng = np.random.default_rng(0)
    tokens = (np.arange(20_000) % 50 + 10).astype(np.uint16)
    tokens[rng.choice(20_000, 200, replace=False)] = END_OF_TEXT
    tokens[15_000:17_000:40] = FIM_PREFIX
    return TokenSet(tokens, tokens, np.zeros_like(tokens), tokens[:4096], [], {"fingerprint": "none"})


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(mdm, "config_of", lambda role: LlamaConfig(**SHAPE))
    monkeypatch.setattr(mdm, "BATCH", {"cpu": 2048})
    monkeypatch.setattr(mdm, "SAVE_EVERY", 2)


def test_windows_are_plain_text_and_a_fifth_of_them_ends(corpus):
    rows = texts(corpus.train, 20, np.random.default_rng(1))
    assert rows.shape == (20, mdm.CONTEXT) and not (rows == FIM_PREFIX).any()
    ended = [row for row in rows.tolist() if row[-1] == END_OF_TEXT and row[-2] == END_OF_TEXT]
    assert len(ended) >= 4
    for row in ended[:4]:
        first = row.index(END_OF_TEXT, 32)
        assert set(row[first:]) == {END_OF_TEXT}


def test_shares_are_spread_and_states_of_decoding_look_like_it():
    ids = torch.zeros(400, mdm.CONTEXT, dtype=torch.long)
    hidden, counts = masked(ids, torch.Generator().manual_seed(0))
    assert counts.any(1).all() and not (counts & ~hidden).any()
    states = [row for row in range(400) if not torch.equal(hidden[row], counts[row])]  # but those near the window's end
    assert 0.3 * 400 <= len(states) <= 0.4 * 400
    for row in states:  # a visible beginning; far places are hidden and do not count
        assert not hidden[row, :16].any() and hidden[row, -1] and not counts[row, -1]
    plain = hidden[[row for row in range(400) if row not in states]].double().mean(1)
    assert plain.mean() == pytest.approx(0.5, abs=0.05) and plain.min() < 0.1 and plain.max() > 0.9


def test_a_stopped_run_goes_on_as_if_it_had_not(corpus, small, tmp_path):
    whole = MaskTrainer(corpus, 4 * 2048)
    run_mask_training(whole, tmp_path / "whole", lambda line: None)
    first = MaskTrainer(corpus, 4 * 2048)
    while first.done < 2:
        first.step()
    first.save(tmp_path / "part")
    second = MaskTrainer(corpus, 4 * 2048)
    second.resume(tmp_path / "part", 4)
    run_mask_training(second, tmp_path / "part", lambda line: None)
    for mine, theirs in zip(whole.model.parameters(), second.model.parameters()):
        assert torch.equal(mine, theirs)
    with pytest.raises(ValueError, match="begun with seed 0"):
        MaskTrainer(corpus, 4 * 2048, seed=1).resume(tmp_path / "part", 4)


def test_it_learns_to_fill_in(corpus, small, monkeypatch):
    """Text that counts up: after a few steps it is less of a surprise."""
    monkeypatch.setattr(mdm, "WARMUP", 4)
    run = MaskTrainer(corpus, 40 * 2048)
    ids = texts(corpus.train, 8, np.random.default_rng(9))
    some = (ids, *masked(ids, torch.Generator().manual_seed(9)))
    with torch.no_grad():
        before = run._loss(*some).item()
    for _ in range(40):
        run.step()
    with torch.no_grad():
        assert run._loss(*some).item() < before - 0.15


def test_a_shifted_network_reads_its_own_place(corpus, small, tmp_path):
    run = MaskTrainer(corpus, 2048)
    run.shift = True
    ids = torch.tensor([[11, 12, 13]])
    assert run.rows(ids, torch.tensor([[False, True, False]])).tolist() == [[END_OF_TEXT, 11, MASK]]


def test_too_few_tokens_are_refused():
    result = CliRunner().invoke(app, ["mdm-py", "--tokens", "10"])
    assert result.exit_code == 2 and "give at least" in result.output


def test_the_exams_bound_is_the_one_by_enumeration(monkeypatch):
    """An untrained network on a window: the bound of 64 drawn masks is near the plain mean over masked shares."""
    monkeypatch.setattr(mdm_exam, "DRAWS", 600)
    torch.manual_seed(0)
    network = MaskPredictor(open_llama(LlamaConfig(**SHAPE)), MASK, END_OF_TEXT, False, 12)
    window = torch.randint(10, 60, (12,), generator=torch.Generator().manual_seed(1))
    drawn = mdm_exam._bound(network, window[None], torch.Generator().manual_seed(2))
    flat = [mdm_exam._loss(network, window.expand(300, -1), share, torch.Generator().manual_seed(3)) for share in (0.1, 0.5, 0.9)]
    assert min(flat) - 0.3 < drawn < max(flat) + 0.3


def test_completions_parse_when_their_end_is_mended():
    assert parses("def f(x):\n    return x\nretu") and parses("if x:\n    for y in z:\n        br") and parses("x = 1\n")
    assert not parses("def f(x:\n    return\n") and not parses("x = )\ny")


def test_a_completion_stops_at_the_end_of_text():
    torch.manual_seed(0)
    network = MaskPredictor(open_llama(LlamaConfig(**SHAPE)), MASK, END_OF_TEXT, False, 64)
    text = complete(network, [11, 12], 12)
    assert len(text) <= 12 and MASK not in text and END_OF_TEXT not in text


def test_the_shipped_model_is_what_its_card_says():
    """The acceptance figures of its plan: infilling, parsing, calibration."""
    about = parts.figures("mdm-py")
    assert about["infilled"] >= 0.55 and about["parses"] >= 0.30
    assert all(abs(sure - right) <= 0.1 for sure, right, places in about["calibration"])
    assert about["loss_by_share"]["0.15"] < about["loss_by_share"]["0.5"] < about["loss_by_share"]["0.95"]
    assert len(about["quantiles"]) == 101 and about["quantiles"] == sorted(about["quantiles"])
    card = (parts.FOLDER.parent / "README.md").read_text(encoding="utf-8")
    assert about["summary"] in card
