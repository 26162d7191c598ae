"""What scoring a batch costs: all sentences at once in tensors, or one after the other in Python."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("sentences", "tensors, ms", "Python, ms", "times as fast", "counts equal")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a size of the batch. Raises `KeyError` when the step has no such notes."""
    shown = read.steps(trace, upto)
    times = shown[-1].notes["times"] if shown else []
    return [(one["sentences"], one["tensors"], one["python"], one["python"] / one["tensors"], one["equal"]) for one in times]


def bleu_time(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Milliseconds against the sentences of a batch, both axes by tens."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "What does a batch of scores cost?"})
    figure.update_layout(meta={"words": _words(table), "height": 280})
    figure.update_layout(xaxis={"title": "sentences", "type": "log", "tickvals": [row[0] for row in table]})
    figure.update_layout(yaxis={"title": "ms", "type": "log", "dtick": 1})
    for name, column, colour, dash, symbol in (
        ("all at once, in tensors", 1, "draft", "solid", "circle"),
        ("one by one, in Python", 2, "refuse", "dash", "x"),
    ):
        if table:
            figure.add_scatter(
                x=[row[0] for row in table],
                y=[row[column] for row in table],
                name=name,
                mode="lines+markers",
                line={"color": ink[colour], "width": 3, "dash": dash},
                marker={"size": 9, "symbol": symbol},
                hovertext=[f"{row[0]:,} sentences: {row[column]:.2f} ms" for row in table],
                hoverinfo="text",
            )
    return figure


def _words(table: list[tuple]) -> str:
    if not table:
        return "Batches are timed after the texts."
    size, _, _, times, _ = table[-1]
    same = "all counts are equal" if all(row[-1] for row in table) else "the counts DIFFER"
    return f"At {size:,} sentences tensors are {times:.1f} times as fast as a loop with counters, on this machine, now; {same}."
