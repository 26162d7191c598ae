"""How a dynamic tree grew: the value v of every place, in the order they were filled, and the places left open."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import ACCEPTED, REFUSED, UNREACHED, Step, Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece

COLUMNS = ("order", "token", "under node", "v", "became")
OPEN = "left open"
SHOWN = 16  # open places drawn, the best of them
NAMED = 40  # bars that have room for their token's text


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a place of the last step shown: order from 1 (None = left open), token, parent (-1 = root), v, what became of it.

    v is the estimated probability that verification gets there. Raises `KeyError` when the step has no such notes.
    """
    shown = read.steps(trace, upto)
    if not shown:
        return []
    step = shown[-1]
    found = [
        (order, piece(trace, step.tree.tokens[order - 1]), step.tree.parents[order - 1], v, _verdict(step, order - 1))
        for order, v in enumerate(step.notes["values"], 1)
    ]
    return found + [(None, "", parent, v, OPEN) for parent, v in step.notes["open"]]


def _verdict(step: Step, node: int) -> str:
    return step.tree.verdicts[node] if step.tree.verdicts else UNREACHED


def heap(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Bars of v in the order the tree grew, filled where the target accepted; behind them the best places left open."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    drawn = [row for row in table if row[4] != OPEN]
    left = [row for row in table if row[4] == OPEN]
    figure = go.Figure(layout={"template": {}})
    looks = {
        ACCEPTED: ("accepted", ink["draft"], ink["draft"], ""),
        REFUSED: ("refused", ink["refuse-tint"], ink["refuse"], "/"),
        UNREACHED: ("never reached", ink["draft-tint"], ink["edge"], ""),
        OPEN: ("left open", ink["paper"], ink["edge"], ""),
    }
    bars = list(enumerate(drawn + left[:SHOWN], 1))
    for kind, (name, fill, edge, pattern) in looks.items():
        some = [(x, row) for x, row in bars if row[4] == kind]
        if some:
            marker = {"color": fill, "line": {"color": edge, "width": 1}}
            if pattern:
                marker["pattern"] = {"shape": pattern, "fgcolor": edge, "bgcolor": fill, "size": 6}
            hover = [_hover(row, name) for _, row in some]
            figure.add_bar(
                x=[x for x, _ in some],
                y=[row[3] for _, row in some],
                width=0.85,  # left alone, plotly makes the bars of a rare kind wider
                name=name,
                marker=marker,
                hovertext=hover,
                hoverinfo="text",
            )
    ticks = [(x, label(row[1], 8) if row[0] else "+") for x, row in bars] if len(bars) <= NAMED else []
    places, names = [x for x, _ in ticks], [name for _, name in ticks]
    axis = {"tickvals": places, "ticktext": names, "tickangle": -50} if ticks else {}
    figure.update_layout(
        title="Was the best place filled next, and did it pay?",
        meta={"words": _words(drawn, left), "height": 260},
        barmode="overlay",
        xaxis={"title": "place, in the order of growth", "showgrid": False, **axis},
        yaxis={"title": "v", "range": [0, 1.05], "tickvals": [0, 0.5, 1]},
    )
    return figure


def _hover(row: tuple, name: str) -> str:
    order, token, parent, v, _ = row
    under = "the last token" if parent < 0 else f"node {parent + 1}"
    if order is None:
        return f"left open under {under}: v {v:.3f}"
    return f"{order}. {label(token)} under {under}: v {v:.3f}, {name}"


def _words(drawn: list[tuple], left: list[tuple]) -> str:
    if not drawn:
        return "v is the draft's estimate that verification gets to a place."
    kept = sum(row[4] == ACCEPTED for row in drawn)
    best = f"; the best place left open has v {left[0][3]:.2f}" if left else ""
    return f"v estimates that verification gets to a place: {len(drawn)} filled, {kept} accepted{best}."
