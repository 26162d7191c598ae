"""The charts that methods and studies bring along: drawn from real runs, whatever is registered."""

from __future__ import annotations

import json
import re

import pytest

from labkit import views
from labkit.methods import all_methods, all_studies
from labkit.run import run
from labkit.trace import Closing, Request, Trace, loads
from labkit.ui import sweep
from labkit.views import table

OWNERS = sorted(name for name, cls in (all_methods() | all_studies()).items() if cls.charts)
PROMPT = "class Queue:\n    def __init__(self, items=None):\n        self.items = '<b>$x$</b>'\n\n    def put(self"
STEPS = 3
LATER = {  # knobs, and steps until all of its charts have changed
    "cache-race": ({"count": 1, "distance": "100-300"}, 8),
    "layer-race": ({"count": 1, "distance": "100-300"}, 3),
    "storage-race": ({"count": 1, "distance": "100-300"}, 6),
    "dhsa-recall": ({"texts": 2}, 2),
    "adaspec": ({"gradient_steps": 10, "width": 32}, 14),
    "mixture": ({"merges": 10, "kilobytes": 10}, 14),
    "charbench": ({}, 5),
    "pause-or-try": ({"texts": 2, "places": 2, "tokens": 8}, 12),
    "premiums": ({}, 8),
    "truncations": ({"texts": 2, "tokens": 8}, 5),
    "number-chunks": ({"digits": 9, "items": 18}, 6),
    "any-order": ({"texts": 1, "room": 8}, 4),
    "unmask-race": ({"texts": 1, "room": 8}, 5),
    "leap-agreement": ({"texts": 1, "room": 8}, 8),
    "prophet-settled": ({"task": "copy", "n": 3}, 6),
    "tensorbleu": ({"texts": 2, "tokens": 8, "batch": 16}, 5),
}
HEAVIEST = 400_000  # characters of a figure; it crosses to the page on every step
TAG = re.compile(r"<(?!/?(?:br|s|b|i)>)")


@pytest.fixture(scope="module", params=OWNERS)
def traced(request, shipped32):
    """The first steps of a real run."""
    cls = (all_methods() | all_studies())[request.param]
    knobs, enough = LATER.get(request.param, ({}, STEPS))
    asked = Request(method=request.param, prompt=PROMPT, knobs=knobs, temperature=0.0 if cls.writes else 1.0, max_new_tokens=24)
    events = run(shipped32, asked)
    trace = Trace(next(events))
    for event in events:
        trace.add(event)
        if isinstance(event, Closing) or len(trace.steps) == enough:
            break
    events.close()
    return trace


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from strings(one)


@pytest.mark.parametrize("look", ["light", "dark"])
def test_its_charts_draw(traced, look):
    names, saved = traced.opening.charts, loads(traced.dumps())
    assert names and len(names) <= 4
    for name in names:
        figure = views.view(name)(traced, theme=look)
        text = figure.to_json()
        assert figure.data or figure.layout.annotations, name
        assert figure.layout.title.text and figure.layout.meta["words"].endswith("."), name
        assert len(text) < HEAVIEST and "NaN" not in text and "colorway" not in text, name
        assert text == views.view(name)(saved, theme=look).to_json(), "a saved trace draws the same"
        assert table.table(name, traced).rows, name


def test_they_follow_the_steps(traced):
    for name in traced.opening.charts:
        draw = views.view(name)
        assert draw(traced, 0).layout.title.text, "nothing yet is drawn too"
        first = Trace(traced.opening, traced.steps[:1])
        assert draw(first).to_json() == draw(traced, 1).to_json()
        later = {draw(traced, upto).to_json() for upto in range(2, len(traced.steps) + 1)}
        assert not later or later != {draw(first).to_json()}


def test_no_token_text_becomes_markup(traced):
    for name in traced.opening.charts:
        for text in strings(json.loads(views.view(name)(traced).to_json())):
            assert not TAG.search(text), text


def test_every_chart_has_a_view_and_every_view_an_owner():
    charts = {chart for cls in (all_methods() | all_studies()).values() for chart in cls.charts}
    own = {"strip", "entropy", "next_token", "draft_tree", "acceptance", "block_efficiency", "cost", *sweep.CHARTS}
    assert charts | own == set(views.VIEWS)
