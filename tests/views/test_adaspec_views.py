"""AdaSPEC's charts say what the notes say, and draw no token text as markup."""

from __future__ import annotations

import made_traces
import pytest

from labkit import views
from labkit.trace import Opening, Request, Trace
from labkit.views import table, theme
from labkit.views.text import escaped, shown


@pytest.fixture(scope="module")
def study():
    return made_traces.adaspec_trace()


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("upto", [None, 3, 8])
def test_curves_are_the_notes(upto, look, study):
    notes = study.steps[(upto or 9) - 1].notes
    rows = table.table("adaspec_alpha", study, upto).rows
    for name, (taken, values) in notes["curves"].items():
        assert [row[2:] for row in rows if row[:2] == ("this run", name)] == [
            (x, y, y, y) for x, y in zip(taken, values)
        ]
    seeds = notes["long run"]["seeds"]
    for name in seeds[0]:
        for place, row in enumerate(row for row in rows if row[:2] == ("long run", name)):
            values = [seed[name][1][place] for seed in seeds]
            assert row[2:] == (seeds[0][name][0][place], pytest.approx(sum(values) / 3), min(values), max(values))
    figure = views.VIEWS["adaspec_alpha"](study, upto, theme=look)
    assert len(figure.data) == len(notes["curves"]) + 5
    live = {line.legendgroup: list(line.y) for line in figure.data if line.yaxis == "y"}
    assert live == {name: values for name, (_, values) in notes["curves"].items()}
    assert (
        len({line.legendgroup for line in figure.data if line.showlegend})
        == 5
        == sum(line.showlegend for line in figure.data)
    )


def test_without_a_long_run_the_live_one_has_the_room(study):
    trace = made_traces.adaspec_trace()
    for step in trace.steps:
        step.notes["long run"] = None
    figure = views.VIEWS["adaspec_alpha"](trace)
    assert {line.yaxis for line in figure.data} == {"y"} and tuple(figure.layout.xaxis.domain) == (0, 1)
    last = {name: values[-1] for name, (_, values) in trace.steps[-1].notes["curves"].items()}
    assert (
        f"alpha {last['share 0.4']:.3f} from 40 % of the tokens, {last['share 1']:.3f} from all"
        in figure.layout.meta["words"]
    )
    assert "Long run: alpha" in views.VIEWS["adaspec_alpha"](study).layout.meta["words"]


def test_the_listing_outlines_what_is_kept(study):
    listing = study.steps[-1].notes["listing"]
    rows = table.table("adaspec_tokens", study).rows
    assert [row[1] for row in rows] == [shown(piece) for piece in listing["pieces"]]
    assert [row[2] for row in rows] == [None, *listing["lag"]] and [row[3] for row in rows] == [False, *listing["kept"]]
    figure = views.VIEWS["adaspec_tokens"](study)
    outlined = [shape.line.width == 3 for shape in figure.layout.shapes]
    assert outlined == [False, *listing["kept"]]
    for shape, lag in zip(figure.layout.shapes[1:], listing["lag"]):
        level = sum(lag > edge for edge in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4))
        assert shape.fillcolor == theme.LIGHT[f"e{level}"]
    assert f"{sum(listing['kept'])} of 8 tokens are kept" in figure.layout.meta["words"]


def test_no_piece_becomes_markup():
    hostile = set()
    for seed in range(8):
        trace = made_traces.adaspec_trace(seed=seed)
        texts = {note.text for note in views.VIEWS["adaspec_tokens"](trace).layout.annotations}
        here = set(trace.steps[-1].notes["listing"]["pieces"]) & set(made_traces.HOSTILE)
        assert all(escaped(shown(text)) in texts for text in here)
        assert not any("<" in text or "$" in text for text in texts)
        hostile |= here
    assert len(hostile) > 3


def test_margins_are_the_counts(study):
    notes = study.steps[-1].notes
    rows = table.table("adaspec_margins", study).rows
    figure = views.VIEWS["adaspec_margins"](study)
    for line, (name, counts) in zip(figure.data, notes["margins"].items()):
        assert [row[3] for row in rows if row[0] == name] == counts
        assert list(line.y) == [*counts, counts[-1]] and list(line.x) == notes["edges"]
        assert f"{100 * sum(counts[:2]) / sum(counts):.1f} %" in figure.layout.meta["words"]


@pytest.mark.parametrize("name", ["adaspec_alpha", "adaspec_tokens", "adaspec_margins"])
def test_before_there_is_anything(name, study):
    empty = Trace(Opening(Request(method="adaspec"), [1]))
    for trace, upto in ((empty, None), (study, 0)):
        figure = views.VIEWS[name](trace, upto)
        assert not figure.data and figure.layout.meta["words"].endswith(".")
        assert table.table(name, trace, upto).rows == []
    figure = views.VIEWS[name](study, 1)
    assert bool(figure.data) == (name == "adaspec_alpha"), "the reference alone has no listing and no margins"
