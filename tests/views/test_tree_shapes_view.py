"""The lines of the tree shapes are the counts in the notes, divided."""

from __future__ import annotations

import pytest

from labkit import views
from labkit.trace import Opening, Request, Step, Trace
from labkit.views import table
from labkit.views.tree_shapes import LOOKS, PANELS


def row(shape: str, m: int, rounds: int = 10, tokens: int = 25) -> dict:
    counts = {"prompts": 2, "rounds": rounds, "tokens": tokens, "nodes": m * rounds, "accepted": tokens - rounds}
    return {"shape": shape, "budget": m, **counts, "draft_calls": 3 * rounds, "seconds": 0.5}


@pytest.fixture
def study():
    """Three frames: two shapes, all with 4 nodes, and some with 8."""
    trace = Trace(Opening(Request(method="tree-shapes"), [1], charts=["tree_shapes"]))
    rows = [row("chain", 4), row("2-ary", 4, tokens=21)]
    four = [row(shape, 4, tokens=20 + place) for place, shape in enumerate(LOOKS)]
    for some in (rows, four, [*four, row("chain", 8, tokens=40)]):
        trace.add(Step([], notes={"done": len(some), "of": 10, "temperature": 0.5, "rows": some}))
    return trace


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("upto", [1, 2, 3])
def test_lines_are_the_counts(study, look, upto):
    figure = views.VIEWS["tree_shapes"](study, upto, theme=look)
    known = study.steps[upto - 1].notes["rows"]
    shapes = {one["shape"] for one in known}
    assert len(figure.data) == len(PANELS) * len(shapes)
    for line in figure.data:
        mine = [one for one in known if one["shape"] == line.name]
        due = {
            None: [one["tokens"] / one["rounds"] for one in mine],
            "y": [one["tokens"] / one["rounds"] for one in mine],
            "y2": [one["draft_calls"] / one["rounds"] for one in mine],
            "y3": [1e3 * one["seconds"] / one["tokens"] for one in mine],
        }
        assert list(line.x) == [one["budget"] for one in mine]
        assert list(line.y) == pytest.approx(due[line.yaxis])
    assert len(table.table("tree_shapes", study, upto).rows) == len(known)


def test_the_sentence_says_who_wins(study):
    def words(upto):
        return views.VIEWS["tree_shapes"](study, upto).layout.meta["words"]

    assert "as many nodes" in words(1), "no verdict before all shapes have run"
    assert "At temperature 0.5 with 4 nodes, over 2 prompts, the better DySpec wins: 2.40" in words(2)
    assert words(3) == words(2), "the largest budget that all shapes have been tried with"
    for one in study.steps[1].notes["rows"]:
        one["tokens"] += 10 * (one["shape"] == "static")
    assert "loses: 2.40 tokens a target call (threshold), the best other shape 3.20 (static)." in words(2)


def test_nothing_yet(study):
    figure = views.VIEWS["tree_shapes"](study, 0)
    assert not figure.data and figure.layout.title.text
