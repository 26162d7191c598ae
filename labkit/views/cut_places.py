"""Where the cuts fall: at every letter, the share of the cuts in which a token begins there."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label

COLUMNS = ("place", "letter", "share of the cuts", "the tokenizer begins a token here")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a byte of the text."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    notes = shown[-1].notes
    own = set(notes["plain"]["starts"])
    return [
        (place, letter, count / notes["done"], place in own)
        for place, (letter, count) in enumerate(zip(notes["letters"], notes["begins"]))
    ]


def cut_places(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A bar for every byte; those where the tokenizer itself cuts in another colour."""
    ink, table, shown = themes.colours(theme), rows(trace, upto), read.steps(trace, upto)
    figure = go.Figure(layout={"template": {}})
    looks = {
        True: ("the tokenizer cuts here", {"color": ink["sunk"], "line": {"color": ink["edge"], "width": 1}}),
        False: ("new", {"color": ink["draft"]}),
    }
    for own, (name, marker) in looks.items():
        some = [row for row in table if row[3] == own]
        if some:
            hover = [f"before {label(row[1])}: {row[2]:.0%} of the cuts" for row in some]
            more = {"marker": marker, "hovertext": hover, "hoverinfo": "text"}
            figure.add_bar(x=[row[0] for row in some], y=[row[2] for row in some], name=name, **more)
    figure.update_layout(
        title="Which letters become visible?",
        barmode="overlay",
        bargap=0.15,
        xaxis={
            "tickvals": [row[0] for row in table],
            "ticktext": [label(row[1]) for row in table],
            "tickangle": 0,
            "tickfont": {"family": themes.CODE_FONT, "size": 12},
            "showgrid": False,
            "range": [-0.6, max(len(table), 1) - 0.4],
        },
        yaxis={"title": "share of the cuts", "range": [0, 1.03], "tickformat": ".0%"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        meta={"words": _words(table, shown[-1].notes if shown else {}), "height": 280},
    )
    return figure


def _words(table: list[tuple], notes: dict) -> str:
    if not notes:
        return "A bar for each letter: how often a token began there."
    new = [row for row in table if not row[3]]
    seen = sum(row[2] > 0 for row in new)
    return f"After {notes['done']} cuts, {seen} of the {len(new)} places inside the tokenizer's tokens were cut at least once."
