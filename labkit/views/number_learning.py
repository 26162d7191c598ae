"""How the small adders came to add: right answers along the training, by which side their numbers are cut from."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.number_errors import looks
from labkit.views.number_errors import rows as tallied

KINDS = {"same": "as long", "grows": "one longer"}
COLUMNS = ("numbers", "sum", "step", "share right")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a look, direction and length of the sum: the mean over all lengths of addends. Raises `KeyError` without notes."""
    shown = read.steps(trace, upto)
    learned = shown[-1].notes["learned"] if shown else {}
    found = []
    for way, curve in learned.items():
        for kind in KINDS:
            for step, by_digits in curve:
                found.append((way, kind, step, sum(of[kind] for of in by_digits.values()) / len(by_digits)))
    return found


def number_learning(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Share of right sums of numbers of four to nine digits against the step of the training; behind it the sums of this run."""
    ink, table = themes.colours(theme), rows(trace, upto)
    now = {row[:2]: 1 - row[4] for row in tallied(trace, upto)}
    figure = go.Figure(layout={"template": {}, "title": "Which one learns sooner?"})
    words = "The same steps, the same sums; longer numbers come in later. Stars: the sums of this run, by the trained models."
    figure.update_layout(meta={"words": words if table else "The small adders bring their training along.", "height": 270})
    figure.update_layout(xaxis={"title": "step of the training"}, yaxis={"title": "share right", "range": [0, 1.03]})
    for way in dict.fromkeys(row[0] for row in table):
        colour, _, symbol = looks(way, ink)
        for kind, name in KINDS.items():
            points = [row for row in table if row[:2] == (way, kind)]
            figure.add_scatter(
                x=[row[2] for row in points],
                y=[row[3] for row in points],
                name=f"{way}, sum {name}",
                mode="lines+markers",
                line={"color": colour, "width": 3, "dash": "solid" if kind == "same" else "dot"},
                marker={"size": 8, "symbol": symbol if kind == "same" else f"{symbol}-open"},
                hovertext=[f"{way}, step {row[2]:,}: {row[3]:.0%}" for row in points],
                hoverinfo="text",
            )
            if (way, kind) in now:
                star = {"size": 13, "symbol": "star" if kind == "same" else "star-open", "color": colour}
                figure.add_scatter(
                    x=[1.04 * points[-1][2]],
                    y=[now[way, kind]],
                    mode="markers",
                    marker=star,
                    showlegend=False,
                    hovertext=f"{way}, sum {name}, these sums: {now[way, kind]:.0%}",
                    hoverinfo="text",
                )
    return figure
