"""The text as tokens, laid out as the code it is, coloured by entropy."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.boxes import HIGH, SIZE, boxes
from labkit.views.text import escaped

MOST = 3000  # tokens of one picture; `upto` chooses which end there
COLUMNS = ("place", "token", "source", "entropy, nats")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a token: place from 1, text, who wrote it, entropy of the law it came from (None for the first)."""
    tokens = read.tokens(trace, upto)
    return [
        (place, token.text, token.source, token.belief.entropy if token.belief else None)
        for place, token in enumerate(tokens, 1)
    ]


def strip(trace: Trace, upto: int | None = None, *, width: float = 1000, theme: str = "light") -> go.Figure:
    """Every token as a box: the fill is the entropy's class, the foot its length (2 nats = the whole width).

    A line of the text is a line here; one longer than `width` pixels goes on below. Of a longer text the last `MOST` tokens.
    """
    ink = themes.colours(theme)
    whole = rows(trace, upto)
    table = whole[-MOST:]
    title = "Entropy, token by token"
    if len(table) < len(whole):
        title += f": the last {MOST:,} of {len(whole):,}"
    places, height = boxes([row[1] for row in table], width)
    shapes, notes = [], []
    for (_, _, _, nats), (name, x, wide, y) in zip(table, places):
        level = themes.entropy_class(nats or 0.0)
        shapes.append(
            {
                "type": "rect",
                "x0": x,
                "x1": x + wide,
                "y0": y,
                "y1": y + HIGH,
                "fillcolor": ink[f"e{level}"],
                "line": {"width": 0},
            }
        )
        if nats is not None and nats > 0.06:
            foot = {"x0": x, "x1": x + wide * min(1, nats / 2), "y0": y + HIGH - 5, "y1": y + HIGH - 1}
            shapes.append(
                {"type": "rect", **foot, "fillcolor": ink[f"on-e{level}"], "opacity": 0.85, "line": {"width": 0}}
            )
        font = {"family": themes.CODE_FONT, "size": SIZE, "color": ink[f"on-e{level}"]}
        notes.append(
            {
                "x": x + 4,
                "y": y + 11,
                "text": escaped(name),
                "font": font,
                "showarrow": False,
                "xanchor": "left",
                "yanchor": "middle",
                "borderpad": 0,
            }
        )
    figure = go.Figure(layout={"template": {}})
    figure.update_layout(
        title=title,
        shapes=shapes,
        annotations=notes,
        width=width + 24,
        height=height + 56,
        margin={"l": 12, "r": 12, "t": 44, "b": 12},
        xaxis={"visible": False, "range": [0, width], "fixedrange": True},
        yaxis={"visible": False, "range": [height, 0], "fixedrange": True},
    )
    return figure
