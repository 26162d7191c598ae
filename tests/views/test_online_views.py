"""The charts of a draft that learns: their numbers are those of the notes, in the middle of a run as at its end."""

from __future__ import annotations

import made_traces
import pytest

from labkit import views
from labkit.trace import Opening, Request, Step, Trace
from labkit.views import table


@pytest.fixture(scope="module")
def stream():
    return made_traces.stream_trace(24)


def mean(values):
    return sum(values) / len(values)


@pytest.mark.parametrize("upto", [None, 5, 15])
def test_alpha_and_its_running_means(upto, stream):
    notes = stream.steps[(upto or 24) - 1].notes
    rows = table.table("running_alpha", stream, upto).rows
    assert [row[2] for row in rows] == notes["learning alpha"] and [row[3] for row in rows] == notes["frozen alpha"]
    for turn, row in enumerate(rows):
        first = max(0, turn - 7, 12 if turn >= 12 else 0)  # a mean does not reach back over the change of topic
        assert row[4] == pytest.approx(mean(notes["learning alpha"][first : turn + 1]))
        assert row[5] == pytest.approx(mean(notes["frozen alpha"][first : turn + 1]))
        assert row[6] == (turn % 4 == 3)
    for look in ("light", "dark"):
        figure = views.VIEWS["running_alpha"](stream, upto, theme=look)
        lines = {line.name: list(line.y) for line in figure.data if line.mode == "lines"}
        assert lines == {
            "frozen, mean of the last 8": [row[5] for row in rows],
            "learning, mean of the last 8": [row[4] for row in rows],
        }
        assert len(figure.layout.shapes) == (len(rows) > 12)
        assert [note.text for note in figure.layout.annotations] == ["&lt;b&gt;", "words"][: 1 + (len(rows) > 12)]
        assert f"{rows[-1][4]:.2f}" in figure.layout.meta["words"]


@pytest.mark.parametrize("upto", [None, 7])
def test_the_clock_is_counts_times_prices(upto, stream):
    notes = stream.steps[(upto or 24) - 1].notes
    rows = table.table("online_latency", stream, upto).rows
    for turn, row in enumerate(rows):
        for column, name in ((2, "learning"), (3, "frozen")):
            calls, drafts = notes[f"{name} calls"][turn], notes[f"{name} draft calls"][turn]
            due = calls * notes["target call seconds"] + drafts * notes["draft call seconds"]
            assert row[column] == pytest.approx(1000 * due / notes[f"{name} tokens"][turn])
    figure = views.VIEWS["online_latency"](stream, upto)
    assert [line.name for line in figure.data] == ["plain decoding", "frozen draft", "learning draft"]
    assert list(figure.data[0].y) == [3.0] * len(rows) and list(figure.data[2].y) == [row[4] for row in rows]
    seconds = 1000 * sum(notes["learning seconds"]) / sum(notes["learning tokens"])
    assert f"{seconds:.1f} ms a token with the learning draft" in figure.layout.meta["words"]


def test_rounds_of_one_run():
    trace = Trace(Opening(Request(method="online-sd"), [1]))
    agreements = [[0.2, 0.4], [], [0.9], [0.5, 0.7, 0.6]]
    for number, some in enumerate(agreements):
        notes = {"agreements": some, "updates": number // 2}
        notes |= {"loss": 1.0, "frozen alpha": (0.3, 0.5)[number // 2]} if number % 2 else {}
        trace.add(Step([1], notes=notes))
    rows = table.table("running_alpha", trace).rows
    assert [row[2] for row in rows] == [pytest.approx(0.3), None, 0.9, pytest.approx(0.6)]
    assert [row[4] for row in rows] == pytest.approx([0.3, 0.3, 0.6, 0.6])
    assert [row[3] for row in rows] == [None, 0.3, None, 0.5] and [row[6] for row in rows] == [False, True, False, True]
    figure = views.VIEWS["running_alpha"](trace)
    assert (
        "After 4 rounds: alpha 0.60 with the draft that learns, 0.40 with the frozen one" in figure.layout.meta["words"]
    )
    assert list(figure.data[-1].x) == [2, 4] and figure.layout.xaxis.title.text == "round"
    assert not figure.layout.shapes


@pytest.mark.parametrize("name", ["running_alpha", "online_latency"])
def test_before_the_first_step(name):
    empty = Trace(Opening(Request(method="online-stream"), [1]))
    figure = views.VIEWS[name](empty)
    assert not figure.data and figure.layout.meta["words"].endswith(".")
    assert table.table(name, empty).rows == []
