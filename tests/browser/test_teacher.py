"""The teacher's page beside students' pages: who is here, and a trace that reaches every bench."""

from __future__ import annotations

from playwright.sync_api import expect

from labkit.trace import Opening, Request, Step, Trace

NAME = "<img src=x onerror=alert(1)>"  # what a person types is text, wherever it is shown
PIECES = {1: "shown", 2: " by", 3: " the", 4: " teacher"}
SHOWN = Trace(Opening(Request(method="plain", prompt="shown"), [1], pieces=PIECES), [Step([token]) for token in (2, 3, 4)])


def test_a_trace_is_shown_to_everybody_and_nobody_loses_a_run(new_page, voila, open_notebook, write_notebook):
    write_notebook("student.ipynb", ["from labkit.ui import Bench\nBench.entropy('def read', autorun=3)"])
    student, teacher = new_page(), new_page()
    bench = open_notebook(student, "voila", "student.ipynb")
    expect(bench).to_have_attribute("data-steps", "3", timeout=60_000)  # the engine may still be loading its models
    own = bench.locator(".a-strip .tl-lane").inner_text()
    desk = open_notebook(teacher, "voila", "90_teacher.ipynb")

    expect(desk.locator("tbody tr").filter(has_text="student")).to_have_count(1)
    desk.get_by_role("button", name="Show it to everyone").click()
    expect(desk.get_by_text("No trace is chosen")).to_be_visible()
    desk.locator("#tl-trace").set_input_files({"name": "run.json", "mimeType": "application/json", "buffer": b"{}"})
    desk.get_by_role("button", name="Show it to everyone").click()
    expect(desk.get_by_text("This is no whole trace")).to_be_visible()
    desk.locator("#tl-trace").set_input_files({"name": "run.json", "mimeType": "application/json", "buffer": SHOWN.dumps()})
    desk.locator("#tl-tracename").fill(NAME)
    desk.get_by_role("button", name="Show it to everyone").click()
    expect(desk.get_by_text(f"Everybody is shown “{NAME}”.")).to_be_visible()

    line = bench.locator(".tl-teacher")
    expect(line).to_contain_text(NAME)
    line.get_by_role("button", name="Open").click()
    expect(bench.locator(".a-strip .tl-lane")).to_contain_text("teacher")
    line.get_by_role("button", name="Back to mine").click()
    expect(bench.locator(".a-strip .tl-lane")).to_contain_text("read")
    assert bench.locator(".a-strip .tl-lane").inner_text() == own
    line.get_by_role("button", name="Not now").click()
    expect(line).to_be_hidden()

    desk.locator("#tl-once").check()
    desk.locator("#tl-tracename").fill("at once")
    desk.get_by_role("button", name="Show it to everyone").click()
    expect(bench.locator(".a-strip .tl-lane")).to_contain_text("teacher")
    desk.get_by_role("button", name="Take it back").click()
    expect(line).to_contain_text("nothing more")
    line.get_by_role("button", name="Back to mine").click()
    expect(bench.locator(".a-strip .tl-lane")).to_contain_text("read")
    assert bench.locator(".a-strip .tl-lane").inner_text() == own
