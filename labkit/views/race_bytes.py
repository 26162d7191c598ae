"""What each cache policy pays: bytes held and bytes read, against how far its law is from dense attention's."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import theme as themes
from labkit.views.race_needles import COLUMNS, rows

__all__ = ["COLUMNS", "race_bytes", "rows"]


def race_bytes(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """KL against bytes: a filled circle where a policy's cache stands, a hollow square where its reading does."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    table = rows(trace, upto)
    for name, place, colour, symbol in (
        ("held", 6, "draft", "circle"),
        ("read a step", 7, "target-edge", "square-open"),
    ):
        figure.add_scatter(
            x=[row[place] for row in table],
            y=[row[3] for row in table],
            mode="markers",
            name=name,
            marker={"color": ink[colour], "symbol": symbol, "size": 11, "line": {"width": 2, "color": ink[colour]}},
            hovertext=[f"{row[0]}: {row[place]:.0%} of dense bytes {name}, KL {row[3]:.3f} nats" for row in table],
            hoverinfo="text",
        )
    for row in table:
        figure.add_scatter(
            x=[row[6], row[7]],
            y=[row[3]] * 2,
            mode="lines",
            line={"color": ink["line"], "width": 1},
            showlegend=False,
            hoverinfo="skip",
        )
    left = [row for row in table if row[0] != "dense"]
    places = [max(row[6], row[7]) for row in left]
    figure.add_scatter(
        x=places,
        y=[row[3] for row in left],
        **themes.written(ink, [f"  {row[0]}" for row in left], "right", themes.UI_FONT),
    )
    figure.update_layout(
        title="Evicting saves memory, selecting saves reading",
        meta={
            "words": "Filled: bytes the cache holds. Hollow: bytes a step reads. Dense attention is 100% of both.",
            "height": 330,
        },
        xaxis={"title": "bytes, dense = 100%", "tickformat": ".0%", "range": [0, 1.45]},
        yaxis={"title": "KL(dense || policy), nats", "rangemode": "tozero"},
    )
    return figure
