"""One text, several cuts: the tokenizer's own on top, then the newest others, with what the model thinks of each."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece, width

COLUMNS = ("row", "token", "from byte", "bytes", "in the tokenizer's own cut")
PIXELS = 350  # of a row, about: decides which tokens have room for their text
SIZE = 12  # letters


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a token of each cut: row 0 is the tokenizer's own, 1 the newest."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    plain, found = shown[-1].notes["plain"], []
    own = set(zip(plain["ids"], plain["starts"]))
    for number, row in enumerate([plain, *shown[-1].notes["rows"]]):
        at = 0
        for token, size in zip(row["ids"], row["sizes"]):
            found.append((number, piece(trace, token), at, size, (token, at) in own))
            at += size
    return found


def segmentations(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A row of boxes for each cut; tokens that the tokenizer itself would not have taken are coloured."""
    ink, table, shown = themes.colours(theme), rows(trace, upto), read.steps(trace, upto)
    figure = go.Figure(layout={"template": {}})
    total = sum(row[3] for row in table if row[0] == 0) or 1
    looks = {True: ("its own cut", "sunk"), False: ("other tokens", "draft-tint")}
    for own, (name, fill) in looks.items():
        some = [row for row in table if row[4] == own]
        if not some:
            continue
        fits = [width(label(row[1]), SIZE) < row[3] / total * PIXELS for row in some]
        figure.add_bar(
            x=[row[3] for row in some],
            y=[row[0] for row in some],
            base=[row[2] for row in some],
            orientation="h",
            name=name,
            width=0.78,
            marker={"color": ink[fill], "line": {"color": ink["edge" if own else "draft"], "width": 1}},
            text=[label(row[1]) if fit else "" for row, fit in zip(some, fits)],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"family": themes.CODE_FONT, "size": SIZE, "color": ink["ink"]},
            constraintext="none",
            hovertext=[f"{label(row[1])}: bytes {row[2]} to {row[2] + row[3] - 1}" for row in some],
            hoverinfo="text",
        )
    notes = shown[-1].notes if shown else {}
    cuts = [notes["plain"], *notes["rows"]] if notes else []
    names = [f"{len(cut['ids'])}, {cut['nats']:.0f}" for cut in cuts]
    figure.update_layout(
        title="The same text, cut in other ways",
        barmode="overlay",
        xaxis={"visible": False, "range": [0, total]},
        yaxis={"tickvals": list(range(len(names))), "ticktext": names, "range": [7.5, -0.5]},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        meta={"words": _words(notes), "height": 320},
    )
    return figure


def _words(notes: dict) -> str:
    if not notes:
        return "Every step cuts the text anew, without changing a letter of it."
    newest, plain = notes["rows"][0], notes["plain"]
    more, lost = len(newest["ids"]) - len(plain["ids"]), plain["nats"] - newest["nats"]
    limit = f", at most {notes['bound'] - len(plain['ids'])}" if notes["bound"] else ""
    return (
        f"On top the tokenizer's own cut, below it the newest others by {notes['way']}; on the left tokens, and ln p in nats. "
        f"The newest: {more} more{limit}; "
        f"the model finds it {abs(lost):.1f} nats {'less' if lost > 0 else 'more'} likely, though it says the same."
    )
