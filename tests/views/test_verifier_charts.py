"""The charts of SpecTr and of the verifiers' study say what the notes say."""

from __future__ import annotations

import pytest

from labkit import views
from labkit.trace import Step, Trace, loads
from labkit.views import cover, table, theme
from labkit.views.acceptance_by_drafts import LOOKS

TOY = {name: [min(1.0, 0.1 * row + 0.05 * k) for k in range(8)] for row, name in enumerate(LOOKS)}


def bar(group, label, parts, token=None):
    return {"group": group, "token": token, "label": label, "parts": parts}


@pytest.fixture(scope="module")
def study(plain):
    """The notes of three steps: toy laws, then places, then calls."""
    notes = {"done": 1, "of": 3, "drafts": list(range(1, 9)), "toy": {"p": [0.6, 0.4], "q": [0.5, 0.5], "acceptance": TOY}}
    notes["cover"] = [
        {"title": "toy", "bars": [bar("V3 k-SEQ", "a", [0.3, 0.1, 0.2]), bar("best possible", "a", [0.55, 0.05])]}
    ]
    places = {"count": 7, "paths": 16, "acceptance": {name: [y / 2 for y in line] for name, line in TOY.items()}}
    mean = {"title": "mean of 7 places", "bars": [bar("", "V1 match", [0.3, 0.2, 0.5])]}
    later = notes | {"places": places, "cover": [*notes["cover"], mean]}
    calls = {"V1 match": [[1, 30, 20], [2, 0, 0]], "V3 k-SEQ": [[1, 42, 20], [2, 55, 20]]}
    return Trace(plain.opening, [Step([], notes=one) for one in (notes, later, later | {"calls": calls})])


@pytest.fixture(scope="module")
def spectr(shipped32, traced):
    knobs = {"division": "manual", "rho": 1.0}
    return traced(shipped32, "spectr", prompt="def read(path):\n    ", temperature=1.0, max_new_tokens=20, seed=5, knobs=knobs)


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("name", ["acceptance_by_drafts", "cover", "blocks_by_drafts"])
def test_they_draw_at_every_step(study, name, look):
    for upto in (0, 1, 2, 3, None):
        figure = views.VIEWS[name](study, upto, theme=look)
        assert figure.layout.title.text and figure.layout.meta["words"].endswith(".")
        assert figure.to_json() == views.VIEWS[name](Trace(study.opening, study.steps[:upto]), theme=look).to_json()
        assert figure.to_json() == views.VIEWS[name](loads(study.dumps()), upto, theme=look).to_json()


def test_lines_are_the_notes(study):
    first, last = (views.VIEWS["acceptance_by_drafts"](study, upto) for upto in (1, None))
    assert [line.name for line in first.data] == list(LOOKS) and len(last.data) == 2 * len(LOOKS)
    notes = study.steps[-1].notes
    for line, laws in zip(last.data, ["toy"] * len(LOOKS) + ["places"] * len(LOOKS)):
        assert list(line.y) == notes[laws]["acceptance"][line.name] and list(line.x) == notes["drafts"]
    assert len({(line.line.dash, line.marker.symbol) for line in first.data}) == len(LOOKS), "not told apart by colour alone"
    assert "mean of 7 places" in last.layout.xaxis2.title.text
    assert len(table.table("acceptance_by_drafts", study).rows) == 16 * len(LOOKS)


def test_calls_are_divided_once_there_are_some(study):
    assert table.table("blocks_by_drafts", study, 2).rows == []
    rows = table.table("blocks_by_drafts", study).rows
    assert rows == [("V1 match", 1, 30, 20, 1.5), ("V3 k-SEQ", 1, 42, 20, 2.1), ("V3 k-SEQ", 2, 55, 20, 2.75)]
    figure = views.VIEWS["blocks_by_drafts"](study)
    assert {line.name: list(line.y) for line in figure.data} == {"V1 match": [1.5], "V3 k-SEQ": [2.1, 2.75]}
    assert "20 times a point" in figure.layout.meta["words"]


def test_bars_are_the_notes(study):
    figure = views.VIEWS["cover"](study)
    seen = [(part.name, x, y) for part in figure.data for x, y in zip(part.x, part.y)]
    assert sorted(y for *_, y in seen) == sorted([0.3, 0.1, 0.2, 0.55, 0.05, 0.3, 0.2, 0.5])
    assert {name for name, *_ in seen} == {"draft 1", "draft 2", "all together", cover.TARGET}
    own = next(part for part in figure.data if part.name == cover.TARGET)
    assert own.marker.color == theme.LIGHT["target"], "amber is the target's voice"
    assert next(part for part in figure.data if part.name == "draft 1").marker.color == theme.LIGHT["draft"]
    ticks = dict(zip(figure.layout.xaxis.tickvals, figure.layout.xaxis.ticktext))
    assert [ticks[x] for name, x, y in seen if y in (0.55, 0.5)] == ["a", "V1 match"]
    assert len(ticks) == 3, "a place stands for one bar, whatever its panel"


def test_what_a_draft_covers_is_read_back_from_a_run(spectr):
    """Bars of the division in use sum to p; a division that is too small shows what is missing below zero."""
    lacking = 0
    for number, step in enumerate(spectr.steps, 1):
        rows = table.table("cover", spectr, number).rows
        groups = dict.fromkeys(row[1] for row in rows)
        used = [row for row in rows if row[1] == list(groups)[-1]]
        assert used[0][1].startswith("used: ρ") and sum(row[4] for row in used) == pytest.approx(1, abs=1e-5)
        assert min(row[4] for row in used) >= -1e-6
        asked = [row for row in rows if row[1].startswith("asked: ρ = 1.00")]
        if asked:
            assert sum(row[4] for row in asked) == pytest.approx(1, abs=1e-5)
            if any(row[3] == cover.MISSING and row[4] < 0 for row in asked):
                lacking += 1
                assert views.VIEWS["cover"](spectr, number).layout.yaxis.range[0] < 0
        chance = sum(row[4] for row in used if row[3].startswith("draft"))
        assert chance == pytest.approx(step.notes["places"][0]["chance"], abs=1e-5)
    assert lacking > 0


def test_shades_are_mixed():
    assert cover.mixed("#000000", "#ffffff", 1) == "#000000" and cover.mixed("#0072b2", "#ffffff", 0.5) == "#80b8d8"
