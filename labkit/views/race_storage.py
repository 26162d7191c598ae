"""What each way to store a cache costs and spoils: bytes held against KL."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import theme as themes
from labkit.views.race_needles import COLUMNS, rows
from labkit.views.text import escaped

__all__ = ["COLUMNS", "race_storage", "rows"]

LOOKS = {"bits": ("refuse", "diamond"), "dense": ("ink-3", "square")}  # told by the last word of a name; the others prune


def race_storage(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A mark for each way: bytes held (dense = 100%) to the right, KL(dense || policy) upwards; low and left is better."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    table = rows(trace, upto)
    for row in table:
        colour, symbol = LOOKS.get(row[0].split()[-1], ("draft", "circle"))
        figure.add_scatter(
            x=[row[6]],
            y=[row[3]],
            name=escaped(row[0]),
            mode="markers+text",
            text=[escaped(row[0])],
            textposition="top center",
            textfont={"size": 12, "color": ink["ink-2"]},
            marker={"color": ink[colour], "symbol": symbol, "size": 11, "line": {"color": ink["ink"], "width": 1}},
            cliponaxis=False,
            hovertext=f"{escaped(row[0])}: {row[6]:.0%} of dense bytes, KL {row[3]:.3f} nats, {row[2]} of {row[1]} needles",
            hoverinfo="text",
        )
    figure.update_layout(
        title="Zeros or fewer bits?",
        meta={"words": "Low and left is better. Circles prune, diamonds quantise; the square is dense attention.", "height": 330},
        xaxis={"title": "bytes held, dense = 100%", "tickformat": ".0%", "range": [0, 1.12]},
        yaxis={"title": "KL(dense || policy), nats", "rangemode": "tozero"},
        showlegend=False,
    )
    return figure
