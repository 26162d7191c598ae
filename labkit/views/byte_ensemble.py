"""Bits a byte of the mean of two laws, by the share of the second (P045)."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("share of n-grams", "bits a byte")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a share."""
    shown = read.steps(trace, upto)
    notes = shown[-1].notes if shown else {}
    return list(zip(notes.get("shares", []), notes.get("bits", [])))


def byte_ensemble(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A line over the shares; a dashed one where the token model stands alone, a diamond at the best share."""
    ink = themes.colours(theme)
    table, shown = rows(trace, upto), read.steps(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "Do two models know more than one?", "showlegend": False})
    figure.update_layout(meta={"words": _words(table, shown[-1].notes if shown else {}), "height": 280})
    figure.update_layout(xaxis={"title": "share of the byte n-grams", "range": [-0.02, 1.02]})
    figure.update_layout(yaxis={"title": "bits a byte (less is better)"})
    if not table:
        return figure
    hover = [f"share {share:g}: {bits:.3f} bits a byte" for share, bits in table]
    line = {"mode": "lines+markers", "line": {"color": ink["draft"], "width": 3}, "hovertext": hover, "hoverinfo": "text"}
    figure.add_scatter(x=[row[0] for row in table], y=[row[1] for row in table], name="the mean", **line)
    best = min(table, key=lambda row: row[1])
    look = {"symbol": "diamond", "size": 14, "color": ink["target"], "line": {"color": ink["target-edge"], "width": 1}}
    figure.add_scatter(x=[best[0]], y=[best[1]], mode="markers", marker=look, name="best", hoverinfo="skip")
    figure.add_hline(y=table[0][1], line={"dash": "5px,4px", "color": ink["ink"], "width": 1.5})
    return figure


def _words(table: list[tuple], notes: dict) -> str:
    if not table:
        return "The mean of the model's law of bytes and a byte n-gram model's, over held-out text."
    best = min(table, key=lambda row: row[1])
    said = "no share makes the mean better than the model alone"
    if best[0]:
        said = f"best with a share of {best[0]:g}: {best[1]:.3f}"
    return (
        f"{notes['bytes']:,} bytes: the token model {table[0][1]:.3f} bits a byte, the n-grams {table[-1][1]:.3f}; {said}. "
        f"At {notes['better']:.0%} of the bytes the n-grams gave the right one more."
    )
