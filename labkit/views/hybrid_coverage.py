"""How many entries a vocabulary needs to write the running words whole: roots and affixes, forms, BPE, whole words."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("vocabulary of", "entries", "words covered")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a point of a curve. Raises `KeyError` when the steps have no such notes."""
    steps = read.steps(trace, upto)
    curves = steps[-1].notes["curves"] if steps else {}
    return [(name, *point) for name, points in curves.items() for point in points]


def hybrid_coverage(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """x = entries, the commonest first (log scale), y = share of the running words of which they write every token."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    steps = read.steps(trace, upto)
    notes = steps[-1].notes if steps else {}
    curves = notes["curves"] if steps else {}
    looks = {
        "roots and affixes": ({"color": ink["draft"], "width": 3}, "circle"),
        "every form by itself": ({"color": ink["here"], "width": 2, "dash": "2px,3px"}, "diamond"),
        "BPE": ({"color": ink["target-edge"], "width": 2.5, "dash": "6px,3px"}, "square"),
        "whole words": ({"color": ink["ink-2"], "width": 1.5}, "x-thin"),
    }
    for name, (line, symbol) in looks.items():
        points = curves.get(name, [])
        figure.add_scatter(
            x=[size for size, _ in points],
            y=[share for _, share in points],
            name=name,
            mode="lines+markers",
            line=line,
            marker={
                "symbol": symbol,
                "size": 8,
                "color": line["color"],
                "line": {"color": line["color"], "width": 1.5},
            },
            hovertext=[f"{name}: {size:,} entries write {share:.1%} of the words" for size, share in points],
            hoverinfo="text",
        )
    figure.update_layout(
        title="How many entries write how many words?",
        meta={"words": _words(notes), "height": 320},
        xaxis={"type": "log", "title": "entries, the commonest first", "dtick": "D2"},
        yaxis={"title": "running words written whole", "range": [0, 1.04], "tickformat": ".0%"},
    )
    return figure


def _words(notes: dict) -> str:
    if not notes:
        return "A word counts when all of its tokens are among the entries."
    found = [f"{name} {size:,}" for name, size in notes["needed"].items()]
    return f"Entries that write {notes['goal']:.0%} of the running words whole: {', '.join(found)}."
