"""What curated tokens save, on each domain's own text."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("tokenizer", "curated tokens", "tokens with them", "tokens without", "saved")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a tokenizer, on the held-out text of its own domain ("general": of all)."""
    steps = read.steps(trace, upto)
    found = steps[-1].notes["tokenizers"] if steps else {}
    saved = {name: 1 - row["with_custom"] / row["without"] if row["without"] else 0.0 for name, row in found.items()}
    return [(name, row["custom"], row["with_custom"], row["without"], saved[name]) for name, row in found.items()]


def domain_custom(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Bars: the share of tokens saved; below zero, the curated tokens cost more merges than they are worth."""
    ink, table = themes.colours(theme), rows(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "Do curated tokens pay?", "showlegend": False})
    words = "Tokens saved on the domain's own held-out text, at the same number of types: a curated token takes a merge's place."
    figure.update_layout(meta={"words": words, "height": 240})
    figure.update_layout(yaxis={"title": "tokens saved, %"}, xaxis={"title": "tokenizer, and how many curated tokens it has"})
    figure.add_bar(
        x=[f"{row[0]} ({row[1]})" for row in table],
        y=[100 * row[4] for row in table],
        text=[f"{100 * row[4]:+.2f} %" for row in table],
        textposition="outside",
        cliponaxis=False,
        marker={"color": ink["draft"], "line": {"color": ink["draft-ink"], "width": 1}},
        hovertext=[f"{row[0]}: {row[2]:,} tokens with, {row[3]:,} without" for row in table],
        hoverinfo="text",
        name="tokens saved",
    )
    return figure
