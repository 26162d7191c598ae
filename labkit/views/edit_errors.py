"""What stays wrong in an edited cache: layer by layer in this text, and behind the same edits in held-out ones."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("layer", "keys, PIE", "values, PIE", "keys, no rotation", "values, no rotation")
LEAST = 1e-6  # nats; where smaller values are drawn


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a layer: relative errors of keys and values."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    ours, theirs = (shown[-1].notes["errors"][name] for name in ("PIE", "no rotation"))
    return [(layer, *row) for layer, row in enumerate(zip(*(one[part] for one in (ours, theirs) for part in ("keys", "values"))))]


def edit_errors(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: relative errors by layer. Right: KL of PIE against KL without rotation, a point a held-out text."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, horizontal_spacing=0.15, figure=go.Figure(layout={"template": {}}))
    table, shown = rows(trace, upto), read.steps(trace, upto)
    for name, column, colour, dash, symbol in (
        ("keys, no rotation", 3, "refuse", "dash", "x"),
        ("keys, PIE", 1, "draft", "solid", "circle"),
        ("values, PIE", 2, "draft", "dot", "circle-open"),
    ):
        figure.add_scatter(
            x=[row[0] for row in table],
            y=[row[column] for row in table],
            mode="lines+markers",
            name=name,
            line={"color": ink[colour], "dash": dash, "width": 2},
            marker={"symbol": symbol, "size": 8, "color": ink[colour]},
            hovertext=[f"layer {row[0]}: {name} off by {row[column]:.1%}" for row in table],
            hoverinfo="text",
            row=1,
            col=1,
        )
    texts = shown[-1].notes["texts"] if shown else []
    figure.add_scatter(
        x=[LEAST, 30],
        y=[LEAST, 30],
        mode="lines",
        name="equal",
        showlegend=False,
        line={"color": ink["edge"], "dash": "dash", "width": 1},
        hoverinfo="skip",
        row=1,
        col=2,
    )
    figure.add_scatter(
        x=[max(row[1], LEAST) for row in texts],
        y=[max(row[0], LEAST) for row in texts],
        mode="markers",
        name="held-out texts",
        showlegend=False,
        marker={"color": ink["draft"], "size": 9, "line": {"color": ink["paper"], "width": 1}},
        hovertext=[f"text {n}: KL {ours:.3g} with PIE, {bare:.3g} without" for n, (ours, bare) in enumerate(texts, 1)],
        hoverinfo="text",
        row=1,
        col=2,
    )
    note = {"showarrow": False, "font": {"size": 12, "color": ink["ink-3"]}, "xref": "x2 domain", "yref": "y2 domain"}
    figure.add_annotation(text="held-out texts" if texts else "held-out texts come last", x=0.03, y=0.97, **note, xanchor="left")
    figure.add_annotation(text="below: PIE is nearer", x=0.98, y=0.03, **note, xanchor="right")
    figure.update_layout(
        title="What does the rotation not repair?",
        meta={"words": _words(table, texts), "height": 310},
        xaxis={"title": "layer", "dtick": 1},
        yaxis={"title": "relative error behind the edit", "tickformat": ".0%", "rangemode": "tozero"},
        xaxis2=themes.nats("KL(full || no rotation), nats"),
        yaxis2=themes.nats("KL(full || PIE), nats"),
    )
    return figure


def _words(table: list[tuple], texts: list[list[float]]) -> str:
    if not table:
        return "Keys and values behind an edit never saw the new text: that is what stays wrong."
    words = (
        f"Behind the edit PIE's keys are off by {table[0][1]:.1%} in the first layer and by {table[-1][1]:.1%} in the last: "
        f"the rotation is right, but what they say is old."
    )
    if texts:
        ours, theirs = (sum(column) / len(texts) for column in zip(*texts))
        nearer = sum(row[0] < row[1] for row in texts)
        words += f" Held-out texts, mean KL: {ours:.2g} with PIE, {theirs:.2g} without; PIE nearer in {nearer} of {len(texts)}."
    return words
