"""The commonest tokens of a vocabulary, each told by its look: one bare morpheme, a word of several, or neither."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.boxes import HIGH, SIZE, boxes, drawn
from labkit.views.text import escaped

COLUMNS = ("token", "tag", "times")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a token, the commonest first: its text, "pure", "valid" or "neither", how often it stands in the text."""
    steps = read.steps(trace, upto)
    return [tuple(tile) for tile in steps[-1].notes["tiles"]] if steps else []


def morpheme_tiles(trace: Trace, upto: int | None = None, *, width: float = 1000, theme: str = "light") -> go.Figure:
    """Every token as a box: filled = pure, tinted = valid and not pure, dashed = neither. `width`: pixels of the whole figure."""
    ink = themes.colours(theme)
    looks = {
        "pure": (ink["draft"], ink["on-draft"], {"color": ink["draft"], "width": 1}),
        "valid": (ink["draft-tint"], ink["ink"], {"color": ink["draft"], "width": 1.5}),
        "neither": (ink["paper"], ink["ink"], {"color": ink["refuse"], "width": 1.5, "dash": "dash"}),
    }
    table = rows(trace, upto)
    room = width - 24
    places, height = boxes([row[0] for row in table], room)
    shapes, notes = [], []
    for (_, tag, times), box in zip(table, places):
        fill, text, line = looks[tag]
        corners = {"x0": box.x + 1, "x1": box.x + box.wide - 1, "y0": box.y + 1, "y1": box.y + HIGH - 1}
        shapes.append({"type": "rect", **corners, "fillcolor": fill, "line": line})
        notes.append(
            {
                "x": box.x + 4,
                "y": box.y + HIGH / 2,
                "text": escaped(box.name),
                "font": {"family": themes.CODE_FONT, "size": SIZE, "color": text},
                "hovertext": f"{tag}, {times} times",
                "showarrow": False,
                "xanchor": "left",
                "yanchor": "middle",
                "borderpad": 0,
            }
        )
    return drawn("Which tokens mean something?", _words(trace, upto), shapes, notes, width, room, height)


def _words(trace: Trace, upto: int | None) -> str:
    """What stands there, and the two shares of the unique tokens."""
    steps = read.steps(trace, upto)
    if not steps:
        return "Filled: one bare root or affix; tinted: a word of several; dashed: neither."
    notes = steps[-1].notes
    counts = notes["counts"]
    judged = sum(counts.values())
    valid, pure = (counts["pure"] + counts["valid"]) / max(judged, 1), counts["pure"] / max(judged, 1)
    size = f", {notes['size']:,} entries" if notes["size"] else ""
    return (
        f"{notes['segmenter'].capitalize() if notes['segmenter'].islower() else notes['segmenter']}{size}: of {judged:,} unique "
        f"tokens with letters {valid:.0%} are valid (filled or tinted) and {pure:.0%} pure (filled: one bare root or affix); "
        "dashed = neither. The commonest are shown."
    )
