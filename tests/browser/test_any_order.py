"""A text that is filled in any order, and a prompt of thousands of tokens, on the strip of a real page."""

from __future__ import annotations

import re

from playwright.sync_api import expect

DIFFUSION = """
from labkit.ui import Bench
Bench.decode('def add(a, b):\\n    return', method='mdm', knobs={'rule': 'static', 'tokens': 2}, max_new_tokens=16, autorun=3)
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


def test_a_prompt_of_eight_thousand_tokens_is_folded(page, open_notebook, write_notebook):
    """Its ends are shown, all of it when asked for; the model reads past the length it was trained for."""
    write_notebook("long.ipynb", [LONG.format(texts=86)])
    bench = open_notebook(page, "voila", "long.ipynb")
    expect(bench).to_have_attribute("data-steps", "1", timeout=90_000)
    fold = bench.get_by_role("button", name=re.compile("more tokens"))
    many = int(re.sub(r"\D", "", fold.inner_text()))
    assert bench.locator(".tl-lane [data-id]").count() == 201
    assert 7_500 < many + 200 <= 8_448
    fold.click()
    expect(fold).to_have_count(0)
    strip = bench.locator(".tl-strip")
    strip.evaluate("one => { one.scrollTop = one.scrollHeight / 2; }")
    expect(bench.locator(".tl-lane [data-id]").first).to_have_attribute("data-link", re.compile(r"^t[2-5]\d{3}$"))
    assert bench.locator(".tl-lane [data-id]").count() < 600  # what is in sight, and some more
    bench.locator(".tl-lane [data-id]").first.focus()
    page.keyboard.press("End")
    expect(bench.locator(f".tl-lane [data-link='t{many + 200}']")).to_be_focused()
