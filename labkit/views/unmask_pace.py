"""How many tokens a forward brings, with and without the padding behind the text's end."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.unmasking import ending, final, room

COLUMNS = ("round", "forwards", "tokens of the text", "padding")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a round: its forwards, the places filled up to the first end of text (that one included), and those behind it."""
    end = ending(trace, upto)
    found = []
    for number, step in enumerate(read.steps(trace, upto), 1):
        inside = sum(end is None or place <= end for place in step.at or ())
        found.append((number, step.cost.target_forwards, inside, len(step.at or ()) - inside))
    return found


def means(trace: Trace, upto: int | None = None) -> tuple[float, float]:
    """Tokens a forward: of the text alone, and with padding. A text that has come to its end is padded to the whole room."""
    table, end, text = rows(trace, upto), ending(trace, upto), final(trace, upto)
    forwards = sum(row[1] for row in table)
    whole = end is not None and all(place in text for place in range(end))
    filled = room(trace) if whole else len(text)
    return sum(row[2] for row in table) / forwards, filled / forwards


def _height(row: tuple) -> int:
    return row[2] + row[3]


def unmask_pace(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Bars, one a round: tokens of the text, padding on top; two lines are their means a forward."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    table = rows(trace, upto)
    words = "No round yet."
    if table:
        rounds = [row[0] for row in table]
        solid = {"color": ink["draft"], "line": {"color": ink["draft-ink"], "width": 1}}
        for name, column, look in (
            ("tokens of the text", 2, solid),
            ("padding behind its end", 3, themes.hatched(ink["edge"], ink["sunk"])),
        ):
            values = [row[column] for row in table]
            if column == 2 or any(values):
                hover = [f"round {row[0]}: {row[column]} {name}" for row in table]
                figure.add_bar(x=rounds, y=values, name=name, marker=look, hovertext=hover, hoverinfo="text")
        text, padded = means(trace, upto)
        lines = [("mean", text, ink["ink"], "solid")]
        if padded != text:
            lines.append(("mean with padding", padded, ink["target-edge"], "6px,3px"))
        for name, value, colour, dash in lines:
            style = {"mode": "lines", "line": {"color": colour, "width": 2, "dash": dash}}
            ends = [0.5, len(rounds) + 0.5]
            figure.add_scatter(x=ends, y=[value] * 2, name=f"{name} {value:.2f}", hoverinfo="name", **style)
        words = f"{text:.2f} tokens a forward; the text has no end yet, so there is no padding."
        if ending(trace, upto) is not None:
            words = (
                f"{text:.2f} tokens a forward up to the end of the text; {padded:.2f} if the padding behind it counted, "
                "which is easy to guess and worth nothing."
            )
    figure.update_layout(
        title="How many tokens does a forward bring?",
        meta={"words": words, "height": 108},
        # so low a panel has no line for a title
        xaxis={"tickprefix": "round ", "showtickprefix": "first", **themes.whole(len(table))},
        yaxis={"title": "places", "rangemode": "tozero", **themes.whole(max(map(_height, table), default=1), 6)},
        barmode="stack",
        bargap=0.15,
    )
    return figure
