"""Where the boxes of tokens stand when a text is laid out as the code it is."""

from __future__ import annotations

from typing import Any, NamedTuple

import plotly.graph_objects as go

from labkit.views.text import cut, width

LINE, HIGH, GAP, SIZE = 34, 28, 2, 14  # pixels: line height, token height, between tokens, letters


class Box(NamedTuple):
    """One token: its shown text, left edge, width and upper edge in pixels."""

    name: str
    x: float
    wide: float
    y: float


def boxes(texts: list[str], room: float) -> tuple[list[Box], float]:
    """The boxes of `texts` and the height they need; a line of the text is a line here, one longer than `room` goes on below."""
    found, x, y = [], 0.0, 0.0
    for text in texts:
        name = cut(text, 40)
        wide = max(15.0, width(name, SIZE) + 8)
        if x and x + wide > room:
            x, y = 0.0, y + LINE
        found.append(Box(name, x, wide, y))
        x += wide + GAP
        if "\n" in text:  # the indent of the next line
            x, y = width(text[text.rfind("\n") + 1 :].partition(text.strip() or "\0")[0], SIZE), y + LINE
    return found, y + LINE


def drawn(title: str, words: str, shapes: list[dict], notes: list[dict], wide: float, room: float, height: float) -> go.Figure:
    """A figure of `shapes` and `notes` on pixels, `room` by `height`, `wide` with its margins; asked anew when resized."""
    hidden: dict[str, Any] = {"visible": False, "fixedrange": True}
    figure = go.Figure(layout={"template": {}})
    figure.update_layout(
        title=title,
        meta={"words": words, "height": height + 56, "sized": True},
        shapes=shapes,
        annotations=notes,
        width=wide,
        height=height + 56,
        margin={"l": 12, "r": 12, "t": 44, "b": 12},
        xaxis={**hidden, "range": [0, room]},
        yaxis={**hidden, "range": [height, 0]},
    )
    return figure
