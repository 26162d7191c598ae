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
    figure.update_layout(title="When does the draft stop?", barmode="overlay", legend={"y": 1.1})
    figure.update_layout(meta={"words": "No round yet.", "height": 300})
    steps = read.steps(trace, upto)
    if not steps:
        return figure
    first = len(steps)
    while first > 1 and sum(len(step.tree.tokens) for step in steps[first - 2 :]) <= WIDEST:
        first -= 1
    places, marks, at = [], [], 0
    for step in steps[first - 1 :]:
        drafted = len(step.tree.tokens)
        places += range(at, at + drafted)
        style = {"showarrow": False, "yref": "paper", "y": 1, "yanchor": "bottom", "font": {"color": ink["ink-2"]}}
        marks.append({"x": at + max(drafted - 1, 0) / 2, "text": f"{len(step.tree.path)} of {drafted}", **style})
        at += max(drafted, 1) + 1  # a gap between rounds
    notes = steps[-1].notes
    shown = [row for row in rows(trace, upto) if row[0] >= first]
    _draw(figure, list(zip(places, shown)), notes["measure"], ink)
    ticks = {"tickvals": places, "ticktext": [label(row[2], 8) for row in shown], "tickangle": -60, "showgrid": False}
    figure.update_layout(xaxis={**ticks, "range": [-0.7, at - 1.3]})
    figure.update_layout(yaxis={"title": notes["measure"], "rangemode": "tozero", "visible": bool(notes["measure"])})
    if notes["line"] is not None:
        figure.add_hline(y=notes["line"], line={"color": ink["ink"], "width": 1.5, "dash": "6px,3px"})
    figure.update_layout(annotations=marks)  # at once and last: one by one each costs as much as all before it
    if "judged" in notes:
        figure.update_yaxes(range=[-0.04, 1.02])
    figure.layout.meta["words"] = _words(steps[-1])
    return figure


def _draw(figure: go.Figure, bars: list[tuple[int, tuple]], measure: str, ink: dict[str, str]) -> None:
    """The bars, (place, row) each, by what became of them, and the diamonds of those that were not judged."""
    edges = {ACCEPTED: ink["draft"], REFUSED: ink["refuse"], UNREACHED: ink["ghost-ink"]}
    fills = {ACCEPTED: ink["draft"], REFUSED: ink["refuse-tint"], UNREACHED: ink["paper"]}

    def series(chosen: list[tuple[int, tuple]], **look) -> dict:
        hover = [_hover(row, measure) for _, row in chosen]
        return {"x": [place for place, _ in chosen], "hovertext": hover, "hoverinfo": "text", **look}

    for verdict, name in NAMES.items():
        chosen = [bar for bar in bars if bar[1][5] == verdict]
        marker = {"color": fills[verdict], "line": {"color": edges[verdict], "width": 1.5}}
        if verdict == REFUSED:
            marker["pattern"] = {"shape": "/", "fgcolor": ink["refuse"], "size": 6}
        heights = [1.0 if not measure else row[3] or 0.0 for _, row in chosen]
        figure.add_bar(**series(chosen, y=heights, name=name, width=0.85, marker=marker))
    chosen = [bar for bar in bars if bar[1][3] is None and measure]
    if chosen:
        verdicts = [row[5] for _, row in chosen]
        line = {"color": [edges[verdict] for verdict in verdicts], "width": 1.5}
        marker = {"symbol": "diamond", "size": 9, "color": [fills[verdict] for verdict in verdicts], "line": line}
        figure.add_scatter(**series(chosen, y=[0] * len(chosen), name="not judged", mode="markers", marker=marker))


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
