"""Premiums and mixtures: what the figures hold is what the notes say."""

from __future__ import annotations

from statistics import pstdev

import pytest

from labkit import views
from labkit.errors import LabError
from labkit.run import run
from labkit.trace import Request, Trace, loads
from labkit.views import (
    mixture_errors,
    mixture_merges,
    mixture_shares,
    mixture_triangle,
    premium_bars,
    premium_causes,
    premium_curves,
    premium_rows,
)

PREMIUMS = ("premium_bars", "premium_curves", "premium_causes")
MIXTURES = ("mixture_shares", "mixture_triangle", "mixture_merges", "mixture_errors")


def traced(pair, method, steps, **knobs):
    events = run(pair, Request(method=method, prompt="x", knobs=knobs))
    trace = Trace(next(events))
    for event in events:
        trace.add(event)
        if len(trace.steps) == steps:
            break
    events.close()
    return loads(trace.dumps())


@pytest.fixture(scope="module")
def premiums(shipped32):
    """The first languages of the study."""
    return traced(shipped32, "premiums", 8)


@pytest.fixture(scope="module")
def mixture(shipped32):
    """A small mixture, to its end."""
    return traced(shipped32, "mixture", 99, merges=20, kilobytes=10, css=0)


def named(figure) -> dict:
    return {one.name: one for one in figure.data}


@pytest.mark.parametrize("upto", [2, None])
@pytest.mark.parametrize("look", ["light", "dark"])
def test_bars_are_ratios(premiums, upto, look):
    figure = premium_bars.premium_bars(premiums, upto, theme=look)
    rows = [step.notes["language"] for step in premiums.steps[:upto]]
    by_code = {row["locale"]: row for row in rows}
    bars = {code: one.base + value for one in figure.data if one.type == "bar" for code, value in zip(one.x, one.y)}
    assert bars == pytest.approx({code: row["tokens"] / by_code["en"]["tokens"] for code, row in by_code.items()})
    assert list(figure.layout.xaxis.categoryarray) == sorted(bars, key=bars.get)
    marks = named(figure)["at its own V*"]
    assert dict(zip(marks.x, marks.y)) == {code: row["levelled"] / by_code["en"]["levelled"] for code, row in by_code.items()}
    if upto is None:
        assert f"is {pstdev(bars.values()):.3f}" in figure.layout.meta["words"]


def test_curves_hold_the_counts(premiums):
    table = premium_curves.rows(premiums)
    english = premiums.steps[0].notes["language"]
    points = [(size, tokens / 400) for size, tokens in english["points"]]
    assert [row[1:3] for row in table if row[0] == "English"] == points
    assert all(abs(row[3] / row[2] - 1) < 0.05 for row in table if row[0] == "English"), "the fitted curve is near"
    marks = named(premium_curves.premium_curves(premiums))["Latin, V*"]
    assert (marks.x[0], marks.y[0]) == (english["reached"], english["levelled"] / 400)


def test_causes_are_the_notes(premiums):
    notes = premiums.steps[-1].notes
    assert premium_causes.rows(premiums) == list(notes["causes"].items()) and "together" in notes["causes"]
    assert premium_causes.rows(premiums, 2) == []
    assert list(named(premium_causes.premium_causes(premiums))["R²"].x) == list(notes["causes"].values())


def test_rows_of_all_tokenizers(shipped32):
    trace = traced(shipped32, "segmenter-premiums", 3, phrases=10)
    figure = premium_rows.premium_rows(trace)
    drawn = {(one.name, y, x) for one in figure.data for x, y in zip(one.x, one.y)}
    titles = trace.steps[-1].notes["titles"]
    rows = [step.notes["language"] for step in trace.steps]
    wanted = {(row["family"], titles[name], premium) for row in rows for name, premium in row["premiums"].items()}
    assert drawn == wanted and "3 languages" in figure.layout.meta["words"]


@pytest.mark.parametrize("look", ["light", "dark"])
def test_shares_and_their_errors(mixture, look):
    notes = mixture.steps[-1].notes
    bars = named(mixture_shares.mixture_shares(mixture, theme=look))
    assert dict(zip(bars["true"].x, bars["true"].y)) == notes["true"]
    assert dict(zip(bars["inferred"].x, bars["inferred"].y)) == notes["inferred"]
    worst = max(abs(notes["inferred"][name] - share) for name, share in notes["true"].items())
    assert f"{100 * worst:.1f} points" in mixture_shares.mixture_shares(mixture).layout.meta["words"]
    early = mixture_shares.mixture_shares(mixture, 7)
    assert not named(early)["inferred"].x and "trained" in early.layout.meta["words"]


def test_the_triangle_is_the_simplex(mixture):
    known = mixture.steps[-1].notes["triangle"]
    table = mixture_triangle.rows(mixture)
    assert len(table) == 21 * 22 / 2 and [row[3] for row in table] == known["shortfall"]
    assert all(abs(sum(row[:3]) - known["room"]) < 1e-9 for row in table)
    drawn = named(mixture_triangle.mixture_triangle(mixture))
    true = mixture.steps[-1].notes["true"]
    assert (drawn["true"].x[0], drawn["true"].y[0]) == mixture_triangle.spot([true[name] for name in known["corners"]])
    assert mixture_triangle.spot((1, 0, 0))[0] == 0.5 and mixture_triangle.spot((0, 2, 0)) == (0, 0)
    assert not mixture_triangle.mixture_triangle(mixture, 3).data


def test_merges_are_the_list(mixture):
    notes = mixture.steps[-1].notes
    drawn = named(mixture_merges.mixture_merges(mixture))
    assert list(drawn["inferred mixture"].x) == [row["inferred"] for row in notes["list"]]
    assert list(drawn["if the mixture were even"].x) == [row["even"] for row in notes["list"]]
    before = next(place for place, step in enumerate(mixture.steps, 1) if "list" in step.notes)
    assert "inferred mixture" not in named(mixture_merges.mixture_merges(mixture, before))


def test_markup_in_a_merge_is_text():
    notes = {"categories": ["a"], "withheld": "none", "true": {}, "applied": 1}
    notes["list"] = [{"number": 1, "merge": ["<b>", "$x$"], "rival": ["<i>", "&"], "even": 0.1}]

    class Made:
        steps = [type("Step", (), {"notes": notes})]

    text = mixture_merges.mixture_merges(Made()).to_json()
    assert "<b>" not in text and "&lt;b" in text and "$x" not in text


def test_errors_by_merges(mixture):
    notes = mixture.steps[-1].notes
    drawn = named(mixture_errors.mixture_errors(mixture))
    for name, share in notes["true"].items():
        assert list(drawn[name].y) == [100 * (one["inferred"][name] - share) for one in notes["settling"]]
        assert list(drawn[name].x) == [10, 20]


def test_they_say_whose_notes_they_draw(premiums, mixture):
    for name, trace in ((MIXTURES[0], premiums), (PREMIUMS[0], mixture)):
        with pytest.raises(LabError, match="another method"):
            views.figure(name, [trace])
