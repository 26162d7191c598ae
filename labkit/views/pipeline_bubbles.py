"""The share of a pipeline's time that is bubbles, by its number of stages, under three schedulers."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import theme as themes
from labkit.views.servers import last, line, yet

COLUMNS = ("scheduler", "stages", "bubbles")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a scheduler and number of stages."""
    found = last(trace, upto).get("bubbles", {})
    return [(policy, stages, share) for policy, shares in found.items() for stages, share in enumerate(shares, 1)]


def pipeline_bubbles(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """One curve a scheduler."""
    ink = themes.colours(theme)
    notes, table = last(trace, upto), rows(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "How much of their time do the devices wait?"})
    figure.update_layout(meta={"words": _words(notes), "height": 210, "wide": True})
    for policy in dict.fromkeys(row[0] for row in table):
        mine = [row for row in table if row[0] == policy]
        figure.add_scatter(
            x=[row[1] for row in mine],
            y=[row[2] for row in mine],
            name=policy,
            mode="lines+markers",
            hovertext=[f"{policy}, {row[1]} stages: {row[2]:.1%} bubbles" for row in mine],
            hoverinfo="text",
            **line(ink, policy),
        )
    figure.update_layout(xaxis={"title": "stages", "range": [0.8, 8.2], "dtick": 1})
    return figure.update_layout(yaxis={"title": "bubbles", "tickformat": ".0%", "rangemode": "tozero"})


def _words(notes: dict[str, Any]) -> str:
    if not notes.get("bubbles"):
        return yet(notes)
    said = ", ".join(f"{policy} {shares[-1]:.1%}" for policy, shares in notes["bubbles"].items())
    return f"With {notes['stages']} stages: {said}. Counted while requests queue; all come at once."
