"""P125 CreditDecoding: what a guess is worth by itself and with its credit, round by round, and whose credit it is."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece

COLUMNS = ("place", "round", "token", "raw confidence", "fused confidence", "became final")
DRAWN = 4  # places: each has two lines
SHAPES = (("draft", "circle"), ("target-edge", "square"), ("here", "diamond"), ("e4", "triangle-up"))


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a followed place and round: its guess's confidence, raw and with credit; did it become final in this round?"""
    found = []
    for number, step in enumerate(read.steps(trace, upto), 1):
        for one in step.notes["earned"]:
            final = one["place"] in (step.at or ())
            found.append((one["place"] + 1, number, piece(trace, one["token"]), one["raw"], one["fused"], final))
    return sorted(found)


def chosen(table: list[tuple]) -> list[int]:
    """The places worth drawing: those that credit has raised most in any round, `DRAWN` at most, in the order of the text."""
    most: dict[int, float] = {}
    for place, _, _, raw, fused, _ in table:
        most[place] = max(most.get(place, 0.0), fused - raw)
    return sorted(sorted(most, key=lambda place: (-most[place], place))[:DRAWN])


def credit_lines(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: two lines a place, raw (dotted) and fused, up to where it is final. Right: credit by token, at the last round."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, column_widths=[0.66, 0.34], horizontal_spacing=0.14, figure=go.Figure(layout={"template": {}}))
    steps, table = read.steps(trace, upto), rows(trace, upto)
    words = "No round yet."
    if steps:
        for place, (colour, shape) in zip(chosen(table), SHAPES):
            mine = [row for row in table if row[0] == place]
            hover = [f"place {row[0]}, round {row[1]}: {label(row[2])}, raw {row[3]:.2f}, fused {row[4]:.2f}" for row in mine]
            for column, name, dash, width in ((3, "raw", "2px,3px", 1.5), (4, "fused", "solid", 2.5)):
                sizes = [12 if row[5] else 5 for row in mine] if name == "fused" else 4
                figure.add_scatter(
                    x=[row[1] for row in mine],
                    y=[row[column] for row in mine],
                    mode="lines+markers",
                    name=f"place {place}" if name == "fused" else f"place {place}, raw",
                    showlegend=name == "fused",
                    line={"color": ink[colour], "width": width, "dash": dash},
                    marker={"color": ink[colour], "symbol": shape, "size": sizes, "line": {"width": 0}},
                    hovertext=hover,
                    hoverinfo="text",
                    row=1,
                    col=1,
                )
        notes = steps[-1].notes
        line = {"color": ink["ink-2"], "width": 1.5, "dash": "6px,3px"}
        tau = {"mode": "lines", "line": line, "name": f"tau {notes['tau']:.2f}", "hoverinfo": "name"}
        figure.add_scatter(x=[0.5, len(steps) + 0.5], y=[notes["tau"]] * 2, row=1, col=1, **tau)
        held = [(one["place"] + 1, rank, *pair) for one in notes["earned"] for rank, pair in enumerate(one["credit"])]
        looks = (("favourite", ink["draft"], ""), ("rival", ink["target-tint"], "/"))
        for rank, (name, colour, pattern) in enumerate(looks):
            mine = [row for row in held if row[1] == rank]
            if mine:
                marker = themes.hatched(ink["target-edge"], colour) if pattern else {"color": colour}
                figure.add_bar(
                    x=[row[3] for row in mine],
                    y=[f"{row[0]}" for row in mine],
                    orientation="h",
                    name=name,
                    marker=marker,
                    text=[label(piece(trace, row[2]), 12) for row in mine],
                    textposition="auto",
                    insidetextfont={"color": ink["target-ink" if pattern else "on-draft"]},
                    hovertext=[f"place {row[0]}: {label(piece(trace, row[2]))} has credit {row[3]:.2f}" for row in mine],
                    hoverinfo="text",
                    row=1,
                    col=2,
                )
        early, filled = sum(step.notes["early"] for step in steps), sum(len(step.emitted) for step in steps)
        words = (
            f"{early} of {filled} places became final by their credit: raw they were still below tau. "
            "Solid lines are with credit, dotted without; a large mark is where a place became final."
        )
    figure.update_xaxes(title="round", row=1, col=1)
    figure.update_yaxes(title="confidence", range=[0, 1.05], row=1, col=1)
    figure.update_xaxes(title="credit, by token", rangemode="tozero", row=1, col=2)
    figure.update_yaxes(title="place", type="category", autorange="reversed", row=1, col=2)
    figure.update_layout(title="What is stability worth?", meta={"words": words, "height": 310}, barmode="group")
    return figure
