"""The map of what a forward costs: its lines and points are the study's numbers."""

import pytest

from labkit import views
from labkit.trace import Opening, Request, Step, Trace
from labkit.views import table

FORWARDS = [{"tokens": n, "target_ms": [2.0 + n, 3.0 + n, 5.0 + n], "draft_ms": [0.4, 0.5, 0.75]} for n in (1, 2, 4)]
METHODS = [
    {"name": "chain", "tokens": 2.4, "fed": 5.0, "draft_ms": 2.0, "ms": 3.0, "predicted": 0.96, "measured": 1.2},
    {"name": "lookup", "tokens": 3.0, "fed": 3.5, "draft_ms": 0.0, "ms": 2.0, "predicted": 1.8, "measured": 1.7},
]


@pytest.fixture
def trace():
    frames = [(FORWARDS[:n], []) for n in (1, 2, 3)] + [(FORWARDS, METHODS[:n]) for n in (1, 2)]
    notes = [{"forwards": forwards, "methods": methods} for forwards, methods in frames]
    return Trace(Opening(Request(method="latency")), [Step([], notes=note) for note in notes])


def drawn(figure):
    return {one.name: one for one in figure.data}


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize(("upto", "sizes", "methods"), [(None, 3, 2), (4, 3, 1), (2, 2, 0), (0, 0, 0)])
def test_points_are_the_numbers_of_the_frame(trace, upto, sizes, methods, look):
    parts = drawn(views.view("latency")(trace, upto, theme=look))
    for role in ("target", "draft"):
        part, cuts = parts[f"{role} forward"], [one[f"{role}_ms"] for one in FORWARDS[:sizes]]
        assert list(part.x) == [1, 2, 4][:sizes]
        assert list(part.y) == [cut[1] for cut in cuts]
        assert list(part.error_y.array) == [cut[2] - cut[1] for cut in cuts]
        assert list(part.error_y.arrayminus) == [cut[1] - cut[0] for cut in cuts]
    spots = parts["methods, × by the clock"]
    assert list(zip(spots.x, spots.y)) == [(5.0, 2.4), (3.5, 3.0)][:methods]
    assert list(spots.text) == ["chain 1.2", "lookup 1.7"][:methods]
    assert list(spots.marker.symbol) == ["diamond-open", "diamond"][:methods], "filled: gains by the table"


def test_lines_are_what_a_forward_must_bring(trace):
    parts = drawn(views.view("latency")(trace))
    free = [4 / 4, 5 / 4, 7 / 4]  # its ms over those of one token
    for gain in (1, 2, 3):
        assert list(parts[f"{gain} × plain, drafts for nothing"].y) == pytest.approx([gain * tau for tau in free])
    assert list(parts["1 × plain, a draft chain"].y) == pytest.approx([4 / 4, (5 + 0.5) / 4, (7 + 3 * 0.5) / 4])


def test_the_table_holds_sizes_and_methods(trace):
    columns, rows = table.table("latency", trace)
    assert all(len(row) == len(columns) for row in rows)
    assert [row[1] for row in rows] == [1, 2, 4, 5.0, 3.5]
    assert rows[-1] == ("lookup", 3.5, None, 0.0, 3.0, None, 1.8, 1.7)
    assert table.table("latency", trace, 0).rows == []
