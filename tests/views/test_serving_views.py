"""The charts of serving: their numbers are those of the trace, at any step, in both themes, and before there is any."""

from __future__ import annotations

import pytest

from labkit import views
from labkit.run import run
from labkit.trace import Opening, Request, Step, Trace
from labkit.views import pipeline_bubbles, pipeline_lanes, serving_cost, serving_gantt, serving_waits

GANTT, WAITS, COST, LANES, BUBBLES = (
    "serving_gantt",
    "serving_waits",
    "serving_cost",
    "pipeline_lanes",
    "pipeline_bubbles",
)
KNOBS = {"count": 4, "prompt": 256, "chunk": 128, "size": 3, "every": 6}


def traced_of(pair, method, knobs):
    trace = Trace(None)
    for event in run(pair, Request(method=method, prompt="a", knobs=knobs)):
        trace.add(event)
    return trace


@pytest.fixture(scope="module")
def served(shipped32):
    return traced_of(shipped32, "sarathi", KNOBS)


@pytest.fixture(scope="module")
def piped(shipped32):
    return traced_of(shipped32, "sarathi-stages", {"stages": 3, "prompt": 256, "size": 3})


@pytest.mark.parametrize("upto", [1, 5, None])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_gantt_holds_every_iteration(served, upto, theme):
    notes = served.steps[(upto or len(served.steps)) - 1].notes
    table = serving_gantt.rows(served, upto)
    for policy, turns in notes["runs"].items():
        mine = [row for row in table if row[0] == policy]
        chunks = [(number, begin, end, rows) for begin, end, reads, _ in turns for number, rows in reads]
        reads = [(row[1], row[3], row[4], row[5]) for row in mine if row[2] == "is read"]
        assert sorted(reads) == sorted(chunks)
        written = sum(row[5] for row in mine if row[2] == "is written")
        assert written == sum(len(turn[3]) for turn in turns)
        for number, arrival in enumerate(notes["arrivals"]):  # a life without holes from its arrival on
            life = [row for row in mine if row[1] == number]
            assert all(before[4] == after[3] for before, after in zip(life, life[1:]))
            assert not life or life[0][3] == pytest.approx(arrival)
    figure = views.view(GANTT)(served, upto, theme=theme)
    for place, due in (("base", [row[3] for row in table]), ("x", [row[4] - row[3] for row in table])):
        assert sorted(value for bars in figure.data for value in bars[place]) == sorted(due)
    assert figure.layout.meta["wide"] and figure.layout.xaxis.range[1] == notes["end"]


def test_only_prefill_first_stalls(served):
    assert {row[0] for row in serving_gantt.rows(served) if row[2] == "stalls"} == {"prefill first"}


@pytest.mark.parametrize("upto", [5, None])
def test_the_waits_are_those_between_tokens(served, upto):
    notes = served.steps[(upto or len(served.steps)) - 1].notes
    table = serving_waits.rows(served, upto)
    for policy, turns in notes["runs"].items():
        times = serving_waits.told(turns, notes["prompt"])
        tokens = sum(len(turn[3]) for turn in turns) + sum(
            sum(rows for turn in turns for one, rows in turn[2] if one == number) == notes["prompt"]
            for number in range(KNOBS["count"])
        )
        assert sum(map(len, times.values())) == tokens
        mine = [row for row in table if row[0] == policy]
        if found := serving_waits.gaps(times):
            assert (mine[0][2], mine[-1][2]) == (found[0], found[-1]) and len(mine) == 101
            assert [row[2] for row in mine] == sorted(row[2] for row in mine)
            assert f"{policy} {found[-1]:,.0f} (" in views.view(WAITS)(served, upto).layout.meta["words"]
    figure = views.view(WAITS)(served, upto, theme="dark")
    assert [value for curve in figure.data for value in curve.y] == [row[2] for row in table]


def test_the_costs_are_the_clocks(served):
    table = serving_cost.rows(served)
    cost = served.steps[-1].notes["cost"]
    assert [row[0] for row in table] == [1, 2]
    for row, (decodes, alone, riding, own) in zip(table, cost):
        assert row[1:] == pytest.approx((1000 * alone / decodes, 1000 * riding / decodes, 1000 * own))
    figure = views.view(COST)(served, theme="dark")
    assert [list(curve.y) for curve in figure.data] == [[row[1] for row in table], [row[2] for row in table]]
    turns = served.steps[-1].notes["runs"]["SARATHI"]
    rode = sum(len(turn[3]) for turn in turns if turn[2])
    assert f"let {rode} of {sum(len(turn[3]) for turn in turns)} ride" in figure.layout.meta["words"]


@pytest.mark.parametrize("upto", [1, 2, None])
def test_the_pipeline_is_drawn_as_it_ran(piped, upto):
    notes = piped.steps[(upto or len(piped.steps)) - 1].notes
    table = pipeline_lanes.rows(piped, upto)
    assert len(table) == notes["stages"] * sum(len(turns) for turns in notes["runs"].values())
    figure = views.view(LANES)(piped, upto, theme="dark")
    assert sorted(x for bars in figure.data for x in bars.x) == pytest.approx(sorted(row[3] - row[2] for row in table))
    begins, shown = sorted(base for bars in figure.data for base in bars.base), figure.layout.xaxis.range
    assert begins == sorted(row[2] for row in table) and shown[0] == 0 < shown[1]
    for policy, stage in {row[:2] for row in table}:  # every lane is filled from end to end of what is shown
        mine = [row for row in table if row[:2] == (policy, stage)]
        assert min(row[2] for row in mine) <= 1e-12 and max(row[3] for row in mine) >= shown[1] - 1e-12
    found = {(row[0], row[1]): row[2] for row in pipeline_bubbles.rows(piped, upto)}
    assert found == {
        (policy, stages): share for policy, shares in notes["bubbles"].items() for stages, share in enumerate(shares, 1)
    }
    curves = views.view(BUBBLES)(piped, upto).data
    assert {(curve.name, x): y for curve in curves for x, y in zip(curve.x, curve.y)} == found


@pytest.mark.parametrize("name", [GANTT, WAITS, COST, LANES, BUBBLES])
def test_before_the_first_schedule(name):
    """No step yet, and a table that is still being measured."""
    measuring = Step([], notes={"done": 3, "of": 31, "doing": "measuring this machine", "runs": {}})
    for steps, words in (([], "Nothing has happened yet."), ([measuring], "Measuring this machine: 3 of 31 sizes of a batch.")):
        trace = Trace(Opening(Request(method="sarathi")), steps)
        figure = views.view(name)(trace)
        assert figure.layout.title.text and figure.layout.meta["words"] == words
        assert not any(curve.x for curve in figure.data)


def test_the_words_tell_a_measurement_from_a_model(served):
    notes = served.steps[-1].notes
    said = {}
    for clock, checked in (
        ("H100 (model)", {}),
        ("this machine's table", {}),
        ("this machine, real run", {"SARATHI": [(0, 9, "equal"), (1, 3, "tie")]}),
    ):
        trace = Trace(served.opening, [Step([], notes={**notes, "clock": clock, "checked": checked})])
        said[clock] = views.view(GANTT)(trace).layout.meta["words"]
    assert "on paper" in said["H100 (model)"] and "measured" in said["this machine's table"]
    assert "1 of 2 texts are, token for token" in said["this machine, real run"] and "tie" in said["this machine, real run"]
