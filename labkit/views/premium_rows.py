"""Premiums of many tokenizers at once: a row each, a mark a language."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.premium_bars import FAMILIES, languages

COLUMNS = ("tokenizer", "language", "script", "tokens", "premium")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a tokenizer and language."""
    shown = read.steps(trace, upto)
    titles = shown[-1].notes["titles"] if shown else {}
    found = languages(trace, upto)
    return [
        (title, row["name"], row["family"], row["tokens"][name], row["premiums"][name])
        for name, title in titles.items()
        for row in found
        if name in row["premiums"]
    ]


def premium_rows(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Premium on a logarithmic axis, a row for each tokenizer, the widest spread on top."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    widest = {title: max(row[4] for row in table if row[0] == title) for title in dict.fromkeys(row[0] for row in table)}
    order = sorted(widest, key=widest.get)
    figure = go.Figure(layout={"template": {}, "title": "What does a language pay under a tokenizer made for others?"})
    figure.update_layout(
        meta={"words": _words(table), "height": max(200, 110 + 30 * len(order))},
        xaxis={"title": "tokens over English's", "type": "log", "tickvals": [0.25, 0.5, 1, 2, 4, 8, 16]},
        yaxis={"categoryorder": "array", "categoryarray": order, "showgrid": True},
    )
    for family, (colour, symbol) in FAMILIES.items():
        mine = [row for row in table if row[2] == family]
        figure.add_scatter(
            x=[row[4] for row in mine],
            y=[row[0] for row in mine],
            mode="markers",
            name=family,
            marker={"symbol": symbol, "size": 8, "color": ink[colour], "opacity": 0.8},
            hovertext=[f"{row[0]}, {row[1]}: {row[3]:,} tokens, {row[4]:.2f} times English" for row in mine],
            hoverinfo="text",
        )
    return figure


def _words(table: list[tuple]) -> str:
    own = [row for row in table if row[0] == "The model's own"]
    if len(own) < 3:
        return "All of the lab's tokenizers read the same phrases, one language after the other."
    least, most = min(own, key=lambda row: row[4]), max(own, key=lambda row: row[4])
    return (
        f"With the model's own tokenizer {most[1]} needs {most[4]:.1f} times as many tokens as English, {least[1]} "
        f"{least[4]:.2f} times; each mark is one of {len(own)} languages."
    )
