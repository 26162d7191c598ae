"""Where each round of drafting stopped: what climbed to the line, and what the target kept."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import ACCEPTED, REFUSED, UNREACHED, Step, Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece

COLUMNS = ("round", "draft", "token", "climbed to", "line", "verdict")
WIDEST = 40  # drafted tokens drawn, the latest rounds first
NAMES = {ACCEPTED: "kept", REFUSED: "refused", UNREACHED: "never looked at"}


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a drafted token: round and place from 1, the token, the number that the policy laid against its line, verdict.

    The number is None where the policy reads none, and for the newest token of a round, which the head never judges.
    """
    return [row for number, step in enumerate(read.steps(trace, upto), 1) for row in _round(trace, number, step)]


def _round(trace: Trace, number: int, step: Step) -> list[tuple]:
    notes, tree = step.notes, step.tree
    climb = notes["climb"] + [None] * (len(tree.tokens) - len(notes["climb"]))
    return [
        (number, place, piece(trace, token), height, notes["line"], verdict)
        for place, (token, height, verdict) in enumerate(zip(tree.tokens, climb, tree.verdicts), 1)
    ]


def stop(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A group of bars a round, one bar a drafted token: how far it climbed to the line; filled = kept, hatched = refused.

    A diamond is a token that was not judged. Where the policy reads nothing the bars have no height to tell, only a place.
    """
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    figure.update_layout(title="When does the draft stop?", barmode="overlay", bargap=0.15)
    figure.update_layout(meta={"words": "No round yet.", "height": 300})
    table = rows(trace, upto)
    steps = read.steps(trace, upto)
    if not steps:
        return figure
    notes = steps[-1].notes
    figure.layout.meta["words"] = _words(steps[-1])
    first = len(steps)
    while first > 1 and sum(len(step.tree.tokens) for step in steps[first - 2 :]) <= WIDEST:
        first -= 1
    shown = [row for row in table if row[0] >= first]
    places = [place + row[0] - first for place, row in enumerate(shown)]  # a gap between rounds
    fills = {
        ACCEPTED: {"color": ink["draft"], "line": {"color": ink["draft"], "width": 1}},
        REFUSED: {
            "color": ink["refuse-tint"],
            "line": {"color": ink["refuse"], "width": 1.5},
            "pattern": {"shape": "/", "fgcolor": ink["refuse"], "size": 6},
        },
        UNREACHED: {"color": ink["paper"], "line": {"color": ink["ghost-ink"], "width": 1}},
    }
    for verdict, fill in fills.items():
        here = [(place, row) for place, row in zip(places, shown) if row[5] == verdict]
        figure.add_bar(
            x=[place for place, _ in here],
            y=[_height(row, notes["measure"]) for _, row in here],
            name=NAMES[verdict],
            marker=fill,
            hovertext=[_hover(row, notes["measure"]) for _, row in here],
            hoverinfo="text",
        )
    unjudged = [(place, row) for place, row in zip(places, shown) if row[3] is None and notes["measure"]]
    if unjudged:
        figure.add_scatter(
            x=[place for place, _ in unjudged],
            y=[0] * len(unjudged),
            name="not judged",
            mode="markers",
            marker={
                "symbol": "diamond",
                "size": 9,
                "color": [ink["draft"] if row[5] == ACCEPTED else ink["paper"] for _, row in unjudged],
                "line": {"color": [ink["refuse"] if row[5] == REFUSED else ink["draft"] for _, row in unjudged], "width": 1.5},
            },
            hovertext=[_hover(row, notes["measure"]) for _, row in unjudged],
            hoverinfo="text",
        )
    if notes["line"] is not None:
        figure.add_hline(y=notes["line"], line={"color": ink["ink"], "width": 1.5, "dash": "6px,3px"})
    for number in range(first, len(steps) + 1):
        inside = [place for place, row in zip(places, shown) if row[0] == number]
        tree = steps[number - 1].tree
        if inside:
            words = f"{len(tree.path)} of {len(inside)}"
            style = {"showarrow": False, "yref": "paper", "y": 1, "yanchor": "bottom", "font": {"color": ink["ink-2"]}}
            figure.add_annotation(x=(inside[0] + inside[-1]) / 2, text=words, **style)
    ticks = {"tickvals": places, "ticktext": [label(row[2], 8) for row in shown], "tickangle": -60, "showgrid": False}
    figure.update_layout(xaxis=ticks, yaxis={"title": notes["measure"], "rangemode": "tozero", "visible": bool(notes["measure"])})
    figure.update_layout(legend={"y": 1.1})
    if notes["line"] is not None and notes["line"] <= 1:
        figure.update_yaxes(range=[-0.04, 1.02])
    return figure


def _height(row: tuple, measure: str) -> float:
    return 1.0 if not measure else row[3] or 0.0


def _hover(row: tuple, measure: str) -> str:
    number, place, token, height, line, verdict = row
    said = "" if not measure else "not judged, " if height is None else f"{measure} {height:.3f}, line {line:g}, "
    return f"round {number}, draft {place} {label(token)}: {said}{NAMES.get(verdict, verdict)}"


def _words(step: Step) -> str:
    """What happened in the round of `step`."""
    notes, drafted, kept = step.notes, len(step.tree.tokens), len(step.tree.path)
    climb, line = notes["climb"], notes["line"]
    if "peeks" in notes:
        why = f"The oracle asked the target {notes['peeks']} times, which no cost here counts: it is no method"
    elif line is None:
        why = "The length is fixed"
    elif climb and climb[-1] > line:
        why = f"The round on the right stopped at {climb[-1]:.2f}, above the line {line:g}"
    else:
        why = f"The round on the right never passed the line {line:g}"
    return f"Above each round: kept of drafted. {why}; the target kept {kept} of its {drafted}."
