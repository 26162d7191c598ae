"""Trained parts: they come back as they went, and only for the weights they were trained with."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from labkit import parts
from labkit.errors import ModelError

CPU = torch.device("cpu")


def runner(name="lab-draft"):
    return SimpleNamespace(name=name, device=CPU)


def test_what_goes_in_comes_out(tmp_path):
    tensors = {"weight": torch.randn(3, 4, dtype=torch.bfloat16), "table": torch.arange(5)}
    parts.save("odd", tensors, "lab-draft", {"loss": 0.5}, tmp_path)
    back = parts.load("odd", runner(), tmp_path)
    assert back["weight"].dtype == torch.float32 and back["table"].dtype == torch.int64
    torch.testing.assert_close(back["weight"], tensors["weight"].float())
    assert '"loss": 0.5' in (tmp_path / "odd.json").read_text()


def test_it_fits_one_set_of_weights(tmp_path):
    parts.save("odd", {"weight": torch.zeros(2)}, "lab-draft", {}, tmp_path)
    with pytest.raises(ModelError, match="belongs to lab-draft and 'lab-target' is in use: choose lab-draft"):
        parts.load("odd", runner("lab-target"), tmp_path)
    with pytest.raises(ModelError, match="'this model' is in use"):
        parts.load("odd", SimpleNamespace(device=CPU), tmp_path)


def test_a_missing_part_says_how_it_is_made(tmp_path):
    with pytest.raises(ModelError, match="`labkit train odd`"):
        parts.load("odd", runner(), tmp_path)


def test_a_table_of_tokens_fits_every_model_with_that_tokenizer(tmp_path):
    parts.save("odd", {"counts": torch.arange(2)}, "lab-draft", {}, tmp_path, parts.TOKENIZER)
    assert parts.load("odd", runner("lab-target"), tmp_path)["counts"].tolist() == [0, 1]
    with pytest.raises(ModelError, match="belongs to lab-draft"):
        parts.load("odd", runner(str(tmp_path)), tmp_path)


def test_a_model_of_its_own_fits_no_other(tmp_path):
    parts.save("odd", {"weight": torch.ones(2)}, parts.ALONE, {}, tmp_path)
    assert parts.load_alone("odd", CPU, tmp_path)["weight"].tolist() == [1, 1]
    for other in (runner(), SimpleNamespace(device=CPU)):
        with pytest.raises(ModelError, match="belongs to no other model"):
            parts.load("odd", other, tmp_path)
    parts.save("bound", {"weight": torch.ones(2)}, "lab-draft", {}, tmp_path)
    with pytest.raises(ModelError, match="belongs to lab-draft"):
        parts.load_alone("bound", CPU, tmp_path)
    with pytest.raises(ModelError, match="`labkit train odds`"):
        parts.load_alone("even", CPU, tmp_path, trainer="odds")
