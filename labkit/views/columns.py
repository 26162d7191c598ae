"""Text drawn letter by letter in columns of equal width, with strokes where tokens begin."""

from __future__ import annotations

from typing import Any, Iterable

from labkit.views.text import escaped, shown
from labkit.views.theme import CODE_FONT

LETTER, ROW, EDGE, TOP = 10, 26, 12, 60  # pixels: a letter's column, a row, the margin, the heading's room


def letters(ink: dict[str, str], cells: Iterable[tuple[float, float, str]], colour: str = "ink", **more: Any) -> dict[str, Any]:
    """A plotly scatter of letters; a cell is (x, y, text), whitespace made visible."""
    cells = list(cells)
    look = {"mode": "text", "textfont": {"family": CODE_FONT, "size": 14, "color": ink[colour]}, "hoverinfo": "skip"}
    text = [escaped(shown(cell[2])) for cell in cells]
    return {"x": [cell[0] for cell in cells], "y": [cell[1] for cell in cells], "text": text, **look, **more}


def strokes(line: dict[str, Any], ends: Iterable[tuple[float, float, float]], **more: Any) -> dict[str, Any]:
    """A plotly scatter of upright strokes; an end is (x, y below, y above)."""
    x: list[float | None] = []
    y: list[float | None] = []
    for place, low, high in ends:
        x += [place, place, None]
        y += [low, high, None]
    return {"x": x, "y": y, "mode": "lines", "line": line, "hoverinfo": "skip", **more}


def across(width: float) -> int:
    """How many letters go into one row of a figure `width` pixels wide."""
    return max(8, int((width - 2 * EDGE) / LETTER))


def paper(rows: float, width: float) -> dict[str, Any]:
    """Size and axes without marks for `rows` rows of text, the first one at the top, in a figure `width` pixels wide."""
    bare = {"visible": False, "fixedrange": True}
    y = {**bare, "range": [rows - 0.4, -0.6]}
    margin = {"l": EDGE, "r": EDGE, "t": TOP, "b": EDGE}
    axes = {"xaxis": {**bare, "range": [0, (width - 2 * EDGE) / LETTER]}, "yaxis": y}
    return {**axes, "margin": margin, "width": width, "height": round(TOP + EDGE + ROW * rows)}
