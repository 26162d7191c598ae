"""Walks, strands, costs and the trap: what the figures hold is what the notes say."""

from __future__ import annotations

import math

import pytest

from labkit import views
from labkit.errors import LabError
from labkit.run import run
from labkit.trace import Request, Trace, loads
from labkit.views import constraint_costs, constraint_toy, strands, table, walk

PROMPT = '# Settings, one JSON object a line\n{"name": "width", "default": 80, "unit": "px"}\n'
OWN = ("walk", "strands", "constraint_costs", "constraint_toy")


@pytest.fixture(scope="module")
def written(shipped32, traced):
    """Six particles under JSON with a resampling, read back from its file."""
    trace = traced(shipped32, "awrs", prompt=PROMPT, knobs={"count": 6}, temperature=1.0, max_new_tokens=28, seed=10)
    assert any("parents" in step.notes for step in trace.steps) and "picked" in trace.steps[-1].notes
    return loads(trace.dumps())


@pytest.fixture(scope="module")
def measured(shipped32):
    """A small study, whole, read back from its file."""
    knobs = {"texts": 1, "rounds": 5}
    events = run(shipped32, Request(method="constraints", prompt="x", knobs=knobs, temperature=1.0, seed=1))
    trace = Trace(next(events))
    for event in events:
        trace.add(event)
    return loads(trace.dumps())


def named(figure) -> dict:
    return {one.name: one for one in figure.data}


@pytest.mark.parametrize("look", ["light", "dark"])
def test_a_walk_is_its_tests(written, look):
    for upto in range(1, len(written.steps) + 1):
        notes = written.steps[upto - 1].notes
        tests = notes["walks"][notes["shown"]]
        assert max(map(len, notes["walks"])) == len(tests), "the longest walk is shown"
        drawn = named(views.view("walk")(written, upto, theme=look))
        for name, verdict in (("allowed", True), ("refused", False)):
            due = [(rank + 1, p) for _, p, rank, ok in tests if ok == verdict]
            assert (list(zip(drawn[name].x, drawn[name].y)) if name in drawn else []) == due
        assert list(zip(drawn["the model's law"].x, drawn["the model's law"].y)) == [(r + 1, p) for r, p in notes["curve"]]
        rows = walk.rows(written, upto)
        assert [row[0] for row in rows] == list(range(1, len(tests) + 1))
        assert [row[1] for row in rows] == [written.pieces[token] for token, *_ in tests]


def test_a_walk_says_what_it_cost(written):
    notes = written.steps[-1].notes
    words = views.view("walk")(written).layout.meta["words"]
    assert f"So far {notes['asked'] / notes['moves']:,.1f} questions a token; the vocabulary has 4,096." in words


def test_strands_follow_the_particles(written):
    """Shares are weights normalised, a strand leads from the particle it was copied from and keeps its line."""
    before = None
    for upto in range(1, len(written.steps) + 1):
        notes = written.steps[upto - 1].notes
        now = [knot for knot in strands.knots(written, upto) if knot.step == upto]
        total = sum(math.exp(one) for one in notes["logw"] if one is not None)
        for slot, knot in enumerate(now):
            weight = notes["logw"][slot]
            assert knot.share == pytest.approx(0 if weight is None else math.exp(weight) / total)
            assert (knot.slot, knot.token, knot.ended) == (slot, notes["chosen"][slot], notes["ended"][slot])
            if before:
                parents = before[1].get("parents") or range(6)
                assert knot.source == parents[slot] and knot.line == before[0][parents[slot]].line
        before = (now, notes)
    assert len({knot.line for knot in now}) < 6, "some strands have ended"


@pytest.mark.parametrize("look", ["light", "dark"])
def test_strands_are_drawn_where_they_are(written, look):
    figure = views.view("strands")(written, 6, theme=look)
    knots = strands.knots(written, 6)
    drawn = {(x, y) for one in figure.data if one.mode == "lines" for x, y in zip(one.x, one.y) if x is not None}
    assert {(knot.step, knot.slot + 1) for knot in knots if knot.logw is not None} <= drawn
    marks = named(figure)
    due = [(knot.step, knot.slot + 1) for knot in knots if knot.token is not None and not knot.ended]
    assert list(zip(marks["written"].x, marks["written"].y)) == due
    whole = views.view("strands")(written, theme=look)
    assert max(x for one in whole.data for x in one.x if x is not None) == len(written.steps)
    assert "was drawn as the answer" in whole.layout.meta["words"]
    assert len(strands.rows(written)) == 6 * len(written.steps) == len(table.table("strands", written).rows)


@pytest.mark.parametrize("look", ["light", "dark"])
def test_costs_are_the_counts(measured, look):
    for upto in (3, len(measured.steps)):
        notes = measured.steps[upto - 1].notes
        drawn = named(views.view("constraint_costs")(measured, upto, theme=look))
        costs = notes["costs"]
        assert list(drawn["AWRS"].y) == [one["tests"] / one["moves"] for one in costs.values()]
        assert list(drawn["mask, shared"].y) == [one["shared"] / one["masks"] for one in costs.values()]
        assert list(drawn["mask, every token"].y) == [one.get("every") for one in costs.values()]
        line = drawn[None] if None in drawn else next(one for one in drawn.values() if one.type == "scatter")
        assert list(line.y) == [one["tests"] / one["moves"] for one in notes["bins"] if one]
    assert set(costs) == {"JSON", "Python", "a date", "no letter e", "word list"}
    assert notes["done"] == notes["of"]
    assert all(one["every"] > 3900 for one in costs.values())
    assert [row[0] for row in constraint_costs.rows(measured)] == list(costs)


@pytest.mark.parametrize("look", ["light", "dark"])
def test_the_trap_is_what_was_counted(measured, look):
    for upto in (2, len(measured.steps)):
        toy = measured.steps[upto - 1].notes["toy"]
        bars, points = views.view("constraint_toy")(measured, upto, theme=look).data
        assert list(bars.y) == [one["trapped"] / one["texts"] for one in toy["found"].values()]
        assert list(points.y) == [mean for mean, _ in toy["masses"].values()]
    assert [row[0] for row in constraint_toy.rows(measured)] == ["masking", "N = 1", "N = 8", "N = 64", "start again"]
    assert all(row[1] == 5 for row in constraint_toy.rows(measured))
    exact = toy["exact"]
    assert exact["mass"] == pytest.approx(0.9 * 0.01 + 0.1 * 0.9)
    assert exact["share"] == pytest.approx(0.009 / 0.099) and exact["masking"] / exact["share"] == pytest.approx(9.9)


@pytest.mark.parametrize("name", OWN)
def test_nothing_yet_and_notes_of_another(name, written):
    empty = Trace(written.opening)
    assert views.view(name)(empty).layout.title.text and not views.view(name)(empty).data
    other = Trace(written.opening, [type(written.steps[0])(emitted=[])])
    with pytest.raises(LabError, match="notes of another method"):
        views.figure(name, [other])
