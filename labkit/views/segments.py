"""Accepted segments: how many drafted tokens in a row survive before the target puts in one of its own."""

from __future__ import annotations

from collections import Counter

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("accepted in a row", "PEARL segments", "ordinary rounds")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a length, from 0 to the longest seen or gamma: how often in PEARL, and in ordinary speculation over that text."""
    notes = [step.notes for step in read.steps(trace, upto) if "segments" in step.notes]
    mine = Counter(length for note in notes for length in note["segments"])
    theirs = Counter(kept for note in notes for *_, kept in note["ordinary"]["rounds"])
    longest = max([note["gamma"] for note in notes] + list(mine), default=-1)
    return [(length, mine[length], theirs[length]) for length in range(longest + 1)]


def segments(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Histogram of segment lengths; PEARL's have no upper limit, a round of ordinary speculation ends at gamma."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "How long do drafts survive?"})
    figure.update_layout(meta={"words": _words(table), "height": 240})
    for name, column, fill in (("PEARL, until a refusal", 1, ink["draft"]), ("ordinary, a round", 2, ink["paper"])):
        figure.add_bar(
            x=[row[0] for row in table],
            y=[row[column] for row in table],
            name=name,
            marker={"color": fill, "line": {"color": ink["draft"], "width": 1.5}},
            hovertext=[f"{row[0]} accepted in a row: {row[column]} times" for row in table],
            hoverinfo="text",
        )
    figure.update_layout(
        barmode="group",
        bargap=0.25,
        xaxis={"title": "drafted tokens accepted in a row", "dtick": 1},
        yaxis={"title": "times", "rangemode": "tozero"},
    )
    return figure


def _words(table: list[tuple]) -> str:
    said = []
    for name, column in (("PEARL's segments", 1), ("the rounds of ordinary speculation", 2)):
        if count := sum(row[column] for row in table):
            mean = sum(row[0] * row[column] for row in table) / count
            longest = max(row[0] for row in table if row[column])
            said.append(f"{name} keep {mean:.2f} drafts on average, {longest} at most")
    return f"{'; '.join(said)[:1].upper()}{'; '.join(said)[1:]}." if said else "No segment has ended yet."
