"""Do chunks begin where words begin? Precision and recall while Less-is-Better reads."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.lib_growth import BESIDE

COLUMNS = ("documents", "precision", "recall", "F1")
LINES = (("precision", 1, "draft", "solid"), ("recall", 2, "target", "6px,4px"), ("F1", 3, "ink", "2px,3px"))


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a document; then BPE of as many types."""
    steps = [step.notes for step in read.steps(trace, upto) if "types" in step.notes]
    found = [(notes["documents"], *_figures(notes)) for notes in steps if "bpe" not in notes]
    return found + [(name, *_figures(worth)) for name, worth in (steps[-1].get("bpe", {}) if steps else {}).items()]


def _figures(worth: dict) -> tuple[float, float, float]:
    return worth["precision"], worth["recall"], worth["f1"]


def lib_words(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """x = documents read, y = share, on the same held-out sentences."""
    ink, table = themes.colours(theme), rows(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "Do chunks begin where words begin?"})
    figure.update_layout(meta={"words": _words(table), "height": 280})
    figure.update_layout(xaxis={"title": "documents read"}, yaxis={"title": "share of boundaries", "range": [0, 1]})
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"})
    learned = [row for row in table if not isinstance(row[0], str)]
    for name, place, colour, dash in LINES:
        figure.add_scatter(
            x=[row[0] for row in learned],
            y=[row[place] for row in learned],
            mode="lines+markers",
            line={"color": ink[colour], "width": 3, "dash": dash},
            marker={"size": 5},
            hovertext=[f"document {row[0]}: {name} {row[place]:.3f}" for row in learned],
            hoverinfo="text",
            name=name,
        )
    return figure


def _words(table: list[tuple]) -> str:
    if not table:
        return "No document has been read yet."
    known = {row[0]: row[3] for row in table}
    last = [row for row in table if not isinstance(row[0], str)][-1]
    said = f"After {last[0]} documents {last[1]:.0%} of the chunks begin with a word, and {last[2]:.0%} of the words with a chunk"
    beside = [f"{known[name]:.2f} for {name}" for name, *_ in BESIDE if name in known]
    return f"{said}; F1 is {last[3]:.2f}, and {', '.join(beside)}." if beside else f"{said}; F1 is {last[3]:.2f}."
