"""The bench in a real page, in both hosts: what a person does with mouse and keyboard, and that the page tells the truth."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import struct
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import expect

from labkit.host import launch
from labkit.paths import NOTEBOOKS
from labkit.trace import loads

START = "from labkit.ui import Bench\nprompt = 'def add(a, b):\\n    return'\n"
TREES = START + "Bench.draft_trees(prompt, method='token-recycling', max_new_tokens={tokens})"
ENTROPY = START + "Bench.entropy(prompt, temperature=0.8, top_k=8, seed=3, max_new_tokens=32, autorun=6)"
COUNT = "document.querySelectorAll('.tl-lane[data-lane=\"{}\"] [data-id]').length"
NAMELESS = """all => all.filter(one => one.checkVisibility()
    && !(one.getAttribute("aria-label") || one.labels?.length || one.textContent.trim()))
    .map(one => one.outerHTML.slice(0, 120))"""
UNGUARDED = """all => all.filter(one => !one.closest(".js-plotly-plot") && one.dataset.lmSuppressShortcuts !== "true")
    .map(one => one.outerHTML.slice(0, 120))"""
HOSTILE = "<script>window.hacked = 1</script> <img src=x onerror='window.hacked = 2'>"
UI_TESTS = Path(__file__).parent.parent / "ui"
FAKE = f"""
import sys
sys.path.insert(0, {str(UI_TESTS)!r})
from fake_engine import FakeEngine
from labkit.ui import Bench
Bench.entropy('one two', engine=FakeEngine(), max_new_tokens=40, seed=1)
"""


expect.set_options(timeout=30_000)  # a model's first step on a busy machine takes its time


def press(bench, name: str) -> None:
    bench.get_by_role("button", name=name, exact=True).click()


def at(bench, step: int, steps: int | None = None) -> None:
    """Wait until the page shows `step` of `steps`."""
    expect(bench).to_have_attribute("data-at", str(step))
    if steps is not None:
        expect(bench).to_have_attribute("data-steps", str(steps))


def quiet(bench) -> None:
    expect(bench).to_have_attribute("data-state", re.compile("stopped|done"))


def saved_trace(page, bench):
    """The trace as the page gives it away."""
    if bench.get_by_role("button", name="Save the trace", exact=True).count() == 0:
        press(bench, "Take away…")
    with page.expect_download() as waiting:
        press(bench, "Save the trace")
    page.keyboard.press("Escape")
    return Path(waiting.value.path()).read_bytes()


def strip_ids(bench, lane: int = 0) -> list[int]:
    return bench.locator(f".tl-lane[data-lane='{lane}'] [data-id]").evaluate_all(
        "all => all.map(one => Number(one.dataset.id))"
    )


def open_probe(page, host, open_notebook, write_notebook, code: str):
    write_notebook("bench_probe.ipynb", [code])
    return open_notebook(page, host, "bench_probe.ipynb")


def test_step_back_run_and_stop(page, host, open_notebook, write_notebook):
    """The transport works, and what the page shows is what the trace holds."""
    bench = open_probe(page, host, open_notebook, write_notebook, TREES.format(tokens=900))
    at(bench, 0, 0)
    press(bench, "Step")
    at(bench, 1, 1)
    press(bench, "Step")
    at(bench, 2, 2)
    press(bench, "One step back")
    at(bench, 1, 2)
    press(bench, "Step")  # a recorded step: the page alone
    at(bench, 2, 2)
    quiet(bench)
    press(bench, "Run")
    page.wait_for_function("() => Number(document.querySelector('.tl').dataset.steps) > 4")
    press(bench, "Stop")
    quiet(bench)
    stopped = int(bench.get_attribute("data-steps"))
    assert len(strip_ids(bench)) < 900  # it had not come to its end
    trace = loads(saved_trace(page, bench))
    assert len(trace.steps) == stopped and strip_ids(bench) == trace.opening.prompt_ids + trace.ids
    shown = bench.locator(".tl-lane [data-id]").evaluate_all("all => all.map(one => one.textContent)")
    pieces = trace.pieces
    visible = [
        pieces[token].replace("\n", "↵").replace(" ", "·").replace("\t", "⇥")
        for token in trace.opening.prompt_ids + trace.ids
    ]
    assert shown == visible
    bench.locator(".tl-time button").nth(1).click()
    at(bench, 2, stopped)
    refused = [node for node, verdict in enumerate(trace.steps[1].tree.verdicts) if verdict == "refused"]
    assert bench.locator(".tl-round .ref").count() == len(refused)


def test_compare_marks_the_first_difference(page, host, open_notebook, write_notebook):
    """A second lane on the same prompt: lossless at temperature 0, another text with another seed."""
    bench = open_probe(page, host, open_notebook, write_notebook, TREES.format(tokens=24))
    press(bench, "Run")
    expect(bench).to_have_attribute("data-state", "done")
    press(bench, "Compare…")
    press(bench, "Plain decoding")
    expect(bench).to_have_attribute("data-lanes", "2")
    expect(bench.locator(".tl-lanehead").nth(1)).to_contain_text("no difference so far")
    page.wait_for_function(f"() => {COUNT.format(1)} >= {COUNT.format(0)}")
    assert strip_ids(bench, 1)[:20] == strip_ids(bench, 0)[:20]
    press(bench, "Close the second lane")
    expect(bench).to_have_attribute("data-lanes", "1")
    press(bench, "Compare…")
    press(bench, "same method, temperature 0.8")
    expect(bench.locator(".tl-lanehead").nth(1)).to_contain_text("first difference at token")
    place = int(re.search(r"at token (\d+)", bench.locator(".tl-lanehead").nth(1).inner_text())[1]) - 1
    one, two = strip_ids(bench, 0), strip_ids(bench, 1)
    assert one[:place] == two[:place] and one[place] != two[place]
    expect(bench.locator(".tl-lane .differs")).to_have_count(2)


def test_two_views_of_one_bench(page, open_notebook, write_notebook):
    """JupyterLab shows an output a second time beside the notebook: one run, and either page moves it."""
    bench = open_probe(page, "lab", open_notebook, write_notebook, ENTROPY)
    at(bench, 6, 6)
    quiet(bench)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:create-output-view') }")
    beside = page.locator(".tl[data-ready]").nth(1)
    at(beside, 6, 6)
    for one, steps in ((beside, 7), (bench, 8)):
        press(one, "Step")
        at(bench, steps, steps)
        at(beside, steps, steps)
    assert strip_ids(bench) == strip_ids(beside)


def test_live_knobs_need_no_kernel_and_tell_the_truth(page, host, open_notebook, write_notebook):
    """Dragging the temperature redraws from the stored law; the entropy it prints is the law's."""
    bench = open_probe(page, host, open_notebook, write_notebook, ENTROPY)
    at(bench, 6, 6)
    quiet(bench)
    trace = loads(saved_trace(page, bench))
    heard = bench.get_attribute("data-seq")
    slider = bench.get_by_role("slider", name="Temperature", exact=True)
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "1.00")
    law = trace.steps[5].beliefs[0].law
    logs = sorted(struct.unpack(f"<{len(law) // 2}e", law), reverse=True)[:8]
    total = sum(math.exp(x) for x in logs)
    entropy = -sum(math.exp(x) / total * (x - math.log(total)) for x in logs)
    expect(bench.locator(".tl-disthead")).to_contain_text(f"→ {entropy:.2f} nats, 8 of")
    assert bench.get_attribute("data-seq") == heard, "no message came from the kernel"
    expect(bench.get_by_role("button", name="Redraw the text with these", exact=True)).to_be_visible()
    press(bench, "Redraw the text with these")
    page.wait_for_function("seen => Number(document.querySelector('.tl').dataset.seq) > seen", arg=int(heard))
    quiet(bench)
    at(bench, 6, 6)


def test_branch_at_a_token(page, host, open_notebook, write_notebook):
    """What if this token? A second lane goes on from the other choice."""
    bench = open_probe(page, host, open_notebook, write_notebook, ENTROPY)
    at(bench, 6, 6)
    quiet(bench)
    before = strip_ids(bench)
    place = len(before) - 3
    bench.locator(".tl-lane [data-id]").nth(place).click()
    page.wait_for_function(
        "n => document.querySelectorAll('.tl-lane [data-id]')[n].getAttribute('aria-pressed') === 'true'", arg=place
    )
    row = bench.locator(f".tl-dist g.row:not([data-token='{before[place]}'])").nth(1)
    other = int(row.get_attribute("data-token"))
    row.click()
    bench.get_by_role("button", name=re.compile("^Branch here with")).click()
    expect(bench).to_have_attribute("data-lanes", "2")
    page.wait_for_function(f"n => {COUNT.format(1)} >= n", arg=len(before))
    after = strip_ids(bench, 1)
    assert after[:place] == before[:place] and after[place] == other != before[place]
    expect(bench.locator(".tl-lanehead").nth(1)).to_contain_text(f"first difference at token {place + 1}")


def test_save_load_and_a_broken_file(page, host, open_notebook, write_notebook, tmp_path):
    """A trace goes out as a file and comes back in; a broken one is refused in place and nothing is lost."""
    bench = open_probe(page, host, open_notebook, write_notebook, ENTROPY)
    at(bench, 6, 6)
    quiet(bench)
    data = saved_trace(page, bench)
    file, broken = tmp_path / "trace.json", tmp_path / "broken.json"
    file.write_bytes(data)
    broken.write_bytes(data[: len(data) // 2])
    for _ in range(2):
        press(bench, "Step")
    at(bench, 8, 8)
    quiet(bench)
    bench.locator("input[type=file]").set_input_files(broken)
    expect(bench.get_by_role("alert").first).to_contain_text("This is no whole trace")
    at(bench, 8, 8)
    press(bench, "Close")
    bench.locator("input[type=file]").set_input_files(file)
    at(bench, 6, 6)
    trace = loads(data)
    assert strip_ids(bench) == trace.opening.prompt_ids + trace.ids
    page.keyboard.press("Escape")
    press(bench, "Step")  # and it goes on where it was
    at(bench, 7, 7)


def test_pictures_table_and_code_can_be_taken_away(page, host, open_notebook, write_notebook):
    """SVG, PNG, HTML, CSV and the code cell are what they say they are."""
    bench = open_probe(page, host, open_notebook, write_notebook, ENTROPY)
    at(bench, 6, 6)
    quiet(bench)
    press(bench, "Take away…")
    files = {}
    for name in (
        "Save the picture as SVG",
        "Save the picture as PNG",
        "Save the page as HTML",
        "Save the tokens as CSV",
    ):
        with page.expect_download() as waiting:
            press(bench, name)
        files[name[-3:].strip()] = Path(waiting.value.path()).read_bytes()
    assert files["SVG"].startswith(b"<svg") and b"class=" not in files["SVG"] and b"raw" in files["SVG"]
    assert files["PNG"].startswith(b"\x89PNG")
    assert b"<script" not in files["TML"] and b"tl-panel" in files["TML"]
    assert len(files["CSV"].decode("utf-8-sig").split("\r\n")) == 1 + len(strip_ids(bench))
    press(bench, "Copy the code that makes this again")
    assert "Bench.entropy(" in bench.get_by_role("textbox", name="Code that makes this again").input_value()
    page.keyboard.press("Escape")
    bench.get_by_role("button", name="as a table", exact=True).first.click()
    expect(bench.get_by_role("region", name="What came next?, as a table")).to_be_visible()


def test_keyboard_alone(page, host, open_notebook, write_notebook):
    """Everything of the transport without a mouse; arrows rove inside the strip; a host's own keys stay quiet."""
    bench = open_probe(page, host, open_notebook, write_notebook, TREES.format(tokens=40))
    bench.get_by_role("button", name="Step", exact=True).focus()
    for step in (1, 2, 3):
        page.keyboard.press("ArrowRight")
        at(bench, step, step)
    page.keyboard.press("ArrowLeft")
    at(bench, 2, 3)
    page.keyboard.press("Home")
    at(bench, 0, 3)
    page.keyboard.press("End")
    at(bench, 3, 3)
    quiet(bench)
    cells = page.locator(".jp-Cell").count()
    token = bench.locator(".tl-lane [data-id][tabindex='0']")
    token.focus()
    for key in ("b", "a", "z", "x", "m", "ArrowUp", "ArrowDown", "d", "d"):
        page.keyboard.press(key)
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(bench.locator(".tl-lane [data-id]").nth(1)).to_have_attribute("aria-pressed", "true")
    slider = bench.get_by_role("slider", name="Temperature", exact=True)
    slider.focus()
    page.keyboard.press("b")
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "0.05")
    assert page.locator(".jp-Cell").count() == cells, "a shortcut of the host fired inside the bench"
    at(bench, 3)
    missing = bench.locator("button, input, select, textarea, a, summary, [tabindex]").evaluate_all(UNGUARDED)
    assert missing == []


def test_everything_has_a_name(new_page, open_notebook, write_notebook):
    """No control without an accessible name, on any page."""
    write_notebook(
        "named.ipynb", ["from labkit.ui import Bench\nBench.acceptance(temperature=0.8, autorun=2, max_new_tokens=16)"]
    )
    for notebook in ("named.ipynb", "01_entropy.ipynb", "02_draft_trees.ipynb", "00_welcome.ipynb"):
        page = new_page()
        bench = open_notebook(page, "voila", notebook)
        page.wait_for_function("() => document.querySelector('.tl').dataset.engine === 'here'")
        nameless = bench.locator("button, input, select, textarea, a, [role=button]").evaluate_all(NAMELESS)
        assert nameless == []


def test_dark_by_system_and_by_switch(page, host, open_notebook, write_notebook):
    """The switch turns the bench dark at once; its ground really is dark."""
    bench = open_probe(page, host, open_notebook, write_notebook, TREES.format(tokens=8))
    expect(bench).to_have_attribute("data-theme", "light")
    press(bench, "Dark")
    expect(bench).to_have_attribute("data-theme", "dark")
    ground = bench.evaluate("one => getComputedStyle(one).backgroundColor")
    assert max(int(part) for part in re.findall(r"\d+", ground)[:3]) < 60
    if host == "voila":
        press(bench, "Dark")
        page.emulate_media(color_scheme="dark")
        expect(bench).to_have_attribute("data-theme", "light")  # a person's choice wins over the system's


def test_hostile_text_is_only_text(new_page, host, open_notebook, write_notebook):
    """Markup in a prompt and in generated tokens is shown, never run."""
    bench = open_probe(new_page(), host, open_notebook, write_notebook, FAKE)
    press(bench, "Run")
    expect(bench).to_have_attribute("data-state", "done")
    expect(bench.locator(".tl-lane [data-id='6']").first).to_have_text("<script>alert(1)</script>")
    expect(bench.locator(".tl-lane [data-id='7']").first).to_have_text("<img·src=x·onerror=alert(2)>")
    bench.locator(".tl-lane [data-id='7']").first.click()
    assert bench.locator("script, img").count() == 0
    page = new_page()
    bench = open_probe(page, host, open_notebook, write_notebook, TREES.format(tokens=8))
    press(bench, "edit the prompt")
    bench.get_by_role("textbox", name="Prompt").fill(HOSTILE)
    press(bench, "Use this prompt")
    expect(bench.locator(".tl-lane")).to_contain_text("window")
    quiet(bench)
    shown = "".join(bench.locator(".tl-lane .prompt").all_inner_texts())
    assert shown.replace("·", " ") == HOSTILE
    assert bench.locator("script, img").count() == 0 and page.evaluate("() => window.hacked") is None


def test_an_engine_that_dies_is_told_and_taken_up_again(page, family, open_notebook, write_notebook):
    """kill -9 under a page: one sentence, the trace stays, and after a restart it goes on."""
    port = launch.free_port()

    def start() -> subprocess.Popen:
        child = family.start(launch.engine_command(port), launch.environment(""))
        launch.wait(lambda: launch.listens(port), child, "The engine", 120)
        return child

    child = start()
    code = TREES.format(tokens=60).replace("max_new", f"engine=connect('127.0.0.1:{port}'), max_new")
    write_notebook("dying.ipynb", ["from labkit.engine import connect\n" + code])
    bench = open_notebook(page, "voila", "dying.ipynb")
    press(bench, "Step")
    at(bench, 1, 1)
    quiet(bench)
    before = strip_ids(bench)
    child.send_signal(signal.SIGKILL)
    child.wait()
    expect(bench).to_have_attribute("data-engine", "gone")
    expect(bench.locator(".tl-alarm")).to_be_visible()
    assert strip_ids(bench) == before
    start()
    expect(bench).to_have_attribute("data-engine", "here")
    press(bench, "Step")
    at(bench, 2, 2)
    assert strip_ids(bench)[: len(before)] == before


RIBBON = "11_token_boundaries.ipynb"  # opens with the ribbon, which has tests of its own
SHIPPED = sorted(path.name for path in NOTEBOOKS.glob("[01][0-9]_*.ipynb") if path.name not in ("00_welcome.ipynb", RIBBON))


IN_LAB = SHIPPED if os.environ.get("LABKIT_THOROUGH") else [SHIPPED[0], SHIPPED[2], SHIPPED[-3]]  # in Voila all of them


@pytest.mark.parametrize(("host", "name"), [("voila", name) for name in SHIPPED] + [("lab", name) for name in IN_LAB])
def test_the_shipped_pages_open_with_something_to_see(page, host, open_notebook, name):
    """Each dashboard draws its first steps by itself, with a clean console and no network."""
    bench = open_notebook(page, host, name)
    page.wait_for_function("() => Number(document.querySelector('.tl').dataset.steps) >= 5")
    quiet(bench)
    bench.locator(".tl-panel svg").first.wait_for(state="attached")
    if host == "voila":
        # the page has to fit a small screen without scrolling
        page.wait_for_function("() => document.querySelector('.tl').getBoundingClientRect().bottom <= 800")


def test_welcome_finds_papers(page, host, open_notebook):
    """The catalogue is searched while typing and filtered by theme and by what works."""
    bench = open_notebook(page, host, "00_welcome.ipynb")
    expect(bench).to_have_attribute("data-engine", "here")
    papers = bench.locator(".a-papers")
    expect(papers).to_have_attribute("data-shown", "185")
    bench.get_by_role("searchbox").fill("token recycling")
    expect(bench.locator("tr[data-paper='P025']")).to_be_visible()
    expect(bench.locator("tr[data-paper='P001']")).to_be_hidden()
    bench.get_by_role("searchbox").fill("")
    bench.get_by_role("switch").check()
    expect(bench.locator("tr[data-paper='P025']")).to_contain_text("Token Recycling")
    assert 0 < int(papers.get_attribute("data-shown")) < 185
    assert json.loads(json.dumps(bench.locator(".tl-facts").inner_text())).count("\n") > 3


def test_a_study_grows_its_chart(page, host, open_notebook, write_notebook):
    """Alone on its page it fetches the bench's script from its kernel; Run, Stop and a knob work as everywhere."""
    cell = "from labkit.ui import Bench\nBench.study('agreement', knobs={'texts': 6}, autorun=2)"
    write_notebook("study.ipynb", [cell])
    bench = open_notebook(page, host, "study.ipynb")
    expect(bench).to_have_attribute("data-steps", "2")
    chart = bench.locator(".tl-own .tl-panel:not([hidden])")
    expect(chart).to_have_count(1)
    expect(chart.get_by_role("heading")).to_have_text("Where does the draft agree with the target?")
    expect(bench.locator(".tl-far")).to_contain_text("2 of 6")
    bench.get_by_role("button", name="Run", exact=True).first.click()
    expect(bench).to_have_attribute("data-steps", "6")
    expect(bench).to_have_attribute("data-state", "done")
    expect(bench.locator(".tl-far")).to_contain_text("6 of 6")
    expect(chart.locator(".tl-chart")).to_have_attribute("data-drawn", re.compile(r"\d"))
    served = page.evaluate("performance.getEntriesByType('resource').filter(one => one.name.endsWith('/voila/plotly.js')).length")
    assert served == (host == "voila"), "a dashboard's server has the chart library; elsewhere the kernel is asked"
    chart.get_by_role("button", name="as a table").click()
    shown = [float(cell) for cell in chart.locator("td:nth-child(2)").all_inner_texts()[:8]]
    assert len(shown) == 8 and all(0 < share < 1 for share in shown)


def test_a_live_knob_is_followed_while_it_is_dragged(page, open_notebook, write_notebook):
    """The schedule of a simulated server is drawn anew before the mouse is let go, and is whole in the end."""
    write_notebook("drag.ipynb", ["from labkit.ui import Bench\nBench.study('sarathi', autorun=13)"])
    bench = open_notebook(page, "voila", "drag.ipynb")
    expect(bench).to_have_attribute("data-state", "done")
    words = bench.locator(".tl-chartwords").first
    expect(words).to_contain_text("P = 512, D = 64.")
    slider = bench.locator("[data-knob=prompt] input")
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 15 / 31, middle)
    page.mouse.down()
    for place in (14, 12, 10):
        page.mouse.move(box["x"] + box["width"] * place / 31, middle)
    expect(words).not_to_contain_text("P = 512")
    page.mouse.move(box["x"] + 2, middle)
    page.mouse.up()
    expect(words).to_contain_text("P = 32, D = 4.")
    expect(bench).to_have_attribute("data-state", "done")
    expect(bench).to_have_attribute("data-steps", "12")


def test_the_chart_of_cuts_follows_token_and_knobs(page, open_notebook, write_notebook):
    """An entropy bench under another one shows what each sampler keeps, of the chosen token, at the knobs as they stand."""
    code = START + "Bench.entropy(prompt, temperature=1.0, top_h=0.4, seed=3, max_new_tokens=32, autorun=6, under=True)"
    write_notebook("cuts.ipynb", [code])
    bench = open_notebook(page, "voila", "cuts.ipynb")
    at(bench, 6, 6)
    quiet(bench)
    chart = bench.locator(".tl-own .tl-panel:not([hidden])")
    expect(chart.get_by_role("heading")).to_have_text("What does each sampler keep of this law?")
    expect(bench.locator(".a-curve")).to_have_count(0)
    words = chart.locator(".tl-chartwords")
    tokens = bench.locator(".tl-lane [data-id]")
    before = [tokens.nth(place).text_content() for place in (-2, -5)]
    assert before[0] != before[1]
    expect(words).to_contain_text(re.compile(f"{re.escape(before[0])}” .* at temperature 1\\."))
    tokens.nth(-4).click()
    expect(words).to_contain_text(f"{before[1]}”")
    bench.locator("[data-knob=temperature] input").fill("2")
    expect(words).to_contain_text("at temperature 2.")
    bench.locator("[data-knob='top-h'] input").fill("0.7")
    chart.get_by_role("button", name="as a table").click()
    expect(chart.locator("td:nth-child(1)")).to_contain_text(["raw", "temperature 2", "Top-k 40"])
    expect(chart.get_by_role("cell", name="Top-H 0.7", exact=True)).to_be_visible()
    kept = bench.locator(".tl-disthead").inner_text()
    row = chart.locator("tr", has=page.get_by_role("cell", name="Top-H 0.7", exact=True)).locator("td")
    assert f"{int(row.nth(3).inner_text()):,} of 4,096 kept" in kept, "the page's own cut is the chart's"
    assert bench.get_attribute("data-steps") == "6", "no model ran"
    chart.get_by_role("button", name="as a picture").click()
    bench.locator(".tl-more summary").click()
    bench.locator("[data-knob=method] select").select_option("dyspec")
    expect(chart.first.get_by_role("heading")).not_to_have_text("What does each sampler keep of this law?")
    expect(chart.first.locator(".tl-chart")).to_have_attribute("data-drawn", re.compile(r"\d"))


def test_a_study_under_a_bench_shares_script_and_looks(page, open_notebook, write_notebook):
    """The second bench of a page brings no script, has no head, and follows the switches of the first."""
    cells = ["from labkit.ui import Bench\nBench.decode(method='chain', autorun=4)", "Bench.study('agreement', autorun=1)"]
    write_notebook("two.ipynb", cells)
    first = open_notebook(page, "voila", "two.ipynb")
    guest = page.locator(".tl[data-ready]").nth(1)
    expect(guest).to_have_attribute("data-steps", "1")
    expect(guest.locator(".tl-head")).to_have_count(0)
    first.get_by_role("button", name="Dark", exact=True).click()
    expect(guest).to_have_attribute("data-theme", "dark")
    steps = first.get_attribute("data-steps")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowLeft")  # keys that nobody has the focus for belong to the first bench
    expect(first).to_have_attribute("data-at", str(int(steps) - 1))
    expect(guest).to_have_attribute("data-at", "1")
