"""The curves of PrefixKV, its line and its bars are the notes of the search, halving by halving."""

from __future__ import annotations

import pytest

from labkit import views
from labkit.run import run
from labkit.trace import Request, Trace, loads
from labkit.views import prefix_curves

PROMPT = "class Config:\n    limit = 2485\n    name = 'alpha'\n\n\ndef size(self):\n    return self.limit\nassert Config.limit =="


@pytest.fixture(scope="module")
def searched(shipped32):
    trace = Trace(None)
    for event in run(shipped32, Request(method="prefix-search", prompt=PROMPT)):
        trace.add(event)
    return loads(trace.dumps())


@pytest.mark.parametrize("upto", [1, 3, None])
@pytest.mark.parametrize("look", ["light", "dark"])
def test_the_line_slides_with_the_halvings(searched, upto, look):
    notes = searched.steps[(upto or len(searched.steps)) - 1].notes
    lines = [height for height, _ in notes["lines"]]
    assert len(lines) == (upto or len(searched.steps) - 1)
    figure = views.view("prefix_curves")(searched, upto, theme=look)
    drawn = {one.name: one for one in figure.data}
    for layer, heights in enumerate(notes["curves"]):
        assert list(drawn[f"layer {layer}"].y) == [0, *heights] and list(drawn[f"layer {layer}"].x) == [0, *notes["ranks"]]
    assert [shape.y0 for shape in figure.layout.shapes] == lines
    assert list(drawn["the line"].x) == notes["counts"] and set(drawn["the line"].y) == {lines[-1]}
    for name, kept in notes["kept"].items():
        assert list(drawn[name].y) == kept
    table = prefix_curves.rows(searched, upto)
    assert [row[1] for row in table] == notes["counts"] and [row[2] for row in table] == notes["kept"]["PrefixKV"]
    words = figure.layout.meta["words"]
    assert f"Halving {len(lines)}:" in words and (f"{max(notes['kept']['PrefixKV'])}." in words) == notes["final"]


def test_the_last_step_is_rescaled_to_the_budget(searched):
    *search, last = (step.notes for step in searched.steps)
    assert sum(last["kept"]["PrefixKV"]) == last["target"] == sum(last["kept"]["uniform"])
    assert [one["final"] for one in search] == [False] * len(search) and last["final"]


@pytest.mark.parametrize("look", ["light", "dark"])
def test_without_steps_there_is_a_sentence(searched, look):
    figure = prefix_curves.prefix_curves(searched, 0, theme=look)
    assert not figure.data and figure.layout.title.text and figure.layout.meta["words"].endswith(".")
    assert not prefix_curves.rows(searched, 0)
