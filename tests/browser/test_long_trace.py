"""A trace of 100,000 tokens in a real page: opened, scrubbed, walked with keys, a token near its end chosen, exported."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path

import pytest
from made_traces import long_trace
from playwright.sync_api import expect

from labkit.trace import loads

PROBE = "from labkit.ui import Bench\nBench.{page}('def f(x):', max_new_tokens=4)"
TOKENS = 100_000
PLACES = """() => {
  const strip = document.querySelector(".tl-strip, .tl-lines"), own = strip.getBoundingClientRect();
  const seen = [...strip.querySelectorAll("[data-id]")].filter((one) => {
    const box = one.getBoundingClientRect();
    return box.bottom > own.top && box.top < own.bottom;
  });
  return { there: strip.querySelectorAll("[data-id]").length, seen: seen.map((one) => Number(one.dataset.link.slice(1))),
    stops: strip.querySelectorAll('[tabindex="0"]').length, cells: document.querySelectorAll(".tl-time button").length };
}"""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Made-up traces of each kind, as the lab saves long ones."""
    found = {}
    for kind in ("plain", "tree"):
        found[kind] = tmp_path_factory.mktemp("long") / f"{kind}.json.gz"
        long_trace(TOKENS, kind).save(found[kind])
    return found


def opened(page, open_notebook, write_notebook, name: str, file: Path):
    """A bench of the page `name` with this trace in it."""
    write_notebook("long_trace.ipynb", [PROBE.format(page=name)])
    bench = open_notebook(page, "voila", "long_trace.ipynb")
    expect(bench).to_have_attribute("data-engine", "here", timeout=60_000)
    bench.get_by_role("button", name="Take away…", exact=True).click()
    bench.locator("input[type=file]").set_input_files(file)
    steps = len(loads(file.read_bytes()).steps)
    expect(bench).to_have_attribute("data-at", str(steps), timeout=90_000)
    expect(bench).to_have_attribute("data-state", "done")
    page.keyboard.press("Escape")
    return bench


def places(page) -> dict:
    return page.evaluate(PLACES)


def test_plain_decoding_of_a_hundred_thousand_tokens(page, open_notebook, write_notebook, files):
    bench = opened(page, open_notebook, write_notebook, "entropy", files["plain"])
    prompt, last = 6, TOKENS + 6 - 1
    now = places(page)
    assert last in now["seen"] and len(now["seen"]) < now["there"] < 600 and now["stops"] == 1
    assert 100 < now["cells"] <= 250
    # The timeline leads to the step it names, and the strip follows.
    cell = bench.locator(".tl-time button").nth(150)
    place = int(cell.get_attribute("data-token"))
    cell.evaluate("one => one.click()")  # two pixels wide
    expect(bench).to_have_attribute("data-at", str(place - prompt + 1))
    expect(bench.locator(f"[data-link='t{place}'][aria-pressed='true']")).to_be_in_viewport()
    # Home and End of the strip, and the arrows across the parts it is cut into.
    bench.locator(".tl-lines [data-link]").first.focus()
    page.keyboard.press("End")
    expect(bench.locator(f".tl-lines [data-link='t{last}']")).to_be_focused()
    for _ in range(150):
        page.keyboard.press("ArrowLeft")
    expect(bench.locator(f".tl-lines [data-link='t{last - 150}']")).to_be_focused()
    page.keyboard.press("Home")
    expect(bench.locator(".tl-lines [data-link='t0']")).to_be_focused()
    expect(bench.locator(".tl-lines [data-link='t0']")).to_be_in_viewport()
    # A place is found by scrolling, and the scroll bar stands for the whole text.
    strip = bench.locator(".tl-lines")
    strip.evaluate("one => { one.scrollTop = one.scrollHeight * 0.7; }")
    within = "seen.length > 20 && Math.abs(seen[0] - 7e4) < 1e4"
    page.wait_for_function(f"() => {{ const {{ seen }} = ({PLACES})(); return {within}; }}")
    # A bar of the curve leads to the highest of the tokens it stands for.
    bar = bench.locator(".curvebar").last
    chosen = int(bar.get_attribute("data-at"))
    assert chosen > 0.99 * TOKENS
    bar.focus()
    page.keyboard.press("Enter")
    expect(bench.locator(f".tl-lines [data-link='t{chosen}'][aria-pressed='true']")).to_be_in_viewport()
    trace = loads(files["plain"].read_bytes())
    belief = trace.steps[chosen - prompt].beliefs[0]
    expect(bench.locator(".tl-disthead")).to_contain_text(f"H {belief.entropy:.2f} nats")
    # The numbers as a file: one line a token, the last ones included.
    bench.get_by_role("button", name="Take away…", exact=True).click()
    with page.expect_download(timeout=60_000) as waiting:
        bench.get_by_role("button", name="Save the tokens as CSV", exact=True).click()
    with open(waiting.value.path(), encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == TOKENS + prompt
    assert [int(row["id"]) for row in rows] == trace.opening.prompt_ids + trace.ids
    assert float(rows[chosen]["entropy_nats"]) == belief.entropy
    assert json.loads(rows[chosen]["text"]) == trace.pieces[belief.token]
    with page.expect_download(timeout=60_000) as waiting:
        bench.get_by_role("button", name="Save the trace", exact=True).click()
    assert waiting.value.suggested_filename.endswith("trace.json.gz")
    assert Path(waiting.value.path()).read_bytes() == files["plain"].read_bytes()
    with page.expect_download(timeout=60_000) as waiting:
        bench.get_by_role("button", name="Save the page as HTML", exact=True).click()
    assert Path(waiting.value.path()).stat().st_size < 5_000_000


@pytest.mark.skipif(not os.environ.get("LABKIT_THOROUGH"), reason="THOROUGH=1: plain decoding shows the same of the strip")
def test_trees_of_a_hundred_thousand_tokens(page, open_notebook, write_notebook, files):
    bench = opened(page, open_notebook, write_notebook, "draft_trees", files["tree"])
    trace = loads(files["tree"].read_bytes())
    assert places(page)["there"] < 600
    cell = bench.locator(".tl-time button").nth(100)
    number = int(cell.get_attribute("data-step")) + 1
    cell.evaluate("one => one.click()")  # two pixels wide
    expect(bench).to_have_attribute("data-at", str(number))
    tree = trace.steps[number - 1].tree
    expect(bench.locator(".tl-round [data-id]")).to_have_count(len(tree.path) + 1)
    expect(bench.locator(".tl-round .ref")).to_have_count(tree.verdicts.count("refused"))
    expect(bench.locator(".tl-round [data-id]").first).to_be_in_viewport()
    # What the steps so far cost, as the trace says it.
    calls = sum(step.cost.target_forwards for step in trace.steps[:number])
    expect(bench.locator(".tl-cost dl").first).to_contain_text(f"{calls:,}")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(bench).to_have_attribute("data-at", re.compile(f"{number + 3}|{number}"))
