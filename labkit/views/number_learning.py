"""How the two models came to add: right answers along the training, by which side their numbers are cut from."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

KINDS = {"same": "as long", "grows": "one longer"}
COLUMNS = ("numbers", "sum", "step", "share right")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a look, direction and length of the sum: the mean over all lengths of addends. Raises `KeyError` without notes."""
    shown = read.steps(trace, upto)
    learned = shown[-1].notes["learned"] if shown else {}
    found = []
    for way, looks in learned.items():
        for kind in KINDS:
            for look in looks:
                shares = [of[kind] for digits, of in look.items() if digits != "step" and int(digits) >= 4]
                found.append((way, kind, look["step"], sum(shares) / len(shares)))
    return found


def number_learning(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Share of right sums of numbers of four to nine digits against the step of the training."""
    ink, table = themes.colours(theme), rows(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "Which one learns sooner?"})
    words = "The same steps, the same sums; longer numbers come in later."
    figure.update_layout(meta={"words": words if table else "The small adders bring their training along.", "height": 270})
    figure.update_layout(xaxis={"title": "step of the training"}, yaxis={"title": "share right", "range": [0, 1.03]})
    for way, colour, symbol in (("r2l", "target", "square"), ("l2r", "draft", "circle")):
        for kind, name in KINDS.items():
            points = [row for row in table if row[:2] == (way, kind)]
            if points:
                figure.add_scatter(
                    x=[row[2] for row in points],
                    y=[row[3] for row in points],
                    name=f"{way}, sum {name}",
                    mode="lines+markers",
                    line={"color": ink[colour], "width": 3, "dash": "solid" if kind == "same" else "dot"},
                    marker={"size": 8, "symbol": symbol if kind == "same" else f"{symbol}-open"},
                    hovertext=[f"{way}, step {row[2]:,}: {row[3]:.0%}" for row in points],
                    hoverinfo="text",
                )
    return figure
