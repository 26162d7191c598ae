"""The charts of the morphological studies show the notes of the step they stand at."""

from __future__ import annotations

import pytest

from labkit import views
from labkit.errors import KnobError
from labkit.methods import build_method
from labkit.trace import Trace, loads
from labkit.views import hybrid_words, table, theme

LOOKS = ["light", "dark"]


@pytest.fixture(scope="module")
def standards(shipped32, traced):
    """The study of valid and pure tokens over little text, read back from its file."""
    knobs = {"words": 1000, "segmenter": "characters"}
    return loads(traced(shipped32, "morphemes", prompt="x = 1", knobs=knobs, seed=1).dumps())


@pytest.fixture(scope="module")
def hybrid(shipped32, traced):
    """The study of roots and affixes, likewise."""
    return loads(traced(shipped32, "hybrid", prompt="Kitaplar <b>evler</b>", knobs={"words": 1000}, seed=1).dumps())


@pytest.mark.parametrize("look", LOOKS)
def test_tiles_look_as_they_are_tagged(standards, look):
    ink = theme.colours(look)
    fills = {"pure": ink["draft"], "valid": ink["draft-tint"], "neither": ink["paper"]}
    for upto in (1, 3, len(standards.steps)):
        notes = standards.steps[upto - 1].notes
        figure = views.VIEWS["morpheme_tiles"](standards, upto, theme=look)
        assert [shape.fillcolor for shape in figure.layout.shapes] == [fills[tag] for _, tag, _ in notes["tiles"]]
        assert len(figure.layout.annotations) == len(notes["tiles"])
        assert f"of {sum(notes['counts'].values()):,} unique" in figure.layout.meta["words"]
    assert standards.steps[-1].notes["segmenter"] == "Characters", "in the end those of the knob"
    assert standards.steps[0].notes["segmenter"] == "gold"


@pytest.mark.parametrize("look", LOOKS)
def test_shares_and_bits_are_the_points(standards, look):
    for upto in (1, 4, len(standards.steps)):
        points = standards.steps[upto - 1].notes["points"]
        for name, wanted in (
            ("morpheme_shares", [one[kind] for one in points for kind in ("valid", "pure")]),
            ("morpheme_bits", [one["bits"] for one in points for _ in range(2) if one["bits"] is not None]),
        ):
            figure = views.VIEWS[name](standards, upto, theme=look)
            drawn = [number for line in figure.data for number in (*line.x, *line.y) if number in wanted]
            assert set(wanted) <= set(drawn)
    notes = standards.steps[-1].notes
    assert {one["name"] for one in notes["points"]} > {"gold", "BPE", "Words", "Roots and affixes"}
    assert (
        "r with %pure {:+.2f}".format(notes["r"]["pure"][1])
        in views.VIEWS["morpheme_bits"](standards).layout.meta["words"]
    )
    gold = next(one for one in notes["points"] if one["name"] == "gold")
    assert gold["valid"] == gold["pure"] == 1.0


@pytest.mark.parametrize("look", LOOKS)
def test_words_are_drawn_tile_by_tile(hybrid, look):
    for upto in (1, 5, len(hybrid.steps)):
        rows = hybrid_words.rows(hybrid, upto)
        for width in (1000, 380):
            figure = views.VIEWS["hybrid_words"](hybrid, upto, theme=look, width=width)
            assert len(figure.layout.shapes) == len(rows) and len(figure.layout.annotations) == 2 * len(rows)
            said = [note.text for note in figure.layout.annotations]
            assert said[::2] == [letters for *_, letters in rows]
            assert all(0 <= shape.x0 < shape.x1 for shape in figure.layout.shapes)
    assert ("evler", "affix", "lAr", "ler") in hybrid_words.rows(hybrid)


@pytest.mark.parametrize("look", LOOKS)
def test_coverage_and_cost_are_the_notes(hybrid, look):
    for upto in (1, len(hybrid.steps)):
        notes = hybrid.steps[upto - 1].notes
        figure = views.VIEWS["hybrid_coverage"](hybrid, upto, theme=look)
        drawn = {line.name: [list(point) for point in zip(line.x, line.y)] for line in figure.data}
        assert drawn == notes["curves"]
        assert f"BPE {notes['needed']['BPE']:,}" in figure.layout.meta["words"]
        figure = views.VIEWS["hybrid_tokens"](hybrid, upto, theme=look)
        stacked = sum(bar.x[0] for bar in figure.data if bar.orientation == "h" and bar.name != "BPE")
        assert stacked == pytest.approx(notes["figures"]["roots and affixes"]["tokens"] / notes["read"])
        (pure,) = [bar.y[1] for bar in figure.data if bar.orientation != "h" and bar.name == "BPE"]
        assert pure == notes["figures"]["BPE"]["pure"]


def test_nothing_yet_and_tables(standards, hybrid):
    for trace in (standards, hybrid):
        for name in trace.opening.charts:
            empty = views.VIEWS[name](Trace(trace.opening))
            assert empty.layout.title.text and empty.layout.meta["words"].endswith(".")
            columns, rows = table.table(name, trace)
            assert rows and all(len(row) == len(columns) for row in rows)
            assert not table.table(name, Trace(trace.opening)).rows


def test_gold_is_known_for_turkish_only():
    study = build_method("morphemes", {"segmenter": "gold", "lexicon": "python"})
    with pytest.raises(KnobError, match="set the lexicon to turkish"):
        next(study.steps(None, None))
