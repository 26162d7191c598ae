"""The person's own text, cut by the lexicon as it is now, and by BPE of as many types."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.columns import across, letters, paper, strokes

COLUMNS = ("who cuts", "place", "token")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a token."""
    steps = [step.notes for step in read.steps(trace, upto) if "cut" in step.notes]
    found = zip(steps[-1]["names"], steps[-1]["cut"]) if steps else ()
    return [(name, place, token) for name, tokens in found for place, token in enumerate(tokens, 1)]


def lib_cut(trace: Trace, upto: int | None = None, *, width: float = 1000, theme: str = "light") -> go.Figure:
    """A stroke where a token begins; one block of lines for each that cuts. `width`: pixels of the whole figure."""
    ink, wide = themes.colours(theme), across(width)
    figure = go.Figure(layout={"template": {}, "title": "How is your text cut?", "showlegend": False})
    steps = [step.notes for step in read.steps(trace, upto) if "cut" in step.notes]
    figure.update_layout(meta={"words": "No document has been read yet.", "height": 200, "sized": True})
    if not steps:
        return figure
    notes, y = steps[-1], 0.0
    for name, tokens in zip(notes["names"], notes["cut"]):
        cells, begins, at = [], [], 0
        for token in tokens:
            row, left = divmod(at, wide)
            begins.append((left, y + 1 + row - 0.42, y + 1 + row + 0.42))
            for letter in token:
                row, left = divmod(at, wide)
                cells.append((left + 0.5, y + 1 + row, letter))
                at += 1
        said = f"{name}: {len(tokens)} {'token' if len(tokens) == 1 else 'tokens'}"
        figure.add_annotation(x=0, y=y, text=f"<b>{said}</b>", showarrow=False, xanchor="left", font={"size": 13})
        figure.add_scatter(**strokes({"color": ink["draft"], "width": 3}, begins, name=name))
        figure.add_scatter(**letters(ink, cells, name=name))
        y += 2.4 + max(0, at - 1) // wide
    counted = ", ".join(f"{len(tokens)} by {name}" for name, tokens in zip(notes["names"], notes["cut"]))
    plain = paper(y, width)
    return figure.update_layout(meta={"words": f"Tokens: {counted}.", "height": plain["height"], "sized": True}, **plain)
