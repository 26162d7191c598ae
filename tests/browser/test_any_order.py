"""A text that is filled in any order, and a prompt of thousands of tokens, on the strip of a real page."""

from __future__ import annotations

import os
import re

from playwright.sync_api import expect

DIFFUSION = """
from labkit.ui import Bench
Bench.decode('def add(a, b):\\n    return', method='mdm', knobs={'rule': 'static', 'tokens': 2}, max_new_tokens=16, autorun=3)
"""
GAPS = """
from labkit.ui import Bench
Bench.decode('class Stack:\\n    def push(<|mask|>, <|mask|>):\\n        self.', method='assd', max_new_tokens=3)
"""
STUDY = """
from labkit.ui import Bench
Bench.study('parallel-cost', under=False, temperature=1.0, autorun=2)
"""
LONG = """
from labkit.prompts import heldout
from labkit.ui import Bench
Bench.decode(''.join(heldout(120)[:{texts}]), method='window', target='lab-long', max_new_tokens=8, autorun=1)
"""


def shown(bench) -> list[tuple[int, bool]]:
    """Of every place behind the prompt its token (-1 = none) and whether it is veiled."""
    return bench.locator(".tl-lane [data-id]:not(.prompt)").evaluate_all(
        "all => all.map(one => [Number(one.dataset.id), one.classList.contains('mask')])"
    )


def test_masks_are_filled_where_they_stand(page, open_notebook, write_notebook):
    """Places become tokens in any order, stepping back veils them again, and nobody can branch."""
    write_notebook("any_order.ipynb", [DIFFUSION])
    bench = open_notebook(page, "voila", "any_order.ipynb")
    expect(bench).to_have_attribute("data-steps", "3", timeout=60_000)
    expect(bench).to_have_attribute("data-state", re.compile("stopped|done"))
    after = shown(bench)
    assert len(after) == 16
    assert sum(token >= 0 for token, _ in after) == 6 and all(veiled == (token < 0) for token, veiled in after)
    page.keyboard.press("Home")
    expect(bench).to_have_attribute("data-at", "0")
    assert all(veiled for _, veiled in shown(bench))
    bench.get_by_role("button", name="Run", exact=True).first.click()
    expect(bench).to_have_attribute("data-state", "done")
    assert all(token >= 0 and not veiled for token, veiled in shown(bench))
    bench.locator(".tl-lane [data-id]:not(.prompt)").nth(3).click()
    expect(bench.get_by_role("button", name=re.compile("^Branch here with"))).to_have_count(0)


def test_gaps_in_a_prompt_are_filled_where_they_stand(page, open_notebook, write_notebook):
    """Two gaps and the end: tokens take the places of the marks, and stepping back veils all of them."""
    write_notebook("gaps.ipynb", [GAPS])
    bench = open_notebook(page, "voila", "gaps.ipynb")
    bench.get_by_role("button", name="Run", exact=True).first.click()
    expect(bench).to_have_attribute("data-state", "done", timeout=60_000)
    tokens = bench.locator(".tl-lane [data-id]")
    text = tokens.evaluate_all("all => all.map(one => one.textContent)")
    assert not any("mask" in piece for piece in text)
    given = [place for place, one in enumerate(tokens.all()) if "prompt" in one.get_attribute("class")]
    filled = [place for place in range(len(text)) if place not in given]
    assert len(filled) == 5 and filled[-3:] == list(range(len(text) - 3, len(text))) and filled[1] < len(text) - 4
    page.keyboard.press("Home")
    expect(bench).to_have_attribute("data-at", "0")
    veiled = tokens.evaluate_all("all => all.flatMap((one, place) => one.classList.contains('mask') ? [place] : [])")
    assert veiled == filled


def test_charts_take_the_height_that_the_knobs_leave_over(page, open_notebook, write_notebook):
    """No empty band under two charts beside a tall column of knobs, on a wide page and on a narrower one."""
    write_notebook("tall.ipynb", [STUDY])
    bench = open_notebook(page, "voila", "tall.ipynb")
    expect(bench).to_have_attribute("data-steps", "2", timeout=60_000)
    charts = bench.locator(".tl-own > .tl-panel:visible")
    expect(charts.locator("svg.main-svg").first).to_be_visible(timeout=60_000)
    full = """() => [...document.querySelectorAll('.tl-own > .tl-panel:not([hidden])')].every(panel => {
        const parts = [panel, ...['.main-svg', '.tl-chartwords'].map(name => panel.querySelector(name))];
        const [all, plot, words] = parts.map(part => part.getBoundingClientRect());
        return all.bottom - words.bottom < 20 && Math.abs(words.top - plot.bottom) < 20;
    })"""
    for width, height in ((1280, 800), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_function(full)
    assert charts.count() == 2


def test_a_long_prompt_is_folded(page, open_notebook, write_notebook):
    """Its ends are shown, all of it when asked for; the model reads past the length it was trained for."""
    texts, least, most = (86, 7_500, 8_448) if os.environ.get("LABKIT_THOROUGH") else (36, 2_900, 3_800)
    write_notebook("long.ipynb", [LONG.format(texts=texts)])
    bench = open_notebook(page, "voila", "long.ipynb")
    expect(bench).to_have_attribute("data-steps", "1", timeout=90_000)
    fold = bench.get_by_role("button", name=re.compile("more tokens"))
    many = int(re.sub(r"\D", "", fold.inner_text()))
    assert bench.locator(".tl-lane [data-id]").count() == 201
    assert least < many + 200 <= most
    fold.click()
    expect(fold).to_have_count(0)
    expect(bench.locator(f".tl-lane [data-link='t{many + 200}']")).to_be_in_viewport()  # it stands where it stood: at its end
    strip = bench.locator(".tl-strip")
    strip.evaluate("one => { one.scrollTop = one.scrollHeight / 2; }")
    middle = """all => {
        const share = document.querySelector('.tl-lane [data-id]')?.dataset.link.slice(1) / all;
        return 0.2 < share && share < 0.8;
    }"""
    page.wait_for_function(middle, arg=many + 200)  # a scroll is drawn with the next frame
    assert bench.locator(".tl-lane [data-id]").count() < 600  # what is in sight, and some more
    bench.locator(".tl-lane [data-id]").first.focus()
    page.keyboard.press("End")
    expect(bench.locator(f".tl-lane [data-link='t{many + 200}']")).to_be_focused()
