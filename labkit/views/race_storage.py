"""What each way to store a cache costs and spoils: bytes held against KL."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import theme as themes
from labkit.views.race_needles import COLUMNS, rows
from labkit.views.text import escaped

__all__ = ["COLUMNS", "race_storage", "rows"]

LEAST = 1e-4  # nats; less is drawn there


def race_storage(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A mark for each way: bytes held (dense = 100%) to the right, KL(dense || policy) upwards, by powers of ten."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    table = rows(trace, upto)
    for number, row in enumerate(table):
        if row[0] == "dense":
            figure.add_vline(x=row[6], line={"color": ink["edge"], "dash": "dot"}, annotation={"text": "dense"})
            continue
        colour, symbol = ("refuse", "diamond") if row[0].endswith("bits") else ("draft", "circle")
        figure.add_scatter(
            x=[row[6]],
            y=[max(row[3], LEAST)],
            name=escaped(row[0]),
            mode="markers+text",
            text=[escaped(row[0])],
            textposition="bottom center" if number % 2 == 0 else "top center",
            textfont={"size": 12, "color": ink["ink-2"]},
            marker={"color": ink[colour], "symbol": symbol, "size": 11, "line": {"color": ink["ink"], "width": 1}},
            cliponaxis=False,
            hovertext=f"{escaped(row[0])}: {row[6]:.0%} of dense bytes, KL {row[3]:.3f} nats, {row[2]} of {row[1]} needles",
            hoverinfo="text",
        )
    words = "Low and left is better; each line upwards is ten times the loss. Circles prune, diamonds quantise."
    figure.update_layout(
        title="Zeros or fewer bits?",
        meta={"words": words, "height": 330},
        xaxis={"title": "bytes held, dense = 100%", "tickformat": ".0%", "range": [0, 1.12]},
        yaxis={"title": "KL(dense || policy), nats", "type": "log", "dtick": 1, "range": [-4.3, 1.2], "exponentformat": "none"},
        showlegend=False,
    )
    return figure
