"""P185 Prophet: how far the favourites are ahead, against the staircase of bounds at which it stops."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("round", "lead, logits", "bound, logits", "places filled", "settled")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a round: the lead over the region, the bound it has to reach, places filled, and whether all was settled by it."""
    return [
        (number, step.notes["lead"], step.notes["bound"], len(step.emitted), "settled" in step.notes["reasons"])
        for number, step in enumerate(read.steps(trace, upto), 1)
    ]


def prophet_exit(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """The lead as a line, the bounds as stairs over the whole schedule, a star where the rest was taken at once."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    table, words = rows(trace, upto), "No round yet."
    x: dict = {"title": "round of the static schedule"}
    if table:
        notes = read.steps(trace, upto)[-1].notes
        ends = [start for start, _ in notes["stairs"][1:]] + [notes["schedule"]]
        corners = [(at + 0.5, bound) for (start, bound), end in zip(notes["stairs"], ends) for at in (start, end)]
        stairs = {"color": ink["target-edge"], "width": 2}
        style = {"mode": "lines", "line": stairs, "name": "bound", "hoverinfo": "skip"}
        figure.add_scatter(x=[at for at, _ in corners], y=[bound for _, bound in corners], **style)
        figure.add_scatter(
            x=[row[0] for row in table],
            y=[row[1] for row in table],
            mode="lines+markers",
            name="lead",
            line={"color": ink["draft"], "width": 2},
            marker={"color": ink["draft"], "size": 6},
            hovertext=[f"round {row[0]}: lead {row[1]:.2f}, bound {row[2]:g}" for row in table],
            hoverinfo="text",
        )
        exits = [row for row in table if row[4]]
        if exits:
            look = {"color": ink["refuse"], "symbol": "star", "size": 16, "line": {"color": ink["ink"], "width": 1}}
            where = {"x": [row[0] for row in exits], "y": [row[1] for row in exits]}
            figure.add_scatter(mode="markers", marker=look, name="takes the rest", hoverinfo="skip", **where)
        x["range"] = [0.5, notes["schedule"] + 0.5]
        close = min(table, key=lambda row: row[2] - row[1])
        words = (
            f"No exit in {len(table)} of {notes['schedule']} rounds; it was closest at round {close[0]}: "
            f"a lead of {close[1]:.2f} against {close[2]:g}."
        )
        if exits:
            at, _, _, rest, _ = exits[0]
            words = f"Round {at} of {notes['schedule']}: the lead reaches the bound, and {rest} places are taken at once."
    figure.update_layout(
        title="When is the answer settled?",
        meta={"words": words, "height": 280},
        xaxis=x,
        yaxis={"title": "lead of the best logit", "rangemode": "tozero"},
    )
    return figure
