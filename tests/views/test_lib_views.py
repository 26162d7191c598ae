"""The charts of Less-is-Better draw what the traces hold, at every step."""

from __future__ import annotations

import pytest

from labkit import views
from labkit.trace import Opening, Request, Trace
from labkit.views import lib_cut, lib_growth, lib_ladder, lib_words

PROMPT = "Return the value of <b> the object."
DOCUMENTS = 3


@pytest.fixture(scope="module")
def reading(shipped32, traced):
    return traced(shipped32, "lib", prompt=PROMPT, knobs={"documents": DOCUMENTS})


def named(figure):
    return {data.name: data for data in figure.data}


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("name", ["lib_ladder", "lib_growth", "lib_words", "lib_cut"])
def test_nothing_yet_is_drawn_too(name, look):
    figure = views.view(name)(Trace(Opening(Request(method="lib"))), theme=look)
    assert figure.layout.title.text and figure.layout.meta["words"].endswith(".")


def test_the_study_reads_and_then_compares(reading):
    assert [step.notes["done"] for step in reading.steps] == list(range(1, DOCUMENTS + 3))
    assert reading.steps[-1].notes["of"] == DOCUMENTS + 2
    assert list(reading.steps[-1].notes["bpe"]) == ["BPE inside words", "BPE over spaces"]
    assert "bpe" not in reading.steps[DOCUMENTS - 1].notes and len(reading.steps[DOCUMENTS].notes["bpe"]) == 1
    sizes = [step.notes["types"] for step in reading.steps[:DOCUMENTS]]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("upto", [1, 2, DOCUMENTS, DOCUMENTS + 2])
def test_the_curves_are_the_notes(reading, upto):
    notes = [step.notes for step in reading.steps[: min(upto, DOCUMENTS)]]
    left, right, *beside = views.view("lib_growth")(reading, upto).data
    assert list(left.y) == [note["per_100"] for note in notes] and list(right.y) == [note["types"] for note in notes]
    assert [data.y[0] for data in beside] == [worth["per_100"] for worth in reading.steps[upto - 1].notes.get("bpe", {}).values()]
    lines = named(views.view("lib_words")(reading, upto))
    for name in ("precision", "recall", "F1"):
        assert list(lines[name].y) == [note[name.lower()] for note in notes]
    assert len(lib_growth.rows(reading, upto)) == len(lib_words.rows(reading, upto)) == upto


def test_the_ladder_draws_every_rank(reading):
    notes = reading.steps[DOCUMENTS - 1].notes
    drawn = [data for data in views.view("lib_ladder")(reading, DOCUMENTS).data if data.mode == "lines+markers"]
    assert len(drawn) == len(notes["ladder"]) == len(lib_ladder.rows(reading, DOCUMENTS)) == 12
    for data, row in zip(drawn, notes["ladder"]):
        assert list(data.y) == [rank + 1 for rank in row["ranks"] if rank is not None]
        assert data.line.dash == ("solid" if row["climbs"] else "4px,3px")
    names = named(views.view("lib_ladder")(reading, DOCUMENTS))["chunks"]
    heights = sorted(names.y)
    assert len(set(heights)) == 12, "no two names stand in one place"


def test_the_text_is_cut_as_noted(reading):
    for upto in (1, DOCUMENTS + 2):
        notes = reading.steps[upto - 1].notes
        for tokens in notes["cut"]:
            assert "".join(tokens) == PROMPT
        figure = views.view("lib_cut")(reading, upto, width=300)
        strokes = [data for data in figure.data if data.mode == "lines"]
        assert [len(data.x) // 3 for data in strokes] == list(map(len, notes["cut"]))
        assert len(figure.layout.annotations) == len(notes["names"])
        assert len(lib_cut.rows(reading, upto)) == sum(map(len, notes["cut"]))
