"""P112 AdaBlock: how sure every place is now, where that swings, and where the blocks end."""

from __future__ import annotations

from statistics import pstdev

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece
from labkit.views.unmasking import room

COLUMNS = ("place", "token", "confidence", "spread over 3 rounds", "in the block")
SWINGS, RECENT = 0.1, 3  # the volatility band: standard deviation above this over as many rounds (inferred)


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a masked place of the last round: its confidence, and its standard deviation over the last rounds."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    notes = shown[-1].notes
    low, high = notes["block"]
    past = [dict(zip(step.notes["places"], step.notes["confidence"])) for step in shown[-RECENT:]]
    return [
        (place + 1, piece(trace, token), confidence, pstdev(one[place] for one in past if place in one), low <= place < high)
        for place, token, confidence in zip(notes["places"], notes["tokens"][0], notes["confidence"])
    ]


def events(trace: Trace, upto: int | None = None) -> tuple[int, int]:
    """Late: rounds of places that reached tau and had to wait outside the block. Premature: places filled below tau."""
    late = premature = 0
    for step in read.steps(trace, upto):
        notes = step.notes
        low, high = notes["block"]
        late += sum(
            sure >= notes["tau"] and not low <= place < high for place, sure in zip(notes["places"], notes["confidence"])
        )
        premature += notes["reasons"].count("best")
    return late, premature


def block_borders(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Confidence by place, now and in the two rounds before; what swings is shaded, borders of blocks are upright lines."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    steps, table, words = read.steps(trace, upto), rows(trace, upto), "No round yet."
    if table:
        for row in table:
            if row[3] > SWINGS:
                look = {"fillcolor": ink["target-tint"], "line": {"width": 0}, "layer": "below"}
                figure.add_shape(type="rect", x0=row[0] - 0.5, x1=row[0] + 0.5, y0=0, y1=1.05, **look)
        recent = list(enumerate(steps, 1))[-RECENT:]
        looks = (("ghost-ink", 1, "2px,3px"), ("ink-3", 1.5, "6px,3px"), ("draft", 2.5, "solid"))[-len(recent) :]
        for (number, step), (colour, width, dash) in zip(recent, looks):
            notes = step.notes
            known = dict(zip(notes["places"], zip(notes["confidence"], notes["tokens"][0])))
            shown = [known.get(place) for place in range(room(trace))]
            figure.add_scatter(
                x=list(range(1, room(trace) + 1)),
                y=[one and one[0] for one in shown],
                mode="lines+markers" if number == len(steps) else "lines",
                connectgaps=False,
                name=f"round {number}",
                line={"color": ink[colour], "width": width, "dash": dash},
                marker={"color": ink[colour], "size": 4},
                hovertext=[one and f"place {at}: {label(piece(trace, one[1]))} {one[0]:.2f}" for at, one in enumerate(shown, 1)],
                hoverinfo="text",
            )
        notes = steps[-1].notes
        line = {"color": ink["ink-2"], "width": 1.5, "dash": "6px,3px"}
        tau = {"mode": "lines", "line": line, "name": f"tau {notes['tau']:.2f}", "hoverinfo": "name"}
        figure.add_scatter(x=[0.5, room(trace) + 0.5], y=[notes["tau"]] * 2, **tau)
        for name, kind, dash in (("ends at a delimiter", "delimiter", "solid"), ("ends by default", "default", "2px,3px")):
            at = sorted({step.notes["block"][1] + 0.5 for step in steps if step.notes["ended"] == kind})
            if at:
                line = {"color": ink["here"], "width": 2, "dash": dash}
                x = [place for each in at for place in (each, each, None)]
                borders = {"mode": "lines", "line": line, "name": name, "hoverinfo": "name"}
                figure.add_scatter(x=x, y=[0, 1.05, None] * len(at), **borders)
        late, premature = events(trace, upto)
        swings = sum(row[3] > SWINGS for row in table)
        words = (
            f"Places that swing: {swings} (shaded: standard deviation above {SWINGS} over {RECENT} rounds). So far: late, "
            f"sure but outside the block, {late}; premature, filled below tau, {premature}."
        )
    figure.update_layout(
        title="Where does a block end?",
        meta={"words": words, "height": 310},
        xaxis={"title": "place behind the prompt", "range": [0.5, room(trace) + 0.5]},
        yaxis={"title": "confidence", "range": [0, 1.05]},
    )
    return figure
