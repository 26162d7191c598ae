"""What share of dense attention the chosen chunks catch (P056), against the budget, and its gain over the newest tokens."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("cuts", "normalisation", "budget", "recall", "over the newest tokens", "chunks", "tokens of the best chunk")
SHOWN = 0.25  # the budget at which gains are drawn
NORM = "mean"  # the normalisation drawn on the left
LOOKS = {  # colour, dash, symbol
    "predicted": ("draft", "solid", "circle"),
    "oracle": ("target-edge", "dash", "diamond"),
    "lines": ("here", "dot", "square"),
    "fixed size": ("edge", "dashdot", "cross"),
    "best tokens": ("ink", "solid", "line-ew"),
    "newest tokens": ("refuse", "longdash", "x"),
}
MARKS = {"mean": "circle", "sqrt": "square", "sum": "triangle-up"}


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a way of choosing and budget: means over held-out blocks of queries and layers."""
    steps = read.steps(trace, upto)
    if not steps:
        return []
    notes = steps[-1].notes
    newest = next(one["recall"] for one in notes["results"] if one["cuts"] == "newest tokens")
    return [
        (one["cuts"], one["norm"], budget, recall, recall - base, one.get("chunks"), one.get("best chunk"))
        for one in notes["results"]
        for budget, recall, base in zip(notes["budgets"], one["recall"], newest)
    ]


def dhsa_recall(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: recall against budget by boundary source. Right: points gained over the newest tokens at a quarter of the tokens, by
    source and normalisation."""
    ink, table = themes.colours(theme), rows(trace, upto)
    figure = make_subplots(1, 2, horizontal_spacing=0.14, column_widths=[0.56, 0.44], figure=go.Figure(layout={"template": {}}))
    figure.update_layout(title="How much of dense attention do chunks catch?", meta={"words": _words(table), "height": 330})
    figure.update_xaxes(title="tokens read", tickformat=".0%", row=1, col=1)
    figure.update_yaxes(title="dense attention caught", tickformat=".0%", row=1, col=1)
    figure.update_xaxes(title=f"points over the newest tokens, {SHOWN:.0%} read", zeroline=True, row=1, col=2)
    figure.update_yaxes(autorange="reversed", showgrid=False, row=1, col=2)
    for name, (colour, dash, symbol) in LOOKS.items():
        some = [row for row in table if row[0] == name and row[1] in (NORM, "")]
        figure.add_scatter(
            x=[row[2] for row in some],
            y=[row[3] for row in some],
            name=name,
            mode="lines+markers",
            line={"color": ink[colour], "dash": dash, "width": 2},
            marker={"symbol": symbol, "size": 7, "color": ink[colour]},
            hovertext=[f"{name}, {row[2]:.0%} read: {row[3]:.1%} caught" for row in some],
            hoverinfo="text",
            row=1,
            col=1,
        )
    for norm, symbol in MARKS.items():
        some = [row for row in table if row[1] == norm and row[2] == SHOWN]
        figure.add_scatter(
            x=[100 * row[4] for row in some],
            y=[row[0] for row in some],
            name=norm,
            mode="markers",
            marker={"symbol": symbol, "size": 11, "color": ink["draft-tint"], "line": {"color": ink["draft"], "width": 2}},
            hovertext=[f"{row[0]}, {norm}: {100 * row[4]:+.1f} points; the best chunk has {row[6]:.0f} tokens" for row in some],
            hoverinfo="text",
            row=1,
            col=2,
        )
    return figure


def _words(table: list[tuple]) -> str:
    at = {(row[0], row[1]): row for row in table if row[2] == SHOWN}
    if not at:
        return "Held-out code, read densely; every way of choosing names the tokens it would have read."
    best, newest = at["best tokens", ""][3], at["newest tokens", ""][3]
    return (
        f"At {SHOWN:.0%} of the tokens the best ones hold {best:.0%} of the attention, the newest {newest:.0%}; on the left "
        f"chunks are weighed by their {NORM}."
    )
