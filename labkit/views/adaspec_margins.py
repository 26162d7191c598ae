"""How clearly the draft prefers the target's favourite: its logit minus that of the best other token, place by place."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.shares import looks, named

COLUMNS = ("draft", "from, logits", "to, logits", "places")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a draft and bin; the outermost bins are open."""
    steps = read.steps(trace, upto)
    notes = steps[-1].notes if steps else {}
    edges = notes.get("edges", [])
    return [
        (name, low, high, count)
        for name, counts in notes.get("margins", {}).items()
        for low, high, count in zip(edges, edges[1:], counts)
    ]


def adaspec_margins(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Counts of places as steps; left of 0 the draft would have written another token."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    names = list(dict.fromkeys(row[0] for row in table))
    figure = go.Figure(layout={"template": {}})
    for name, line in looks(names, share_of(names), ink).items():
        mine = [row[1:] for row in table if row[0] == name]
        figure.add_scatter(
            x=[low for low, _, _ in mine] + [mine[-1][1]],
            y=[count for _, _, count in mine] + [mine[-1][2]],
            name=named(name),
            mode="lines",
            line={**line, "shape": "hv"},
            hovertext=[f"{named(name)}, {low} to {high}: {count} places" for low, high, count in mine] + [""],
            hoverinfo="text",
        )
    if table:
        line = {"color": ink["edge"], "dash": "dot"}
        figure.add_shape(type="line", x0=0, x1=0, y0=0, y1=1, yref="paper", line=line)
    figure.update_layout(
        title="How clearly does the draft want what the target wants?",
        meta={"words": words(table, names), "height": 280},
        xaxis={"title": "logit margin of the target's favourite"},
        yaxis={"title": "places", "rangemode": "tozero"},
    )
    return figure


def share_of(names: list[str]) -> float:
    """The share that is not 1, where there is one."""
    return min((float(name.removeprefix("share ")) for name in names), default=1.0)


def words(table: list[tuple], names: list[str]) -> str:
    """The share of places on the wrong side."""
    said = []
    for name in names:
        wrong = sum(row[3] for row in table if row[0] == name and row[2] <= 0)
        said.append(f"{100 * wrong / sum(row[3] for row in table if row[0] == name):.1f} % ({named(name)})")
    if not said:
        return "Left of 0 the draft would have written another token than the target's favourite."
    return f"Left of 0 the draft would have written another token than the target: {', '.join(said)} of the places."
