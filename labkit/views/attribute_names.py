"""With a monitor and without: how often the name behind a dot exists, and how often it is the file's own (P179)."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.acceptance import wilson
from labkit.views.text import label

COLUMNS = ("who", "question", "share", "low", "high", "places")
QUESTIONS = ("exists", "is the file's own")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a writer and question: the share of the places, its Wilson interval, the places."""
    shown = read.steps(trace, upto)
    notes = shown[-1].notes if shown else {"counts": {}, "known": 0}
    return [
        (who, question, count / notes["known"], *wilson(count, notes["known"]), notes["known"])
        for who, counts in notes["counts"].items()
        for question, count in zip(QUESTIONS, counts)
    ]


def attribute_names(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Two groups of bars: the name exists, and it is the one in the file; target and draft, free and under the monitor."""
    ink = themes.colours(theme)
    table, shown = rows(trace, upto), read.steps(trace, upto)
    figure = go.Figure(layout={"template": {}})
    looks = {
        "target, free": themes.hatched(ink["target-edge"], ink["target-tint"])
        | {"line": {"color": ink["target-edge"], "width": 1}},
        "target, monitor": {"color": ink["target"], "line": {"color": ink["target-edge"], "width": 1}},
        "draft, free": themes.hatched(ink["draft"], ink["draft-tint"]) | {"line": {"color": ink["draft"], "width": 1}},
        "draft, monitor": {"color": ink["draft"], "line": {"color": ink["draft"], "width": 1}},
    }
    for who in dict.fromkeys(row[0] for row in table):
        some = [row for row in table if row[0] == who]
        figure.add_bar(
            x=[row[1] for row in some],
            y=[row[2] for row in some],
            name=who,
            marker=looks[who],
            error_y=themes.whiskers(ink, ((row[3], row[2], row[4]) for row in some)),
            hovertext=[f"{who}: {row[1]} at {row[2]:.0%} of {row[5]} places" for row in some],
            hoverinfo="text",
        )
    figure.update_layout(
        title="Does the name behind the dot exist?",
        meta={"words": _words(shown[-1].notes if shown else {}), "height": 320},
        barmode="group",
        xaxis={"title": "the name that was written"},
        yaxis={"title": "share of the places", "range": [0, 1.02], "tickformat": ".0%"},
    )
    return figure


def _words(notes: dict) -> str:
    if not notes or not notes["known"]:
        return "Every step is one place in a held-out file, with a name to be written behind a dot."
    names = f"Of {notes['done']} places jedi knows names at {notes['known']}, the file's own among them at {notes['held']}. "
    latest = notes["latest"]
    wrote = ", ".join(f"{who} {label(name) or 'nothing'}" for who, name in latest["written"].items())
    return f"{names}The latest: {label(latest['line'], 40)} wants {label(latest['name'])}; {wrote}."
