"""The boundary ribbon in a real page, in both hosts: typing, turning a knob, taking a token apart, scripts of any direction."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

expect.set_options(timeout=30_000)
START = "from labkit.ui import Ribbon\nRibbon({text!r}, rows={rows!r}, reference='characters')"
HOSTILE = "<img src=x onerror='window.hacked = 1'><script>window.hacked = 2</script>"
SPELLED = "place => [...document.querySelectorAll(`[data-row='${place}']`)].map((row) => row.textContent).join('')"


@pytest.fixture
def ribbon(page, open_notebook, write_notebook, host):
    def make(text, rows):
        write_notebook("ribbon.ipynb", [START.format(text=text, rows=rows)])
        return open_notebook(page, host, "ribbon.ipynb")

    return make


def cells(root, row):
    return root.locator(f"[data-row='{row}'] > span")


@pytest.mark.parametrize("host", ["voila", "lab"])
def test_rows_tokens_and_numbers(page, host, ribbon):
    root = ribbon("ab é", ["bytes", "characters", "model"])
    expect(root).to_have_attribute("data-rows", "3")
    expect(cells(root, 1)).to_have_count(4)
    expect(cells(root, 0)).to_have_count(4)  # é is one span that two tokens cut through
    assert cells(root, 0).nth(3).get_attribute("data-parts") == "2"
    rows = root.locator(".tl-cuts tbody tr")
    expect(rows).to_have_count(3)
    assert rows.nth(0).locator("td").nth(1).inner_text() == "5"
    assert rows.nth(1).locator("td").nth(8).inner_text() == "1.000"  # the reference agrees with itself

    root.locator("textarea").fill(" return x")
    expect(cells(root, 1)).to_have_count(9)
    cells(root, 2).first.click()
    expect(root.locator(".tl-undo .tl-tiptitle")).to_have_text("·return")
    expect(root.locator(".tl-node.leaf")).to_have_count(7)
    root.locator(".tl-ribbon").focus()
    page.keyboard.press("ArrowRight")
    expect(root.locator(".tl-undo .tl-tiptitle")).to_have_text("·x")


@pytest.mark.parametrize("host", ["voila"])
def test_untrusted_text_and_any_direction(page, host, ribbon):
    root = ribbon(HOSTILE + "\nשלום and سلام\n👨‍👩‍👧 학교", ["characters", "model"])
    expect(root).to_have_attribute("data-rows", "2")
    assert page.evaluate("window.hacked") is None
    assert page.evaluate(SPELLED, 1) == HOSTILE + "↵שלום and سلام↵👨‍👩‍👧 학교"
    assert page.evaluate(SPELLED, 0) == page.evaluate(SPELLED, 1)
    assert "rtl" in page.evaluate("[...document.querySelectorAll('.tl-cells')].map((one) => one.dir)")
    # equal letters stand above each other: every line is as wide in one row as in the other
    widths = page.evaluate("""[0, 1].map((row) => [...document.querySelectorAll(`[data-row='${row}']`)].map((line) =>
        Math.round([...line.children].reduce((sum, one) => sum + one.getBoundingClientRect().width, 0))))""")
    assert widths[0] == pytest.approx(widths[1], abs=2)


@pytest.mark.parametrize("host", ["voila"])
def test_an_error_is_one_sentence_and_nothing_is_lost(page, host, ribbon):
    root = ribbon("abc", ["characters"])
    expect(cells(root, 0)).to_have_count(3)
    root.locator("textarea").fill("a" * 20_001)
    expect(root.locator("[role=alert]").first).to_contain_text("has 20,001 bytes, the ribbon shows 20,000: shorten it.")
    assert len(root.locator("textarea").input_value()) == 20_001
    root.locator("textarea").fill("abcd")
    expect(cells(root, 0)).to_have_count(4)
    expect(root.locator("[role=alert]").first).to_be_hidden()


@pytest.mark.parametrize("host", ["voila"])
def test_the_shipped_page(page, host, open_notebook):
    """Eight rows with their numbers, and benches below that take their script from the kernel."""
    root = open_notebook(page, host, "11_token_boundaries.ipynb")
    expect(root).to_have_attribute("data-rows", "8")
    expect(root.locator(".tl-cuts tbody tr")).to_have_count(8)
    assert "…" not in root.locator(".tl-cuts tbody").inner_text()
    expect(page.locator(".tl[data-ready] .tl-bar")).to_have_count(5)
