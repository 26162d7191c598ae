"""The bench of cache policies counts what the policies hold and read."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from labkit.bench import attention


def test_counts_and_ratios():
    found = attention.bench((64,), budget=0.25, steps=2)
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows) == {"lean forward", "dense", *attention.CacheRace(budget=0.25).contenders(64)}
    assert rows["dense"]["vs_dense"] == 1 and rows["lean forward"]["held"] == 1
    assert rows["window"]["read"] == pytest.approx(17 / 67)  # sixteen slots and the token itself, of 64 and the three fed behind
    assert all(row["ms"] > 0 and row["bound"] == pytest.approx(1 / row["read"]) for row in rows.values())


def test_as_json():
    said = CliRunner().invoke(attention.app, ["--context", "32", "--steps", "1", "--json"])
    assert said.exit_code == 0, said.output
    assert {row["context"] for row in json.loads(said.stdout)["rows"]} == {32}
