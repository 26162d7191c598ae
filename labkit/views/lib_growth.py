"""Fewer tokens, more types: what Less-is-Better trades while it reads."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("documents", "tokens for 100 characters", "chunks in the lexicon")
BESIDE = (("BPE inside words", "target", "6px,4px"), ("BPE over spaces", "here", "2px,3px"))


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a document; then BPE of as many types."""
    steps = [step.notes for step in read.steps(trace, upto) if "types" in step.notes]
    found = [(notes["documents"], notes["per_100"], notes["types"]) for notes in steps if "bpe" not in notes]
    if steps:
        found += [(name, worth["per_100"], steps[-1]["types"]) for name, worth in steps[-1].get("bpe", {}).items()]
    return found


def lib_growth(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: tokens of the same held-out sentences; right: the lexicon's size; x = documents read."""
    ink, table = themes.colours(theme), rows(trace, upto)
    figure = make_subplots(1, 2, horizontal_spacing=0.12, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(title="Fewer tokens, for how many types?", meta={"words": _words(table), "height": 280})
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"})
    learned = [row for row in table if not isinstance(row[0], str)]
    for place, (name, colour) in enumerate((("tokens for 100 characters", "draft"), ("chunks in the lexicon", "e5")), 1):
        axis = "" if place == 1 else "2"
        figure.update_layout({f"yaxis{axis}": {"title": name, "rangemode": "tozero"}})
        figure.update_layout({f"xaxis{axis}": {"title": "documents read"}})
        figure.add_scatter(
            x=[row[0] for row in learned],
            y=[row[place] for row in learned],
            mode="lines+markers",
            line={"color": ink[colour], "width": 3},
            marker={"size": 5},
            hovertext=[f"document {row[0]}: {row[place]:,.1f}" for row in learned],
            hoverinfo="text",
            name="Less is Better",
            showlegend=place == 1,
            row=1,
            col=place,
        )
    known = {row[0]: row[1] for row in table}
    for name, colour, dash in BESIDE:
        if name in known and learned:
            line = {"color": ink[colour], "width": 3, "dash": dash}
            ends = {"x": [learned[0][0], learned[-1][0]], "y": [known[name]] * 2, "mode": "lines", "line": line, "name": name}
            figure.add_scatter(**ends, hovertext=[f"{name}: {known[name]:.1f}"] * 2, hoverinfo="text", row=1, col=1)
    return figure


def _words(table: list[tuple]) -> str:
    if not table:
        return "No document has been read yet."
    known = {row[0]: row[1] for row in table}
    last = [row for row in table if not isinstance(row[0], str)][-1]
    said = f"After {last[0]} documents, {last[1]:.1f} tokens for 100 characters with {last[2]:,} chunks"
    beside = [f"{known[name]:.1f} for {name}" for name, *_ in BESIDE if name in known]
    return f"{said}; with as many types, {' and '.join(beside)}." if beside else f"{said}, on held-out sentences."
