"""Behind a dot: what the model wanted, what of it does not exist, and the names that were left (P179)."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import cut, label, piece

COLUMNS = ("token", "p", "may pass")
LINES, ROOM = 12, 26  # names in a column, letters of a name


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """What the model wanted in the last step shown, the likeliest first: token, p, may it pass."""
    shown = read.steps(trace, upto)
    notes = shown[-1].notes if shown else {}
    wanted = notes["tokens"][0] if notes else []
    return [(piece(trace, token), p, ok) for token, p, ok in zip(wanted, notes.get("p", []), notes.get("passed", []))]


def names(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left, the model's likeliest tokens, hatched where no name goes on so; right, the names that may still be meant."""
    ink = themes.colours(theme)
    table, shown = rows(trace, upto), read.steps(trace, upto)
    notes = shown[-1].notes if shown else {}
    figure = make_subplots(
        1, 2, column_widths=[0.42, 0.58], horizontal_spacing=0.05, figure=go.Figure(layout={"template": {}})
    )
    places = list(range(len(table)))
    ticks = [label(text, 14) for text, _, _ in table]
    for name, verdict, marker in (
        ("may pass", True, {"color": ink["draft"], "line": {"color": ink["draft"], "width": 1}}),
        (
            "no such name",
            False,
            themes.hatched(ink["refuse"], ink["refuse-tint"]) | {"line": {"color": ink["refuse"], "width": 1}},
        ),
    ):
        some = [(place, row) for place, row in zip(places, table) if row[2] == verdict]
        if some:
            figure.add_bar(
                orientation="h",
                y=[place for place, _ in some],
                x=[row[1] for _, row in some],
                name=name,
                marker=marker,
                hovertext=[f"{label(row[0])}: p {row[1]:.3f}, {name}" for _, row in some],
                hoverinfo="text",
                row=1,
                col=1,
            )
    left = [label(name, ROOM) if name else "(whole)" for name in notes.get("names", [])[: 3 * LINES]]
    if left:
        figure.add_scatter(
            x=[place // LINES for place in range(len(left))],
            y=[place % LINES for place in range(len(left))],
            text=left,
            mode="text",
            textposition="middle right",
            textfont={"family": themes.CODE_FONT, "size": 12, "color": ink["ink"]},
            hoverinfo="skip",
            showlegend=False,
            row=1,
            col=2,
        )
    figure.update_layout(
        title="Which names may stand here?",
        meta={"words": _words(trace, notes), "height": 300},
        barmode="overlay",
        xaxis={"title": "p, before the monitor", "range": [0, 1]},
        yaxis={
            "tickvals": places,
            "ticktext": ticks,
            "range": [max(len(table), LINES) - 0.5, -0.5],
            "tickfont": {"family": themes.CODE_FONT},
        },
        xaxis2={"visible": False, "range": [-0.02, 3]},
        yaxis2={"visible": False, "range": [LINES - 0.5, -0.5]},
    )
    return figure


def _words(trace: Trace, notes: dict) -> str:
    if not notes:
        return "Behind a dot the names appear that static analysis knows there."
    if "known" not in notes:
        return f"No dot before this token, or nothing known behind it: everything may pass. Questions so far: {notes['asked']}."
    count = notes["known"]
    left = "1 name is left" if count == 1 else f"{count} names are left"
    more = f", {3 * LINES} of them are listed" if count > 3 * LINES else ""
    wrote = cut(piece(trace, notes["written"]), 24)
    return f"{left}{more}. They hold {notes['kept']:.0%} of the model's law; it wrote {wrote}."
