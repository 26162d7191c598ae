"""Where it would pause: how often, and does looking ahead find the right token there?"""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("tau, nats", "share of places paused", "places looked at", "greedy right", "AdaDec right", "among those tried")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a threshold: share of all places, places looked at, and the shares of these (None where there are none yet)."""
    steps = read.steps(trace, upto)
    return [
        (row["tau"], row["paused"], row["looked"])
        + tuple(row[name] / row["looked"] if row["looked"] else None for name in ("greedy", "kept", "tried"))
        for row in (steps[-1].notes["by_tau"] if steps else [])
    ]


def pause_accuracy(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: the share of held-out places at or above tau. Right: what is right at such places, teacher-forced."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, horizontal_spacing=0.15, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(title="Does looking ahead find the right token?", meta={"words": "No place yet.", "height": 300})
    figure.update_layout(
        xaxis={"title": "tau, nats"},
        yaxis={"title": "share of places paused", "range": [0, 1.02]},
        xaxis2={"title": "tau, nats"},
        yaxis2={"title": "right at these places", "range": [0, 1.02]},
    )
    table, steps = rows(trace, upto), read.steps(trace, upto)
    if not table:
        return figure
    notes, taus = steps[-1].notes, [row[0] for row in table]
    for column, side, name, colour, dash, symbol in (
        (1, 1, "paused", ink["e5"], "solid", "circle"),
        (5, 2, f"among the {notes['branches']} tried", ink["ink-3"], "2px,3px", "diamond"),
        (4, 2, "AdaDec", ink["target-edge"], "solid", "circle"),
        (3, 2, "greedy", ink["ink"], "6px,3px", "square"),
    ):
        figure.add_scatter(
            x=taus,
            y=[row[column] for row in table],
            name=name,
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": dash},
            marker={"color": colour, "symbol": symbol, "size": 8},
            hovertext=[f"tau {row[0]:g}: {name} {row[column] or 0:.1%}, {row[2]} places looked at" for row in table],
            hoverinfo="text",
            showlegend=side == 2,
            row=1,
            col=side,
        )
    if notes["tau"] is not None:
        line = {"color": ink["here"], "width": 1.5, "dash": "6px,3px"}
        for side in (1, 2):
            style = {"name": "learned tau", "mode": "lines", "line": line, "showlegend": side == 1, "hoverinfo": "skip"}
            figure.add_scatter(x=[notes["tau"]] * 2, y=[0, 1], row=1, col=side, **style)
    figure.layout.meta["words"] = _words(notes)
    return figure


def _words(notes: dict) -> str:
    """The thresholds' lowest, where most places were looked at."""
    row = notes["by_tau"][0]
    if not row["looked"]:
        return f"{notes['places']:,} places read; none was looked at yet."
    return (
        f"{notes['places']:,} places read. From {row['tau']:g} nats on, at {row['looked']} places looked at: greedy right at "
        f"{row['greedy']}, AdaDec at {row['kept']} ({row['won']} won, {row['lost']} lost); among those tried at {row['tried']}."
    )
