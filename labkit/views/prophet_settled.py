"""P185: after which share of its rounds each answer stood for good, and when Prophet would have stopped."""

from __future__ import annotations

import statistics

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("answer", "rounds", "settled in round", "Prophet stops in round", "same answer", "right at the end", "right then")
BINS = 10


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row an answer; of Python nobody knows what is right ("")."""
    shown = read.steps(trace, upto)
    found = shown[-1].notes["runs"] if shown else []
    return [
        (number, run["rounds"], run["settled"], run["exit"], run["same"], run.get("right", ""), run.get("right_then", ""))
        for number, run in enumerate(found, 1)
    ]


def histogram(table: list[tuple], column: int) -> list[int]:
    """How many answers have round `column` in each tenth of their rounds."""
    found = [0] * BINS
    for row in table:
        found[min(BINS - 1, (row[column] - 1) * BINS // row[1])] += 1
    return found


def prophet_settled(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: answers by the share of rounds after which they stood, and at which Prophet stops. Right: one against the other."""
    ink, table = themes.colours(theme), rows(trace, upto)
    figure = make_subplots(1, 2, horizontal_spacing=0.12, column_widths=[0.58, 0.42], figure=go.Figure(layout={"template": {}}))
    middles = [(place + 0.5) / BINS for place in range(BINS)]
    styles = (
        ("settled", 2, {"color": ink["draft"], "line": {"color": ink["draft-ink"], "width": 1}}),
        ("Prophet stops", 3, themes.hatched(ink["target-edge"], ink["target-tint"])),
    )
    for name, column, marker in styles:
        counts = histogram(table, column)
        hover = [f"{count} {name} at {place / BINS:.0%} to {(place + 1) / BINS:.0%}" for place, count in enumerate(counts)]
        figure.add_bar(x=middles, y=counts, name=name, marker=marker, hovertext=hover, hoverinfo="text", row=1, col=1)
    line = {"color": ink["ink-3"], "width": 1.5, "dash": "dot"}
    style = {"mode": "lines", "hoverinfo": "skip", "showlegend": False, "line": line}
    figure.add_scatter(x=[0, 1.03], y=[0, 1.03], name="stops as it settles", row=1, col=2, **style)
    looks = {True: ("same answer", "draft", "circle"), False: ("another answer", "refuse", "x")}
    for same, (name, colour, symbol) in looks.items():
        mine = [row for row in table if row[4] is same]
        hover = [f"answer {row[0]} of {row[1]} rounds: settled in {row[2]}, Prophet stops in {row[3]}, {name}" for row in mine]
        figure.add_scatter(
            x=[row[2] / row[1] for row in mine],
            y=[row[3] / row[1] for row in mine],
            mode="markers",
            name=name,
            marker={"color": ink[colour], "symbol": symbol, "size": 9, "line": {"color": ink["ink"], "width": 1}},
            hovertext=hover,
            hoverinfo="text",
            row=1,
            col=2,
        )
    figure.update_layout(
        title="From when on does the answer stand?",
        meta={"words": _words(table), "height": 320},
        bargap=0.15,
        xaxis={"title": "share of the rounds", "tickformat": ".0%", "range": [0, 1]},
        yaxis={"title": "answers", "rangemode": "tozero"},
        xaxis2={"title": "settled", "tickformat": ".0%", "range": [0, 1.05]},
        yaxis2={"title": "Prophet stops", "tickformat": ".0%", "range": [0, 1.05]},
    )
    return figure


def _words(table: list[tuple]) -> str:
    if not table:
        return "No answer yet."
    half = sum(2 * row[2] <= row[1] for row in table)
    stop = statistics.median(row[3] / row[1] for row in table)
    other = sum(row[4] is False for row in table)
    said = f"{half} of {len(table)} answers stood after half of their rounds; Prophet stops after {stop:.0%} at the median"
    said += f", {other} times with another answer."
    if table[0][5] != "":
        end, then = sum(row[5] for row in table), sum(row[6] for row in table)
        said += f" Right at the end: {end}; where Prophet stops: {then}."
    return said
