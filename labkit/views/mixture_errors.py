"""How the inferred mixture settles as more merges are seen."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import theme as themes
from labkit.views.mixture_shares import last

COLUMNS = ("merges", "category", "inferred share", "error")
LOOKS = (("draft", "circle"), ("target", "square"), ("refuse", "cross"), ("here", "diamond"), ("e4", "triangle-up"))


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a number of merges and category: the inferred share, and how far it is from the true one, where that is known."""
    notes = last(trace, upto)
    true = notes["true"]
    return [
        (one["merges"], name, share, share - true[name] if name in true else None)
        for one in notes.get("settling", [])
        for name, share in one["inferred"].items()
    ]


def mixture_errors(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A line a category: its error in points against the number of merges; its share, where the truth is not known."""
    ink = themes.colours(theme)
    table, notes = rows(trace, upto), last(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "How many merges does it take?"})
    axis = {"title": "error, points"} if notes["true"] else {"title": "inferred share, %", "rangemode": "tozero"}
    counts = sorted({row[0] for row in table})
    figure.update_layout(
        meta={"words": _words(table), "height": 270},
        xaxis={"title": "merges seen", "type": "log", "tickvals": counts or [10, 100, 1000]},
        yaxis=axis,
    )
    for name, (colour, symbol) in zip(notes["categories"], LOOKS):
        mine = [row for row in table if row[1] == name]
        values = [100 * (row[2] if row[3] is None else row[3]) for row in mine]
        figure.add_scatter(
            x=[row[0] for row in mine],
            y=values,
            mode="lines+markers",
            name=name,
            line={"color": ink[colour], "width": 2},
            marker={"symbol": symbol, "size": 9},
            hovertext=[f"{row[0]:,} merges, {name}: {value:.2f}" for row, value in zip(mine, values)],
            hoverinfo="text",
        )
    return figure


def _words(table: list[tuple]) -> str:
    errors: dict[int, float] = {}
    for merges, _, _, error in table:
        if error is not None:
            errors[merges] = max(errors.get(merges, 0.0), abs(error))
    said = ", ".join(f"{100 * error:.1f} after {merges:,}" for merges, error in errors.items())
    return f"The largest error in points: {said}." if said else "At the end the attack is repeated with fewer merges."
