"""The views of extraction say what their traces say."""

from __future__ import annotations

import math

import pytest

from labkit import views
from labkit.trace import Trace
from labkit.views import table, theme
from labkit.views.acceptance import wilson
from labkit.views.span_map import LISTED
from labkit.views.text import label

PROMPT = "title = '<b>$x$</b>'\nport_width = 4217\n\nassert port_width =="


@pytest.fixture(scope="module")
def run(traced, shipped32):
    return traced(shipped32, "exact-extract", prompt=PROMPT, knobs={"question": 0, "longest": 6})


@pytest.fixture(scope="module")
def study(traced, shipped32):
    return traced(shipped32, "extraction", prompt="x", knobs={"questions": 4, "longest": 6})


def named(figure):
    return {part.name: part for part in figure.data}


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("upto", [None, 5])
def test_the_map(run, look, upto):
    steps = run.steps[:upto]
    document = steps[-1].notes["tokens"][0]
    figure = views.VIEWS["span_map"](run, upto, theme=look)
    parts = named(figure)
    cells = parts["-ln p of the span"]
    filled = {(x, y): z for y, line in zip(cells.y, cells.z) for x, z in zip(cells.x, line) if z is not None}
    truth = {(step.notes["start"], n): nll for step in steps for n, nll in enumerate(step.notes["column"], 1)}
    assert filled == truth and len(cells.x) == len(document) and len(cells.y) == 6
    text = {place: "".join(run.pieces[token] for token in document[place[0] :][: place[1]]) for place in filled}
    for (x, y), nll in filled.items():
        assert cells.hovertext[y - 1][x] == f"{label(text[x, y], 48)}<br>{nll:.2f} nats"
    best = min(truth, key=truth.get)
    assert (parts["most probable span"].x[0], parts["most probable span"].y[0]) == best
    assert cells.colorscale[0][1] == theme.colours(look)["e6"], "the likeliest are the strongest"
    words = figure.layout.meta["words"]
    assert f"Passes {len(steps)} of {len(run.steps)}." in words and f"{len(truth):,} spans" in words
    assert f"“{label(text[best].strip(), 40)}” ({truth[best]:.2f} nats)" in words
    listed = table.table("span_map", run, upto).rows
    assert len(listed) == min(LISTED, len(truth))
    assert listed[0] == (text[best], *best, truth[best], math.exp(-truth[best]))
    assert [row[3] for row in listed] == sorted(truth.values())[: len(listed)]


def test_the_map_marks_what_greedy_found(run):
    """Here all three agree; the marks of those that need every pass come with the last one."""
    notes = run.steps[-1].notes
    parts = named(views.VIEWS["span_map"](run))
    for name, span in (("greedy among spans", notes["greedy"]), ("greedy, free", notes["free"]["span"])):
        assert (parts[name].x[0], parts[name].y[0]) == tuple(span[:2]) == tuple(notes["best"][:2])
        assert name not in named(views.VIEWS["span_map"](run, 3))
    words = views.VIEWS["span_map"](run).layout.meta["words"]
    assert "greedy among spans finds it" in words and words.count("“4217”") == 2
    assert "no span so far" in views.VIEWS["span_map"](run, 3).layout.meta["words"]


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("upto", [None, 6])
def test_the_shares(study, look, upto):
    notes = study.steps[:upto][-1].notes
    figure = views.VIEWS["extraction"](study, upto, theme=look)
    known = {(result["kind"], result["examples"]): result for result in notes["results"] if result.get("questions")}
    assert len(known) == (8 if upto is None else 6)
    rows = table.table("extraction", study, upto).rows
    assert len(rows) == 3 * len(known)
    for name, kind, examples, asked, right, low, high, mean in rows:
        result, number = known[kind, examples], notes["decoders"].index(name)
        assert (asked, right) == (result["questions"], result[f"right {number}"])
        assert (low, high) == wilson(right, asked) and mean == result[f"F1 {number}"] / asked
    for number, part in enumerate(figure.data):
        kind = ("value", "import")[number // 3]
        ours = [row for row in rows if row[:2] == (part.name, kind)]
        assert [round(x) for x in part.x] == [row[2] for row in ours]
        assert list(part.y) == [row[4] / row[3] for row in ours]
        assert [y + up for y, up in zip(part.y, part.error_y.array)] == pytest.approx([row[6] for row in ours])
        assert [y - down for y, down in zip(part.y, part.error_y.arrayminus)] == pytest.approx([row[5] for row in ours])
    plain = [known[kind, 0] for kind in ("value", "import")]
    asked, right = (sum(result[key] for result in plain) for key in ("questions", "right 0"))
    assert f"right of {asked}: exact-extract {right}," in figure.layout.meta["words"]


@pytest.mark.parametrize("name", ["span_map", "extraction"])
def test_nothing_yet(name, run):
    figure = views.VIEWS[name](Trace(run.opening))
    assert not any(len(part.x or ()) for part in figure.data) and figure.layout.meta["words"].endswith(".")
