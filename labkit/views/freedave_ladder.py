"""P181 FreeDave: the ladder of drafts of one round, up to the first that does not come true; and the forwards it has saved."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.unmasking import room

COLUMNS = ("draft", "place", "verdict")
KEPT, MISSED, UNUSED = "comes true", "does not", "not reached"


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a place of the last round's ladder: which draft fills it, from 1, and what became of that draft."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    notes = shown[-1].notes
    kept = notes["kept"]
    return [
        (draft, place + 1, KEPT if draft <= kept else MISSED if draft == kept + 1 else UNUSED)
        for draft, places in enumerate(notes["ladder"], 1)
        for place in places
    ]


def savings(trace: Trace, upto: int | None = None) -> list[tuple[int, int, int]]:
    """After each round: forwards so far, rows in them, and the forwards of static decoding for as much text."""
    found, forwards, batch, static = [], 0, 0, 0
    for step in read.steps(trace, upto):
        forwards, batch = forwards + step.cost.target_forwards, batch + step.notes["rows"]
        static += step.notes["kept"]
        found.append((forwards, batch, static))
    return found


def freedave_ladder(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: the rungs of this round and the places they fill. Right: forwards against static decoding, round by round."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, column_widths=[0.6, 0.4], horizontal_spacing=0.1, figure=go.Figure(layout={"template": {}}))
    table, words = rows(trace, upto), "No round yet."
    if table:
        notes, totals = read.steps(trace, upto)[-1].notes, savings(trace, upto)
        looks = {
            KEPT: {"color": ink["draft"], "symbol": "circle", "size": 13, "line": {"color": ink["draft-ink"], "width": 1}},
            MISSED: {"color": ink["refuse"], "symbol": "x", "size": 13, "line": {"color": ink["ink"], "width": 1}},
            UNUSED: {"color": ink["ink-3"], "symbol": "circle-open", "size": 11, "line": {"width": 1.5}},
        }
        for verdict, look in looks.items():
            mine = [row for row in table if row[2] == verdict]
            if mine:
                figure.add_scatter(
                    x=[row[1] for row in mine],
                    y=[row[0] for row in mine],
                    mode="markers+text" if verdict == KEPT else "markers",
                    text="✓",
                    textfont={"size": 10, "color": ink["on-draft"]},
                    name=verdict,
                    marker=look,
                    hovertext=[f"draft {row[0]} fills place {row[1]}: {verdict}" for row in mine],
                    hoverinfo="text",
                    row=1,
                    col=1,
                )
        right = [place + 1 for place in notes["miss"] if place not in notes["ladder"][notes["kept"]]]
        if right:
            look = {"color": ink["refuse"], "symbol": "square-open", "size": 14, "line": {"width": 2}}
            where = {"x": right, "y": [notes["kept"] + 1] * len(right), "mode": "markers", "marker": look}
            figure.add_scatter(name="filled instead", hoverinfo="name", row=1, col=1, **where)
        rounds = list(range(1, len(totals) + 1))
        lines = ((2, "static decoding", "ink-2", "6px,3px"), (0, "FreeDave", "draft", "solid"))
        for column, name, colour, dash in lines:
            figure.add_scatter(
                x=rounds,
                y=[total[column] for total in totals],
                mode="lines+text",
                name=name,
                text=[""] * (len(rounds) - 1) + [name],
                textposition="middle left",
                textfont={"color": ink[colour]},
                line={"color": ink[colour], "width": 2.5, "dash": dash},
                hoverinfo="x+y+name",
                showlegend=False,
                row=1,
                col=2,
            )
        forwards, batch, static = totals[-1]
        words = (
            f"Round {len(totals)} keeps {notes['kept']} of {len(notes['ladder'])} drafts. So far {forwards} forwards where "
            f"static decoding needs {static}, but {batch} rows went through them: the work of {batch} forwards."
        )
    figure.update_xaxes(title="place behind the prompt", range=[0.5, room(trace) + 0.5], row=1, col=1)
    figure.update_yaxes(title="draft", dtick=1, autorange="reversed", row=1, col=1)
    figure.update_xaxes(title="round", row=1, col=2)
    figure.update_yaxes(title="forwards so far", rangemode="tozero", row=1, col=2)
    figure.update_layout(title="How far ahead was it right?", meta={"words": words, "height": 300})
    return figure
