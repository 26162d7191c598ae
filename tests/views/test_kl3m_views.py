"""The charts of KL3M's studies draw what the traces hold, at every step."""

from __future__ import annotations

import pytest

from labkit import views
from labkit.trace import Opening, Request, Trace
from labkit.views import domain_custom, domain_matrix, ocr_caps, ocr_lines
from labkit.views.columns import across

KEYS = ("reach", "agreement", "bytes_per_token")
PROMPT = "All normal returns O 10 ill <b>\nmodern turmoil, formally"


@pytest.fixture(scope="module")
def scans(shipped32, traced):
    return traced(shipped32, "ocr-noise", prompt=PROMPT, knobs={"kilobytes": 5, "max_chars": 4}, seed=3)


@pytest.fixture(scope="module")
def domains(shipped32, traced):
    return traced(shipped32, "domains", prompt=PROMPT, knobs={"size": "512"})


def named(figure):
    return {data.name: data for data in figure.data}


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("name", ["ocr_lines", "ocr_caps", "domain_matrix", "domain_custom"])
def test_nothing_yet_is_drawn_too(name, look):
    figure = views.view(name)(Trace(Opening(Request(method="ocr-noise"))), theme=look)
    assert figure.layout.title.text and figure.layout.meta["words"].endswith(".")


def test_both_lines_stand_there_letter_by_letter(scans):
    notes = scans.steps[0].notes
    clean, scan = ("".join(side) for side in zip(*notes["columns"]))
    assert clean == PROMPT != scan
    table = ocr_lines.rows(scans, 1)
    assert len(table) == len(notes["columns"])
    for column, starts in ((3, notes["starts"][0]), (4, notes["starts"][1])):
        assert sum(row[column].count("yes") for row in table) == len(starts)
    for width in (400, 1000):
        figure = views.view("ocr_lines")(scans, 1, width=width)
        drawn = named(figure)
        letters = [*drawn["unchanged"].text, *drawn["an error"].text]
        assert len(letters) == len(clean) + len(scan)
        assert max(drawn["unchanged"].x) < across(width) and figure.layout.width == width
        tall = figure.layout.yaxis.range[0]
        assert max(drawn["unchanged"].y) < tall


def test_strokes_agree_where_both_lines_begin_a_token(scans):
    notes, drawn = scans.steps[-1].notes, named(views.view("ocr_lines")(scans, width=2000))
    found = ocr_lines.columns(notes)
    both = [one for one in found if one.same and one.beside and one.begins == ([True], [True])]
    one_only = [one for one in found if one.same and one.beside and one.begins[0] != one.begins[1]]
    strokes = {name: len(data.x) // 3 for name, data in drawn.items() if data.mode == "lines"}
    assert strokes["both begin a token here"] == 2 * len(both) > 0
    assert strokes["only one of them does"] == len(one_only)
    assert strokes["its token is another now"] == sum(one.changed for one in found)
    own = notes["own"]
    agreement = 2 * len(both) / (2 * len(both) + len(one_only))
    assert own["agreement"] == pytest.approx(agreement), "every letter here is one byte"
    assert own["reach"] * own["errors"] == pytest.approx(len(notes["changed"]))
    assert own["errors"] == sum(not one.same for one in found)


def test_the_curves_are_the_figures_so_far(scans):
    for upto in (1, 3, 5):
        found = scans.steps[upto - 1].notes["caps"]
        figure = views.view("ocr_caps")(scans, upto)
        assert [list(data.y) for data in figure.data] == [[row[key] for row in found] for key in KEYS]
        assert [row[0] for row in ocr_caps.rows(scans, upto)] == [row["cap"] for row in found]
    assert scans.steps[-1].notes["caps"][0]["agreement"] == 1 and scans.steps[-1].notes["caps"][0]["reach"] == 0


def test_the_matrix_is_what_was_measured(domains):
    for upto in (2, 5):
        found = domains.steps[upto - 1].notes["tokenizers"]
        figure = views.view("domain_matrix")(domains, upto)
        assert [list(row) for row in figure.data[0].customdata] == [[*row["bytes_per_token"].values()] for row in found.values()]
        assert len(figure.layout.annotations) == 5 * upto and len(figure.layout.shapes) >= 5
        assert len(domain_matrix.rows(domains, upto)) == 5 * upto
    best = domains.steps[-1].notes["tokenizers"]
    saved = [1 - best["general"]["bytes_per_token"][name] / best[name]["bytes_per_token"][name] for name in list(best)[:4]]
    assert f"{min(saved):.0%} to {max(saved):.0%}" in views.view("domain_matrix")(domains).layout.meta["words"]


def test_the_bars_are_the_tokens_saved(domains):
    found = domains.steps[-1].notes["tokenizers"]
    figure = views.view("domain_custom")(domains)
    wanted = [100 * (1 - row["with_custom"] / row["without"]) for row in found.values()]
    assert list(figure.data[0].y) == pytest.approx(wanted)
    assert [row[0] for row in domain_custom.rows(domains)] == list(found)
