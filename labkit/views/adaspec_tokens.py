"""Which tokens AdaSPEC learns from: a text tinted by how far the draft lags behind the reference, the kept ones outlined."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.boxes import HIGH, SIZE, boxes, drawn
from labkit.views.text import escaped

COLUMNS = ("place", "token", "lag, nats", "kept")
LAGS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)  # nats; between them lie the tints, from pale (ahead) to dark


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a token: place from 1, text, the draft's loss minus the reference's (None for the first), whether it is kept."""
    steps = read.steps(trace, upto)
    listing = steps[-1].notes.get("listing") if steps else None
    if not listing:
        return []
    lags, kept = [None, *listing["lag"]], [False, *listing["kept"]]
    return list(zip(range(1, len(lags) + 1), listing["pieces"], lags, kept))


def adaspec_tokens(trace: Trace, upto: int | None = None, *, width: float = 1000, theme: str = "light") -> go.Figure:
    """Every token as a box; the darker, the more the draft lags. A thick outline: it is among those learned from.

    `width`: pixels of the whole figure.
    """
    ink = themes.colours(theme)
    table = rows(trace, upto)
    room = width - 24
    places, height = boxes([row[1] for row in table], room)
    shapes, notes = [], []
    for (_, _, lag, kept), box in zip(table, places):
        level = 0 if lag is None else sum(lag > edge for edge in LAGS)
        line = {"color": ink["draft"], "width": 3} if kept else {"width": 0}
        corners = {"x0": box.x + 1, "x1": box.x + box.wide - 1, "y0": box.y + 1, "y1": box.y + HIGH - 1}
        shapes.append({"type": "rect", **corners, "fillcolor": ink[f"e{level}"], "line": line})
        notes.append(
            {
                "x": box.x + 4,
                "y": box.y + HIGH / 2,
                "text": escaped(box.name),
                "font": {"family": themes.CODE_FONT, "size": SIZE, "color": ink[f"on-e{level}"]},
                "hovertext": "" if lag is None else f"lag {lag:+.2f} nats, {'kept' if kept else 'left out'}",
                "showarrow": False,
                "xanchor": "left",
                "yanchor": "middle",
                "borderpad": 0,
            }
        )
    return drawn("Which tokens can this draft still learn?", words(table), shapes, notes, width, room, height)


def words(table: list[tuple]) -> str:
    """How many are kept."""
    if not table:
        return "The text appears when the reference is ready and the drafts learn."
    kept = sum(row[3] for row in table)
    return (
        f"{kept} of {len(table) - 1} tokens are kept (outlined): those where the draft lags most behind the reference."
    )
