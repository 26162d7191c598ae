"""Does the head that says when to stop know what it is talking about?"""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("head", "predicted", "actual", "drafts")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a head and bin of its predictions: mean P(accepted) it gave, mean it had, number of tested drafts."""
    shown = read.steps(trace, upto)
    found = shown[-1].notes["reliability"] if shown else {}
    return [(head, *row) for head, figures in found.items() for row in figures["bins"]]


def stop_reliability(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Predicted against actual acceptance of tested drafts, in ten bins; on the diagonal the head is right on average."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    figure.update_layout(
        title="Does the head know what will be accepted?",
        xaxis={"title": "predicted P(accepted)", "range": [0, 1]},
        yaxis={"title": "accepted", "range": [0, 1.02]},
        meta={"words": "On the diagonal a head is right on average.", "height": 320},
    )
    shown = read.steps(trace, upto)
    found = shown[-1].notes["reliability"] if shown else {}
    looks = {"weighted": (ink["draft"], "circle", "solid"), "even": (ink["e5"], "square", "6px,3px")}
    for head, figures in sorted(found.items()):
        colour, symbol, dash = looks[head]
        counts = [count for _, _, count in figures["bins"]]
        sizes = [6 + 12 * (count / max(counts)) ** 0.5 for count in counts]
        figure.add_scatter(
            x=[said for said, _, _ in figures["bins"]],
            y=[was for _, was, _ in figures["bins"]],
            name=head,
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": dash},
            marker={"symbol": symbol, "color": colour, "size": sizes, "opacity": 1},
            hovertext=[f"{head}: predicted {said:.2f}, was {was:.2f}, {count:,} drafts" for said, was, count in figures["bins"]],
            hoverinfo="text",
        )
        figure.layout.meta["words"] += (
            f" {head.capitalize()}: predicted {figures['predicted']:.2f} on average, was {figures['actual']:.2f}."
        )
    if found:
        line = {"color": ink["edge"], "width": 1, "dash": "2px,3px"}
        figure.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, line=line, layer="below")
    return figure
