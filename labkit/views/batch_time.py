"""Where the time of a batch goes, round by round: drafting, verifying, realigning."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

KINDS = ("draft", "verify", "realign", "stack")
COLUMNS = ("step", *(f"{kind}, ms" for kind in KINDS))
SAID = {"draft": "drafting", "verify": "verifying", "realign": "realigning", "stack": "stacking equal rows"}


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a step: milliseconds of each kind of work; reading the prompts is left out."""
    notes = [step.notes for step in read.steps(trace, upto)]
    return [(number, *(1000 * note["seconds"].get(kind, 0.0) for kind in KINDS)) for number, note in enumerate(notes, 1)]


def batch_time(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Stacked bars, one a step; seconds of this machine."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    totals = {kind: sum(row[column] for row in table) for column, kind in enumerate(KINDS, 1)}
    figure = go.Figure(layout={"template": {}, "title": "Where does the time go?"})
    figure.update_layout(meta={"words": _words(totals), "height": 260})
    looks = {
        "draft": {"color": ink["draft"]},
        "verify": {"color": ink["target"], "line": {"color": ink["target-edge"], "width": 1}},
        "realign": themes.hatched(ink["refuse"], ink["refuse-tint"]),
        "stack": themes.hatched(ink["here"], ink["paper"], "."),
    }
    for column, kind in enumerate(KINDS, 1):
        figure.add_bar(
            x=[row[0] for row in table],
            y=[row[column] for row in table],
            name=SAID[kind],
            marker=looks[kind],
            hovertext=[f"step {row[0]}: {SAID[kind]} {row[column]:.1f} ms" for row in table],
            hoverinfo="text",
        )
    axis = {"title": "milliseconds", "rangemode": "tozero"}
    return figure.update_layout(barmode="stack", bargap=0.15, xaxis={"title": "step", **themes.whole(len(table))}, yaxis=axis)


def _words(totals: dict[str, float]) -> str:
    if not (whole := sum(totals.values())):
        return "Nothing has happened yet."
    shares = ", ".join(f"{SAID[kind]} {time / whole:.1%}" for kind, time in totals.items())
    return f"So far {shares} of {whole / 1000:.2f} s, reading the prompts not counted."
