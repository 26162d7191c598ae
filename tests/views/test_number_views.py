"""Charts of number chunks and of BLEU: what the figures hold is what the notes say."""

from __future__ import annotations

import pytest

from labkit import views
from labkit.run import run
from labkit.trace import Request, Trace, loads
from labkit.views import bleu_tiles, number_columns, number_errors
from labkit.views.number_columns import spans

OWN = ("number_columns", "number_errors", "number_learning", "bleu_tiles", "bleu_time")


def studied(pair, name, **knobs):
    events = run(pair, Request(method=name, prompt="x", knobs=knobs, seed=1))
    trace = Trace(next(events))
    for event in events:
        trace.add(event)
    return loads(trace.dumps())


@pytest.fixture(scope="module")
def added(shipped32):
    return studied(shipped32, "number-chunks", items=12, digits=8)


@pytest.fixture(scope="module")
def scored(shipped32):
    return studied(shipped32, "tensorbleu", texts=2, tokens=12, batch=4)


def digits_of(figure, column):
    axis = "x" if column == 1 else "x2"
    return [one for one in figure.data if one.type == "scatter" and one.xaxis == axis]


@pytest.mark.parametrize("look", ["light", "dark"])
def test_digits_stand_at_their_places(added, look):
    for upto in (1, 3, None):
        figure = views.view("number_columns")(added, upto, theme=look)
        shown = added.steps[(upto or len(added.steps)) - 1].notes["shown"]
        for column, way in enumerate(("l2r", "r2l"), 1):
            drawn = digits_of(figure, column)
            rows = [row for row in ("a", "b", "sum", "said") if shown[way].get(row)]
            assert len(drawn) == len(rows)
            for row, one in zip(rows, drawn):
                number = "".join(shown[way][row])
                assert "".join(one.text).replace("<b>", "").replace("</b>", "") == number
                assert list(one.x) == [len(number) - place - 0.5 for place in range(len(number))]


def test_boxes_are_chunks_and_wrong_digits_are_hatched(added):
    notes = added.steps[-1].notes
    notes["shown"]["r2l"]["said"] = ["9" + notes["shown"]["r2l"]["sum"][0][1:], *notes["shown"]["r2l"]["sum"][1:]]
    figure = views.view("number_columns")(added)
    boxes = [one for one in figure.data if one.type == "bar" and one.xaxis == "x2"]
    hatched = [one for one in boxes if one.marker.pattern.shape]
    due = notes["shown"]["r2l"]["sum"]
    assert sum(len(one.x) for one in hatched) == (due[0][0] != "9")
    plain = [one for one in boxes if not one.marker.pattern.shape]
    assert [len(one.x) for one in plain] == [len(notes["shown"]["r2l"][row]) for row in ("a", "b", "sum", "said")]
    assert sorted(round(base - 0.04) for base in plain[0].base) == sorted(right for right, _ in spans(notes["shown"]["r2l"]["a"]))
    assert ("r2l", "sum", "|".join(due)) == number_columns.rows(added)[-2][:3] or len(number_columns.rows(added)) == 8


def test_spans_are_counted_from_the_ones():
    assert spans(["1", "234", "567"]) == [(6, "1"), (3, "234"), (0, "567")]
    assert spans(["123", "4"]) == [(1, "123"), (0, "4")]


@pytest.mark.parametrize("look", ["light", "dark"])
def test_error_rates_are_the_tallies(added, look):
    for upto in (1, None):
        tallies = added.steps[(upto or len(added.steps)) - 1].notes["tallies"]
        bars = [one for one in views.view("number_errors")(added, upto, theme=look).data if one.type == "bar"]
        assert [one.name for one in bars] == ["l2r", "r2l", "l2r, repeated"]
        for one in bars:
            tally = tallies[one.name]
            assert list(one.y) == pytest.approx([1 - tally[kind][0] / tally[kind][1] for kind in ("same", "grows")])
        lines = [one for one in views.view("number_errors")(added, upto, theme=look).data if one.type == "scatter"]
        for one, kind in zip(lines, ("places", "carries") * 3):
            tally = tallies[one.name]
            if kind == "places":
                assert list(one.y) == [wrong / of for wrong, of in zip(tally["places"], tally["long"]) if of]
            else:
                assert list(one.y) == pytest.approx([1 - right / of for right, of in tally["carries"] if of])
    assert sum(row[3] for row in number_errors.rows(added)) == 3 * 12


def test_learning_curves_are_the_parts_figures(added):
    figure = views.view("number_learning")(added)
    curves = added.steps[-1].notes["learned"]
    lines = [one for one in figure.data if one.mode != "markers"]
    assert [one.name for one in lines] == [f"{way}, sum {kind}" for way in curves for kind in ("as long", "one longer")]
    step, shares = curves["l2r"][-1]
    assert lines[0].x[-1] == step
    tallies = added.steps[-1].notes["tallies"]
    stars = [one.y[0] for one in figure.data if one.mode == "markers"]
    assert stars == pytest.approx([tallies[way][kind][0] / tallies[way][kind][1] for way in curves for kind in ("same", "grows")])
    assert lines[0].y[-1] == pytest.approx(sum(of["same"] for of in shares.values()) / len(shares))


@pytest.mark.parametrize("look", ["light", "dark"])
def test_tiles_are_the_hits(scored, look):
    for upto in (1, 2, None):
        notes = scored.steps[(upto or len(scored.steps)) - 1].notes
        figure = views.view("bleu_tiles")(scored, upto, theme=look)
        filled, missed, *file = (len(one.x) for one in figure.data)
        assert filled == sum(notes["matches"]) == file[0]
        assert filled + missed == sum(notes["windows"]) == sum(file)
        assert len(figure.layout.annotations) == 24
        assert [row[2] for row in bleu_tiles.rows(scored, upto)] == notes["matches"]


def test_times_are_the_notes(scored):
    figure, times = views.view("bleu_time")(scored), scored.steps[-1].notes["times"]
    for one, way in zip(figure.data, ("tensors", "python")):
        assert list(one.x) == [1, 4] and list(one.y) == [time[way] for time in times]
    assert "all counts are equal" in figure.layout.meta["words"]
    times[0]["equal"] = False
    assert "DIFFER" in views.view("bleu_time")(scored).layout.meta["words"]


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("name", OWN)
def test_nothing_yet_is_drawn_too(added, scored, name, look):
    trace = scored if name.startswith("bleu") else added
    figure = views.view(name)(Trace(trace.opening), theme=look)
    assert figure.layout.title.text and not figure.data and figure.layout.meta["words"].endswith(".")
