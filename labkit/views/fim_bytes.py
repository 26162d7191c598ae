"""Gaps filled right, by way of filling; and the last ones with what each way wrote (P045)."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.acceptance import wilson
from labkit.views.text import cut

COLUMNS = ("way", "gaps", "filled right", "low (95 % Wilson)", "high (95 % Wilson)")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a way: gaps, those filled right, and the interval of their share."""
    shown = read.steps(trace, upto)
    notes = shown[-1].notes if shown else {}
    gaps = notes.get("gaps", 0)
    return [(way, gaps, right, *wilson(right, gaps)) for way, right in notes.get("right", {}).items()]


def fim_bytes(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Bars with intervals."""
    ink = themes.colours(theme)
    table, shown = rows(trace, upto), read.steps(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "Who fills a gap that begins inside a word?", "showlegend": False})
    figure.update_layout(meta={"words": _words(shown[-1].notes if shown else {}), "height": 300}, bargap=0.4)
    looks = {
        "naive": themes.hatched(ink["refuse"], ink["refuse-tint"]),
        "token healing": themes.hatched(ink["draft"], ink["draft-tint"], "x"),
        "exact": {"color": ink["target"], "line": {"color": ink["target-edge"], "width": 1}},
    }
    plain = {"color": ink["sunk"], "line": {"color": ink["edge"], "width": 1}}
    for place, (way, gaps, right, low, high) in enumerate(table):
        figure.add_bar(
            x=[place],
            y=[right / max(gaps, 1)],
            name=way,
            marker=looks.get(way, plain),
            error_y=themes.whiskers(ink, [(low, right / max(gaps, 1), high)]),
            hovertext=[f"{way}: {right} of {gaps}"],
            hoverinfo="text",
        )
    names = [f"{way}<br>{right} of {gaps}" for way, gaps, right, *_ in table]
    figure.update_layout(xaxis={"tickvals": list(range(len(table))), "ticktext": names, "showgrid": False})
    figure.update_layout(yaxis={"title": "filled letter for letter", "range": [0, 1]})
    return figure


def _words(notes: dict) -> str:
    if not notes:
        return "The rest of a line is taken out, from inside a word on; every way writes it greedily."
    before, middle, said = (notes["now"][key] for key in ("before", "middle", "said"))
    wrote = ", ".join(f"{way} “{cut(text, 26)}”" for way, text in said.items())
    return f"Behind “{cut(before, 26)}” stood “{cut(middle, 26)}”. Wrote: {wrote}."
