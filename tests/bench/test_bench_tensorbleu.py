"""The bench of BLEU: all three score the same sentences alike, and every column is there; never a time."""

import json

import torch
from typer.testing import CliRunner

from labkit.bench.tensorbleu import app, batch_of, bench
from labkit.cli import app as labkit


def test_the_three_agree():
    for references in (1, 3):
        result = bench(sentences=20, length=16, references=references, repeats=2, device="cpu")
        assert [row["name"] for row in result["rows"]] == ["TensorBLEU", "NLTK", "sacrebleu"]
        for row in result["rows"]:
            assert row["apart"] < 1e-6 and row["ms"] > 0 and row["vs_nltk"] > 0
        assert result["rows"][1]["vs_nltk"] == 1


def test_references_are_candidates_with_some_tokens_changed():
    candidates, references = batch_of(50, 64, 2)
    kept = (references == candidates[:, None]).float().mean()
    assert candidates.shape == (50, 64) and references.shape == (50, 2, 64) and 0.65 < kept < 0.8
    assert torch.equal(candidates, batch_of(50, 64, 2)[0])


def test_it_prints_a_table_and_json():
    told = CliRunner().invoke(app, ["--batch", "4", "--length", "8", "--repeats", "1"])
    assert told.exit_code == 0 and "TensorBLEU" in told.output and "differ by at most" in told.output
    told = CliRunner().invoke(labkit, ["bench", "tensorbleu", "--help"])
    assert told.exit_code == 0 and "NLTK" in told.output
    told = CliRunner().invoke(app, ["--batch", "4", "--length", "8", "--repeats", "1", "--json"])
    assert json.loads(told.output)["sentences"] == 4
