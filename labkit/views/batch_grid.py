"""The rectangle of a batch: padding, past, drafts accepted and refused, row by row, as the target's call saw it."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("row", "padding", "past", "accepted", "refused")
MOST = 32  # rows drawn; the others of a large window are counted
KINDS = {
    "grouped": "these rows were chosen for their one length, nothing is padded",
    "level": "no row had to move",
    "realigned": "every row was laid out anew behind its padding",
}


def last(trace: Trace, upto: int | None) -> dict:
    """The notes of the last step shown; {} before the first."""
    shown = read.steps(trace, upto)
    return shown[-1].notes if shown else {}


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a sequence: its number and its columns of each kind; those that wait beside the batch have a past only."""
    notes = last(trace, upto)
    if not notes:
        return []
    return [tuple(cells) for cells in notes["rows"]] + [(number, 0, length, 0, 0) for number, length in notes["waiting"]]


def batch_grid(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """One bar a sequence, one column a token: the batch above, whoever waits below."""
    ink = themes.colours(theme)
    notes, table = last(trace, upto), rows(trace, upto)[:MOST]
    figure = go.Figure(layout={"template": {}, "title": "How does a batch stay in step?"})
    figure.update_layout(meta={"words": _words(notes), "height": 110 + 20 * max(len(table), 8)})
    if not notes:
        return figure
    batch, places, begins = len(notes["rows"]), list(range(len(table))), [0] * len(table)
    past = [ink["sunk"]] * batch + [ink["paper"]] * (len(table) - batch)
    looks = (
        ("padding", ink["edge"], themes.hatched(ink["ink-3"], ink["paper"], "x")),
        ("past", ink["edge"], {"color": past}),
        ("draft, accepted", ink["draft"], {"color": ink["draft"]}),
        ("draft, refused", ink["refuse"], themes.hatched(ink["refuse"], ink["refuse-tint"])),
    )
    for column, (name, edge, fill) in enumerate(looks, 1):
        figure.add_bar(
            orientation="h",
            y=places,
            base=list(begins),
            x=[row[column] for row in table],
            name=name,
            width=0.8,
            marker={**fill, "line": {"color": edge, "width": [1 if row[column] else 0 for row in table]}},
            text=[str(row[column]) if row[column] > 2 and column != 1 else "" for row in table],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            constraintext="none",
            textfont={"size": 12, "color": ink["on-draft" if column == 3 else "ink"]},
            hovertext=[f"sequence {row[0]}: {row[column]} columns {name}" for row in table],
            hoverinfo="text",
        )
        begins = [begin + row[column] for begin, row in zip(begins, table)]
    if len(table) > batch:
        figure.add_hline(y=batch - 0.5, line={"color": ink["ink-2"], "width": 1.5, "dash": "dot"})
    names = [f"row {row[0]}" if place < batch else f"{row[0]} waits" for place, row in enumerate(table)]
    figure.update_layout(
        barmode="overlay",
        xaxis={"title": "columns (tokens)", "range": [0, notes["width"]], "showgrid": False},
        yaxis={"tickvals": places, "ticktext": names, "range": [max(len(table), 8) - 0.4, -0.6], "showgrid": False},
    )
    return figure


def _words(notes: dict) -> str:
    if not notes:
        return "Nothing has happened yet."
    kinds, cells = notes["kinds"], notes["rows"]
    padded, gained = sum(row[1] for row in cells), sum(accepted + 1 for *_, accepted, _ in cells)
    count, more = sum(kinds.values()), max(len(cells) + len(notes["waiting"]) - MOST, 0)
    return (
        f"Round {count}, {KINDS[notes['kind']]}; {len(cells)} rows, {padded} columns of padding, one call, {gained} tokens. "
        f"So far {kinds.get('grouped', 0)} of {count} rounds grouped, {kinds.get('realigned', 0)} realigned"
        f"{f'; {more} more wait' if more else ''}."
    )
