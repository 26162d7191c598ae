"""What a decoded token costs in an iteration of its own, and what it adds to an iteration that reads a chunk anyway."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import theme as themes
from labkit.views.servers import last, yet

COLUMNS = ("decodes in the batch", "alone, ms a token", "riding along, ms a token", "the chunk, ms")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a number of decodes."""
    found = last(trace, upto).get("cost", [])
    return [(decodes, 1000 * alone / decodes, 1000 * riding / decodes, 1000 * own) for decodes, alone, riding, own in found]


def serving_cost(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Two curves over the number of decodes: by themselves, and beside a chunk."""
    ink = themes.colours(theme)
    notes, table = last(trace, upto), rows(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "What does a decode cost, alone and riding along?"})
    figure.update_layout(meta={"words": _words(notes, table), "height": 190})
    alone = {"line": {"color": ink["ink-3"], "dash": "dash", "width": 2.5}, "marker": {"color": ink["ink-3"], "symbol": "square"}}
    riding = {"line": {"color": ink["draft"], "width": 2.5}, "marker": {"color": ink["draft"], "symbol": "circle"}}
    for name, place, look in (("alone", 1, alone), ("riding along", 2, riding)):
        figure.add_scatter(
            x=[row[0] for row in table],
            y=[row[place] for row in table],
            name=name,
            mode="lines+markers",
            hovertext=[f"{row[0]} decodes {name}: {row[place]:.2f} ms a token" for row in table],
            hoverinfo="text",
            **look,
        )
    return figure.update_layout(
        xaxis={"title": "decodes in the batch", "rangemode": "tozero"},
        yaxis={"title": "ms a decoded token", "rangemode": "tozero"},
    )


def _words(notes: dict[str, Any], table: list[tuple]) -> str:
    if not table:
        return yet(notes)
    decodes, alone, riding, own = table[-1]
    run = notes["runs"].get("SARATHI", [])
    ride, every = (sum(len(writers) for _, _, reads, writers in run if reads or whole) for whole in (False, True))
    rode = f" SARATHI let {ride:,} of {every:,} ride so far." if every else ""
    return (
        f"{decodes} alone: {alone * decodes:.1f} ms, {alone * decodes / own:.0%} of a chunk's {own:.1f}; "
        f"beside that chunk they add {riding * decodes:.1f} ms.{rode}"
    )
