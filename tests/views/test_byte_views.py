"""Covers, laws of bytes, bias, gaps and the ensemble: what the figures hold is what the notes say."""

from __future__ import annotations

import pytest

from labkit import views
from labkit.trace import Opening, Request, Step, Trace, loads
from labkit.views import byte_bias, byte_cover, byte_ensemble, byte_laws, fim_bytes, table
from labkit.views.acceptance import wilson

OWN = ("byte_cover", "byte_laws", "byte_bias", "fim_bytes", "byte_ensemble")
RETU = "def mean(values):\n    retu"


@pytest.fixture(scope="module")
def biased(shipped32, traced):
    """The study over one short prompt, read back from its file."""
    knobs = {"places": 4, "cut": 1}
    return loads(traced(shipped32, "token-bias", prompt=RETU, knobs=knobs, temperature=1.0, seed=1).dumps())


def made(*notes: dict) -> Trace:
    """A trace of a study's steps with these notes."""
    return Trace(Opening(Request(method="x")), [Step([], notes=one) for one in notes])


@pytest.mark.parametrize("look", ["light", "dark"])
def test_a_cover_is_its_sequences(biased, look):
    for upto in (1, 9, len(biased.steps)):
        notes = biased.steps[upto - 1].notes
        left, right = views.view("byte_cover")(biased, upto, theme=look).data
        assert list(right.x) == [share for _, share in notes["cover"]]
        assert len(left.y) == sum(len(tokens) for tokens, _ in notes["cover"])
        assert list(left.base)[left.y.index(0)] == -len(notes["open"])
        assert all(base + wide <= byte_cover.FAR for base, wide in zip(left.base, left.x))
        for tokens, _ in notes["cover"]:
            assert "".join(biased.pieces[token] for token in tokens).startswith(notes["open"])
    rows = table.table("byte_cover", biased, 9).rows
    assert len(rows) == len(biased.steps[8].notes["cover"]) and rows[0][1] == biased.steps[8].notes["cover"][0][1]


@pytest.mark.parametrize("look", ["light", "dark"])
def test_three_laws(biased, look):
    last = biased.steps[-1].notes
    figure = views.view("byte_laws")(biased, theme=look)
    assert {bar.name: list(bar.y) for bar in figure.data} == last["laws"]
    assert list(figure.layout.xaxis.ticktext) == [byte_laws.byte_name(byte) for byte in last["bytes"]]
    words = figure.layout.meta["words"]
    assert f"naive {last['tv']['naive']:.3f}" in words and "Greedy goes on: naive" in words
    assert "Greedy" not in views.view("byte_laws")(biased, 3, theme=look).layout.meta["words"]


def test_names_of_bytes():
    assert [byte_laws.byte_name(byte) for byte in (32, 10, 60, 0xE2, 256)] == ["·", "↵", "&lt;", "\\xe2", "end"]


@pytest.mark.parametrize("look", ["light", "dark"])
def test_bias_along_the_text(biased, look):
    text = RETU[:-1]
    assert "".join(row[0] for row in biased.steps[-1].notes["along"]) == text
    for upto in (5, len(biased.steps)):
        along = biased.steps[upto - 1].notes["along"]
        bars, dots, *means = views.view("byte_bias")(biased, upto, theme=look).data
        assert list(bars.y) == [row[2] for row in along] and list(dots.y) == [row[3] for row in along]
        assert upto > 5 or list(means[0].y) == [None, None]
    found = biased.steps[-1].notes["means"]
    assert [mean.y[1] for mean in means] == [found["inside tokens"]["naive"], found["inside tokens"]["token healing"]]
    assert f"{found['inside tokens']['naive']:.2f} away" in views.view("byte_bias")(biased).layout.meta["words"]


@pytest.mark.parametrize("look", ["light", "dark"])
def test_gaps(look):
    now = {"before": "x = fo", "middle": "o<b>", "said": {"naive": "r", "exact": "o<b>"}}
    early = {"gaps": 0, "right": {"naive": 0, "exact": 0}, "now": now, "done": 1, "of": 8}
    trace = made(early, {**early, "gaps": 4, "right": {"naive": 1, "exact": 3}})
    figure = views.view("fim_bytes")(trace, theme=look)
    assert [(bar.name, bar.y[0]) for bar in figure.data] == [("naive", 0.25), ("exact", 0.75)]
    low, high = wilson(3, 4)
    assert figure.data[1].error_y.array[0] == pytest.approx(high - 0.75)
    assert fim_bytes.rows(trace)[1] == ("exact", 4, 3, low, high)
    assert "stood “o<b>”" in figure.layout.meta["words"], "words are text to the page, not markup"
    assert [bar.y[0] for bar in views.view("fim_bytes")(trace, 1, theme=look).data] == [0, 0]


@pytest.mark.parametrize("look", ["light", "dark"])
def test_an_ensemble_is_its_line(look):
    notes = {"shares": [0.0, 0.5, 1.0], "bits": [1.0, 1.25, 3.0], "bytes": 100, "better": 0.25, "done": 1, "of": 2}
    trace = made(notes, {**notes, "bits": [1.0, 0.9, 3.0]})
    line, best = views.view("byte_ensemble")(trace, 1, theme=look).data
    assert list(line.y) == notes["bits"] and best.x[0] == 0.0
    assert "no share makes" in views.view("byte_ensemble")(trace, 1).layout.meta["words"]
    words = views.view("byte_ensemble")(trace, theme=look).layout.meta["words"]
    assert "best with a share of 0.5: 0.900" in words and byte_ensemble.rows(trace)[1] == (0.5, 0.9)


@pytest.mark.parametrize("name", OWN)
def test_nothing_yet(name):
    figure = views.view(name)(made())
    assert figure.layout.title.text and figure.layout.meta["words"].endswith(".")
    assert byte_bias.rows(made()) == []
