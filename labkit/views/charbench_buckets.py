"""How often an answer is right, by the length of the word and by the length of the token that hides the letter."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("property", "value", "share right", "standard error", "items")
NAMES = {"WL": "letters of the word (WL)", "TTL": "letters of its token (TTL)", "NT": "tokens of the word (NT)"}


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a property and value."""
    shown = read.steps(trace, upto)
    found = shown[-1].notes["buckets"] if shown else {}
    return [(name, *bucket) for name, of in found.items() for bucket in of]


def charbench_buckets(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Two curves with binomial standard errors."""
    ink, table, shown = themes.colours(theme), rows(trace, upto), read.steps(trace, upto)
    notes = shown[-1].notes if shown else {}
    figure = make_subplots(1, 2, horizontal_spacing=0.08, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(title="What makes it hard?", showlegend=False, meta={"words": _words(notes), "height": 300})
    for column, name in enumerate(notes.get("buckets", {}), 1):
        some = [row for row in table if row[0] == name]
        spans = [(row[2] - row[3], row[2], row[2] + row[3]) for row in some]
        figure.add_scatter(
            x=[row[1] for row in some],
            y=[row[2] for row in some],
            mode="lines+markers",
            name=name,
            line={"color": ink["draft"], "width": 2.5},
            marker={"size": 9},
            error_y=themes.whiskers(ink, spans),
            hovertext=[f"{name} {row[1]}: {row[2]:.0%} of {row[4]}" for row in some],
            hoverinfo="text",
            row=1,
            col=column,
        )
        figure.update_xaxes(title=NAMES[name], dtick=1, row=1, col=column)
        figure.update_yaxes(range=[0, 1.02], tickformat=".0%", row=1, col=column)
    figure.update_layout(yaxis={"title": "share right"})
    return figure


def _words(notes: dict) -> str:
    if not notes:
        return "Shares with one standard error, over all items so far."
    which = "TTL is asked where a place is; counting has none. " if "TTL" not in notes["buckets"] else ""
    return f"{notes['who']} on {notes['task']}, words cut {notes['cut']}. {which}Whiskers: one standard error."
