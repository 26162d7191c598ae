"""Right answers against what the exact laws foretell: exp(-KL), of every task all at once, and of the chosen one at every pace."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.parallel_accuracy import error_bars

COLUMNS = ("task", "tokens a round", "right", "of", "exp(-KL)")
NAMED = 0.97  # tasks foretold to be right more often than this stand on one spot: named only where they fall below
FALLEN = 0.9


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a dot; first the tasks, all tokens at once, then the chosen task at every number of tokens a round."""
    shown = read.steps(trace, upto)
    notes = shown[-1].notes if shown else {"tasks": [], "curve": []}
    found = [*notes["tasks"], *notes["curve"]]
    return [
        (one["name"], one["tokens"], one["right"], one["of"], one["bound"]) for one in found if one["of"] and one["bound"] is not None
    ]


def parallel_bound(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Share of right answers against exp(-KL), with the diagonal below which no exact law can fall when tokens are drawn."""
    ink, table = themes.colours(theme), rows(trace, upto)
    shown = read.steps(trace, upto)
    chosen = shown[-1].notes["task"] if shown else ""
    figure = go.Figure(layout={"template": {}, "title": "Can the cost be told beforehand?"})
    words = (
        "Circles: every task with all tokens at once; diamonds: the chosen task at every pace. Exact laws never fall below the "
        "line when tokens are drawn; on it right and wrong are drawn evenly."
    )
    figure.update_layout(meta={"words": words, "height": 290})
    figure.update_layout(
        xaxis={"title": "exp(−C): what dependence allows", "range": [-0.04, 1.06]},
        yaxis={"title": "right answers", "range": [-0.03, 1.08]},
    )
    rule = {"color": ink["target-edge"], "width": 2}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=rule, name="accuracy = exp(−C)", hoverinfo="skip")
    tasks = len([one for one in shown[-1].notes["tasks"] if one["of"] and one["bound"] is not None]) if shown else 0
    for points, name, marker in (
        (table[tasks:], f"{chosen}, by tokens a round", {"color": ink["here"], "size": 9, "symbol": "diamond"}),
        (table[:tasks], "all at once", {"color": ink["draft"], "size": 10}),
    ):
        if not points:
            continue
        figure.add_scatter(
            x=[row[4] for row in points],
            y=[row[2] / row[3] for row in points],
            name=name,
            mode="markers+text" if marker["color"] == ink["draft"] else "markers",
            marker=marker,
            text=[_label(row) for row in points],
            textposition="middle right",
            textfont={"size": 11, "color": ink["ink-2"]},
            error_y=error_bars([row[2:4] for row in points]) | {"color": marker["color"]},
            hovertext=[f"{row[0]}, {row[1]} at once: {row[2]} of {row[3]} right, exp(−C) {row[4]:.3g}" for row in points],
            hoverinfo="text",
        )
    return figure


def _label(row: tuple) -> str:
    """The task's name where its dot stands apart."""
    share = row[2] / row[3]
    return row[0] if 0.06 < row[4] < NAMED or row[4] >= NAMED and share < FALLEN else ""
