"""The bench of kernels counts bytes, says what they allow, and says where it runs; never a time."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from labkit.bench import kernels
from labkit.cli import app as labkit
from labkit.errors import KnobError


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(kernels, "SMALL", (4, 2, 16))
    monkeypatch.setattr(kernels, "SHAPE", (4, 2, 16))


def test_bytes_and_what_they_allow():
    found = kernels.bench((128,), repeats=2, device="cpu")
    assert not found["kernels"] and found["device"] == "the CPU"
    (section,) = found["sections"]
    rows = {row["name"]: row for row in section["rows"]}
    dense = 2 * 2 * 128 * 16 * 4
    chosen, labels = dense / 16 + 2 * 8 * 8, 2 * 128 * (16 * 4 / 8 + 2 * 2)  # with 64-bit indices; half minimum and step
    assert rows["dense, SDPA"]["megabytes"] == dense / 1e6
    assert rows["indexed, 1/16"]["bound"] == pytest.approx(dense / chosen)
    assert rows["choosing them"]["megabytes"] == labels / 1e6
    assert rows["indexed, choosing included"]["bound"] == pytest.approx(dense / (chosen + labels))
    for row in rows.values():
        assert row["microseconds"] > 0
        assert "bound" not in row or row["reached"] == pytest.approx(row["vs_dense"] / row["bound"])


def test_it_says_that_it_needs_a_gpu():
    told = CliRunner().invoke(kernels.app, ["--length", "64", "--repeats", "1", "--device", "cpu"])
    assert told.exit_code == 0 and "need an NVIDIA GPU" in told.output and "indexed, 1/16" in told.output
    told = CliRunner().invoke(kernels.app, ["--length", "64", "--repeats", "1", "--device", "cpu", "--json"])
    assert [section["length"] for section in json.loads(told.output)["sections"]] == [64]
    told = CliRunner().invoke(labkit, ["bench", "kernels", "--help"])
    assert told.exit_code == 0 and "bytes" in told.output


def test_a_length_too_short_for_the_tree():
    with pytest.raises(KnobError, match="63"):
        kernels.bench((63,), device="cpu")
