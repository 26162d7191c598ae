"""The places of one text by forwards, side by side for every way to write: left to right, drafted and checked, any order."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import escaped, label, piece

COLUMNS = ("way to write", "forward", "place", "token", "by")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a place that is filled: by which way to write, at which forward, and who proposed the token."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    found = []
    for lane, tokens in zip(shown[-1].notes["lanes"], shown[-1].notes["tokens"]):
        rest = iter(tokens)
        for forward, (places, drafted) in enumerate(zip(lane["filled"], lane["drafted"]), 1):
            for number, place in enumerate(places):
                who = "any order" if lane["diffuses"] else "draft" if number < drafted else "target"
                found.append((lane["name"], forward, place + 1, piece(trace, next(rest)), who))
    return found


def any_order(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """One panel a way to write, places across and forwards downwards; all panels share the scale of forwards."""
    ink = themes.colours(theme)
    shown = read.steps(trace, upto)
    notes = shown[-1].notes if shown else {"lanes": [], "room": 1}
    names = [lane["name"] for lane in notes["lanes"]]
    figure = go.Figure(layout={"template": {}})
    words = "Nothing is written yet."
    if names:
        titles = [escaped(name).replace(", ", ",<br>") for name in names]
        make_subplots(1, len(names), shared_yaxes=True, horizontal_spacing=0.02, subplot_titles=titles, figure=figure)
        figure.update_annotations(font={"size": 12, "color": ink["ink"]})
        marks = {"target": ("target", "target-edge", "square"), "draft": ("draft", "draft-ink", "circle")}
        marks["any order"] = ("e4", "e5", "diamond")
        table, legend = rows(trace, upto), set()
        for column, name in enumerate(names, 1):
            for who, (fill, edge, shape) in marks.items():
                look = {"color": ink[fill], "symbol": shape, "size": 7, "line": {"color": ink[edge], "width": 1}}
                mine = [row for row in table if row[0] == name and row[4] == who]
                if mine:
                    figure.add_scatter(
                        x=[row[2] for row in mine],
                        y=[row[1] for row in mine],
                        mode="markers",
                        name={"target": "the target's own", "draft": "drafted and accepted"}.get(who, who),
                        legendgroup=who,
                        showlegend=who not in legend,
                        marker=look,
                        hovertext=[f"forward {row[1]} fills place {row[2]}: {label(row[3])}" for row in mine],
                        hoverinfo="text",
                        row=1,
                        col=column,
                    )
                    legend.add(who)
        room = notes["room"]
        figure.update_xaxes(range=[0.3, room + 0.7], showgrid=False, title="place")
        figure.update_yaxes(range=[room + 0.7, 0.3])
        figure.update_layout(yaxis={"title": "forward"})
        done = "; ".join(
            f"{name}: {sum(map(len, lane['filled']))} in {len(lane['filled'])}" for name, lane in zip(names, notes["lanes"])
        )
        words = f"Text {notes['text']} of {notes['texts']}. Places filled in so many forwards: {done}."
    figure.update_layout(
        title="Which place is filled at which forward?",
        meta={"words": words, "height": 330},
        margin={"t": 84},
        legend={"y": 1.16},
    )
    return figure
