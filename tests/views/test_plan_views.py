"""The planning charts say what the trace says, at every step."""

from __future__ import annotations

import pytest

from labkit.run import run
from labkit.tasks import kit
from labkit.trace import Request, Trace
from labkit.views import plan_cost, plan_race, plan_tree, view
from labkit.views.text import label


def whole(pair, **ask) -> Trace:
    events = run(pair, Request(**ask))
    trace = Trace(next(events))
    for event in events:
        trace.add(event)
    return trace


@pytest.fixture(scope="module")
def planned(shipped32):
    prompt = next(task.prompt for task in kit("hole") if task.name == "running")
    return whole(shipped32, method="pg-td", prompt=prompt)


@pytest.fixture(scope="module")
def raced(shipped32):
    return whole(shipped32, method="planning", prompt="x", knobs={"tasks": 2, "budget": 40})


def drawn(figure, name):
    return next(part for part in figure.data if part.name == name)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("upto", [1, 5, None])
def test_the_tree(planned, upto, theme):
    notes = planned.steps[(upto or 0) - 1].notes
    figure = view("plan_tree")(planned, upto, theme=theme)
    visited = [node for node, visits in enumerate(notes["tree"]["visits"]) if visits]
    marks = [part for part in figure.data if part.mode.startswith("markers")]
    assert sorted(name for part in marks for name in part.text) == sorted(
        label(planned.pieces[notes["tree"]["tokens"][node]], 10) for node in visited
    )
    table = plan_tree.rows(planned, upto)
    assert [row[0] - 1 for row in table] == visited
    assert [row[4] for row in table] == [notes["tree"]["visits"][node] for node in visited]
    assert [row[5] for row in table] == [notes["tree"]["q"][node] for node in visited]
    assert [row[0] - 1 for row in table if row[6]] == sorted(notes["path"])
    solved = [part for part in marks if part.marker.symbol == "diamond"]
    assert sum(len(part.x) for part in solved) == sum(notes["tree"]["q"][node] == 1 for node in visited)
    places = [(x, y) for part in marks for x, y in zip(part.x, part.y)]
    assert len(set(places)) == len(visited), "no two places lie on each other"
    depths = {}
    for node in visited:
        depths[node] = 1 + depths.get(notes["tree"]["parents"][node], 0)
    assert sorted(x for x, _ in places) == sorted(depths.values())


@pytest.mark.parametrize(("q", "level"), [(0.0, 0), (0.1, 1), (0.5, 1), (0.51, 2), (0.99, 2), (1.0, 3), (1.05, 3)])
def test_levels(q, level):
    assert plan_tree._level(q) == level


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("upto", [1, 5, None])
def test_what_it_cost(planned, upto, theme):
    rollouts = len(planned.steps) - 1
    steps = planned.steps[: min(upto or rollouts, rollouts)]
    figure = view("plan_cost")(planned, upto, theme=theme)
    best = drawn(figure, "best so far")
    assert list(best.x) == [step.notes["forwards"] for step in steps]
    assert list(best.y) == [step.notes["best"] for step in steps]
    assert len(drawn(figure, plan_cost.NEW).x) == sum(step.notes["source"] == "written" for step in steps)
    saved = steps[-1].notes["saved"]
    assert list(figure.data[-1].x) == [steps[-1].notes["forwards"], saved["programs"], saved["lists"]]
    assert steps[-1].notes["forwards"] == sum(step.cost.target_forwards for step in steps), "what it says is what was counted"
    assert f"{saved['programs'] + saved['lists']:,} more, and {saved['tests']:,} test runs" in figure.layout.meta["words"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_race(raced, theme):
    notes = raced.steps[-1].notes
    figure = view("plan_race")(raced, theme=theme)
    for way, runs in notes["runs"].items():
        left, right = (part for part in figure.data if part.name == way)
        assert left.x[-1] == max([notes["budget"], *(moment[0] for run in runs for moment in run)])
        assert left.y[-1] == pytest.approx(sum(run[-1][1] for run in runs) / 2)
        assert right.y[-1] == pytest.approx(sum(run[-1][2] for run in runs) / 2)
        assert (left.y[0], right.y[0]) == (0, 0), "before the first forward there is nothing"


def test_the_race_counts_tasks_that_every_way_had(raced):
    for upto, step in enumerate(raced.steps, 1):
        ends = {row[0]: row for row in plan_race.rows(raced, upto)}
        for way, row in ends.items():
            runs = step.notes["runs"][way][: max(1, step.notes["done"])]
            assert row[2] == pytest.approx(sum(run[-1][1] for run in runs) / len(runs))


@pytest.mark.parametrize("name", ["plan_tree", "plan_cost", "plan_race"])
def test_before_the_first_step(name, planned):
    figure = view(name)(Trace(planned.opening))
    assert figure.layout.title.text and figure.layout.meta["words"].endswith(".")
