"""The charts of an edited cache: their numbers are those of the trace, at every step."""

from __future__ import annotations

import pytest

from labkit import views
from labkit.run import run
from labkit.trace import Request, Trace
from labkit.views import edit_cost, edit_errors, edit_laws, edit_ruler, table

NAMES = ("edit_ruler", "edit_laws", "edit_errors", "edit_cost")
PROMPT = "class Queue:\n    def __init__(self, items=None):\n        self.items = '<b>$x$</b>'\n\n    def put(self"


@pytest.fixture(scope="module")
def trace(shipped32):
    asked = Request(method="edit-cache", prompt=PROMPT, knobs={"length": 3, "texts": 2}, max_new_tokens=1)
    events = run(shipped32, asked)
    whole = Trace(next(events))
    for event in events:
        whole.add(event)
    return whole


@pytest.fixture(params=[1, 2, 3, None])
def upto(request):
    return request.param


def notes(trace, upto):
    return (trace.steps if upto is None else trace.steps[:upto])[-1].notes


def series(figure, name, number=0):
    return [data for data in figure.data if data.name == name][number]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_ruler_shows_every_run(trace, upto, theme):
    figure, found = views.view("edit_ruler")(trace, upto, theme=theme), notes(trace, upto)["ruler"]
    for kind in ("before the edit", "new", "behind the edit"):
        bars = series(figure, kind)
        runs = [run for run in found["runs"] if run[3] == kind]
        assert list(bars.x) == [run[2] for run in runs] * 2
        assert list(bars.base) == [run[0] - 0.5 for run in runs] + [run[1] - 0.5 for run in runs]
    double = series(figure, "double")
    assert (double.base[0] + 0.5, double.x[0]) == (found["collisions"][0], found["collisions"][1] - found["collisions"][0])
    longer = sum(run[2] for run in found["runs"]) - len(trace.opening.prompt_ids)
    assert f"{longer} tokens longer" in figure.layout.meta["words"]
    assert "|" in figure.layout.annotations[0].text


def test_the_ruler_draws_pies_cache_without_holes(trace, upto):
    mine = [row for row in edit_ruler.rows(trace, upto) if row[0] == "PIE"]
    assert mine[0][2] == 0 and all(one[3] + 1 == two[2] for one, two in zip(mine, mine[1:]))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_laws_and_divergences(trace, upto, theme):
    figure, found = views.view("edit_laws")(trace, upto, theme=theme), notes(trace, upto)
    for name, key in (("full recompute", "full"), ("PIE", "PIE"), ("no rotation", "no rotation")):
        assert list(series(figure, name).y) == found["laws"][key]
    for number, name in enumerate(("PIE", "no rotation")):
        assert list(series(figure, name, 1).y) == [max(row[number], edit_laws.LEAST) for row in found["trail"]]
    assert len(found["trail"]) == min(3, upto or 3)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_errors_by_layer_and_held_out_texts(trace, upto, theme):
    figure, found = views.view("edit_errors")(trace, upto, theme=theme), notes(trace, upto)
    assert list(series(figure, "keys, PIE").y) == found["errors"]["PIE"]["keys"]
    assert list(series(figure, "values, PIE").y) == found["errors"]["PIE"]["values"]
    assert list(series(figure, "keys, no rotation").y) == found["errors"]["no rotation"]["keys"]
    points = series(figure, "held-out texts")
    assert list(points.y) == [max(ours, edit_errors.LEAST) for ours, _ in found["texts"]]
    assert list(points.x) == [max(theirs, edit_errors.LEAST) for _, theirs in found["texts"]]
    assert len(found["texts"]) == (2 if upto is None else 0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_costs_are_summed_over_the_edits(trace, upto, theme):
    figure = views.view("edit_cost")(trace, upto, theme=theme)
    edits = [step.notes["costs"] for step in trace.steps[: min(3, upto or 3)]]
    for name, key in (("full recompute", "full"), ("PIE", "PIE")):
        assert list(series(figure, name).y) == [sum(one[key][0] for one in edits[: n + 1]) for n in range(len(edits))]
        assert series(figure, name, 1).y[-1] == pytest.approx(sum(one[key][1] for one in edits))
    last = edit_cost.rows(trace, upto)[-1]
    assert last[2] == 2 * len(edits) < last[1]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_yet(trace, name):
    figure = views.view(name)(Trace(trace.opening))
    assert figure.layout.title.text and figure.layout.meta["words"].endswith(".")
    assert all(not len(data.y) for data in figure.data if data.name != "equal")


def test_tables_show_whitespace(trace):
    assert table.table("edit_laws", trace).columns[0] == "token"
    assert all(" " not in row[0] and "\n" not in row[0] for row in table.table("edit_laws", trace).rows)
