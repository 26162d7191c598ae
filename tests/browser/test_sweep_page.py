"""A sweep in a real page: the last one is there when it opens, step by step, with its table and its line of code."""

from __future__ import annotations

import msgspec
import pytest
from playwright.sync_api import expect

from labkit.cluster.plan import CELLS, TABLE, Cell, Plan
from labkit.trace import Cost, Setting

expect.set_options(timeout=30_000)
NAMES = ["plain", "<img src=x onerror='window.hacked = 1'>"]


@pytest.fixture
def folder(tmp_path):
    """A finished sweep of two settings on three prompts."""
    made = tmp_path / "draft-length-1"
    made.mkdir()
    plan = Plan(
        settings=[Setting("plain", {}), Setting("chain", {})], names=NAMES, prompts=3, tokens=16, temperatures=[0.0], seeds=[0],
        target="lab-target", draft="lab-draft", dtype="float32", labkit="0",
    )  # fmt: skip
    (made / "plan.json").write_bytes(msgspec.json.encode(plan))
    asks = list(plan.cells())
    lines = [
        Cell(ask.number, ask.setting.name, NAMES[ask.number % 2], {}, ask.prompt, 0.0, 0, tokens=8, cost=Cost(4, seconds=0.1))
        for ask in asks
    ]
    (made / CELLS).write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    (made / TABLE).touch()
    return tmp_path


@pytest.mark.parametrize("host", ["voila"])
def test_the_last_sweep(page, host, open_notebook, write_notebook, folder):
    write_notebook("sweep.ipynb", [f"from labkit.ui import Sweep\nSweep(folder={str(folder)!r})"])
    bench = open_notebook(page, host, "sweep.ipynb")
    expect(bench.locator(".tl-far .num")).to_have_text("6 of 6")
    charts = bench.locator(".tl-own [data-drawn]")
    expect(charts).to_have_count(2)
    bench.get_by_role("button", name="as a table").first.click()
    rows = bench.locator(".tl-own table").first.locator("tbody tr")
    expect(rows).to_have_count(2)
    assert rows.nth(0).inner_text().split() == ["plain", "2.0", "2.0", "2.0"]
    assert "onerror" in rows.nth(1).inner_text()  # shown, not run
    bench.get_by_role("button", name="One step back", exact=True).click()
    bench.get_by_role("button", name="One step back", exact=True).click()
    expect(bench.locator(".tl-far .num")).to_have_text("5 of 6")
    expect(rows.nth(1)).to_contain_text("·")
    bench.get_by_role("button", name="Take away…").click()
    bench.get_by_role("button", name="Copy the code that makes this again").click()
    code = bench.get_by_role("textbox", name="Code that makes this again")
    code.wait_for()
    assert "!labkit sweep --methods chain" in code.input_value() and "pandas.read_parquet(" in code.input_value()
    assert page.evaluate("window.hacked") is None
