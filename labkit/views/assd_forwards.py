"""Calls a token by who drafts and how many places ahead, and the nats of what was written."""

from __future__ import annotations

from math import sqrt

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("who drafts", "places ahead", "texts", "calls a token", "nats a token", "standard error of the nats")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row for every drafter and k that has filled in a text; the error is over the texts."""
    shown, found = read.steps(trace, upto), []
    for one in shown[-1].notes["results"] if shown else []:
        if texts := len(one["calls"]):
            tokens = sum(one["tokens"])
            each = [nats / count for nats, count in zip(one["nats"], one["tokens"])]
            mean = sum(each) / texts
            error = sqrt(sum((nats - mean) ** 2 for nats in each) / (texts - 1) / texts) if texts > 1 else 0.0
            found.append((one["drafter"], one["k"], texts, sum(one["calls"]) / tokens, sum(one["nats"]) / tokens, error))
    return found


def assd_forwards(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: calls a token against k, 1 being one place a call. Right: nats a token, with twice the standard error."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, horizontal_spacing=0.1, figure=go.Figure(layout={"template": {}}))
    table = rows(trace, upto)
    looks = {
        "nobody": ({"color": ink["ink-3"], "width": 2, "dash": "dot"}, "x"),
        "itself": ({"color": ink["draft"], "width": 3}, "circle"),
    }
    other = ({"color": ink["target-edge"], "width": 3, "dash": "dash"}, "square")
    for drafter in dict.fromkeys(row[0] for row in table):
        line, symbol = looks.get(drafter, other)
        mine = [row for row in table if row[0] == drafter]
        hover = [
            f"{drafter}, {row[1]} ahead: {row[3]:.3f} calls and {row[4]:.3f} ± {2 * row[5]:.3f} nats a token, {row[2]} texts"
            for row in mine
        ]
        style = {"name": drafter, "hovertext": hover, "hoverinfo": "text", "line": line}
        marker = {"symbol": symbol, "size": 9, "color": line["color"]}
        style |= {"mode": "lines+markers", "x": [row[1] for row in mine], "marker": marker}
        figure.add_scatter(y=[row[3] for row in mine], row=1, col=1, **style)
        errors = {"array": [2 * row[5] for row in mine], "color": line["color"], "thickness": 1}
        figure.add_scatter(y=[row[4] for row in mine], error_y=errors, showlegend=False, row=1, col=2, **style)
    ahead = {"title": "places drafted ahead", "type": "log", "tickvals": [1, 2, 4, 8, 16]}
    words = "Left: 1 is one place a call. Right: how unlikely the written text is to the model; the same law gives the same nats."
    figure.update_layout(
        title="Does guessing ahead save calls?",
        meta={"words": words, "height": 300},
        xaxis=ahead,
        xaxis2=ahead,
        yaxis={"title": "calls a token"},
        yaxis2={"title": "nats a token"},
    )
    return figure
