"""Merge after merge: the pair it had to beat, and which mixtures it contradicts."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import theme as themes
from labkit.views.mixture_shares import last
from labkit.views.text import escaped, short

COLUMNS = ("merge", "pair", "next under an even mixture", "lead, even", "lead, true", "lead, inferred")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a merge: its number and pair, the commonest other pair if the mixture were even, and leads (below 0: behind)."""
    found = last(trace, upto).get("list", [])
    return [
        (one["number"], _pair(one["merge"]), _pair(one["rival"]), one["even"], one.get("true"), one.get("inferred"))
        for one in found
    ]


def mixture_merges(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A line a merge: how far ahead of every other pair it was under an even mixture, the true one and the inferred one."""
    ink = themes.colours(theme)
    table, notes = rows(trace, upto), last(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "Was this merge the commonest pair?"})
    figure.update_layout(
        meta={"words": _words(notes), "height": 330},
        xaxis={
            "title": "lead over the best other pair",
            "tickformat": "+.0%",
            "range": [-1.05, 1.2],
            "tickvals": [-1, -0.5, 0, 0.5],
        },
        yaxis={
            "autorange": "reversed",
            "tickvals": list(range(len(table))),
            "ticktext": [f"{row[0]}: {escaped(row[1])}" for row in table],
            "tickfont": {"family": themes.CODE_FONT},
        },
        shapes=[{"type": "line", "yref": "paper", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "line": {"color": ink["ink"], "width": 1}}],
    )
    looks = (
        ("if the mixture were even", 3, "circle-open", ink["refuse"]),
        ("true mixture", 4, "diamond", ink["ink-3"]),
        ("inferred mixture", 5, "x", ink["draft"]),
    )
    for name, column, symbol, colour in looks:
        drawn = [(place, row) for place, row in enumerate(table) if row[column] is not None]
        if drawn:
            figure.add_scatter(
                x=[row[column] for _, row in drawn],
                y=[place for place, _ in drawn],
                mode="markers",
                name=name,
                marker={"symbol": symbol, "size": 10, "color": colour, "line": {"color": colour, "width": 2}},
                hovertext=[f"{escaped(row[1])}, {name}: {row[column]:+.0%} against the best other pair" for _, row in drawn],
                hoverinfo="text",
            )
    if table:
        words = themes.written(ink, [f"vs {escaped(row[2])}" for row in table], "right", themes.CODE_FONT)
        figure.add_scatter(x=[0.4] * len(table), y=list(range(len(table))), name="the next pair", **words)
    return figure


def _pair(halves: list[str]) -> str:
    return " + ".join(short(half) for half in halves)


def _words(notes: dict) -> str:
    if "list" not in notes:
        return "A merge left of the line was not the commonest pair under that mixture, and speaks against it."
    if "inferred" in notes["list"][0]:
        even, inferred = (sum(row[key] for row in notes["list"]) / len(notes["list"]) for key in ("even", "inferred"))
        return (
            "The merges that contradict an even mixture most: their mean lead is "
            f"{even:+.0%} under it, and {inferred:+.0%} under the inferred mixture."
        )
    return f"The last of {notes['applied']:,} merges; left of the line a merge speaks against the mixture."
