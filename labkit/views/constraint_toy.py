"""The trap: how often each way of constraining walks into it, and what the weights say of the chance to obey."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.acceptance import wilson

MASKING, AGAIN = "masking", "start again"  # ways that the study names so; the others are AWRS
COLUMNS = ("way", "texts", 'share of "ac"', "low (95 % Wilson)", "high (95 % Wilson)", "questions a text", "forwards a text")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a way of writing. Raises `KeyError` when the step has no such notes."""
    shown = read.steps(trace, upto)
    found = shown[-1].notes["toy"]["found"] if shown else {}
    return [
        (name, one["texts"], one["trapped"] / one["texts"], *wilson(one["trapped"], one["texts"]))
        + (one["asked"] / one["texts"], one["forwards"] / one["texts"])
        for name, one in found.items()
    ]


def constraint_toy(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: the share of texts that went through the trap, the exact one dashed. Right: estimates of Z, mean and spread."""
    ink = themes.colours(theme)
    table, shown = rows(trace, upto), read.steps(trace, upto)
    toy = shown[-1].notes["toy"] if shown else {}
    figure = make_subplots(1, 2, column_widths=[0.62, 0.38], horizontal_spacing=0.12, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(title="Does masking keep the model's law?", meta={"words": _words(toy), "height": 290}, showlegend=False)
    figure.update_layout(yaxis={"title": 'share of "ac"', "range": [0, 1]})
    figure.update_layout(yaxis2={"title": "estimate of Z"})
    figure.update_layout(xaxis={"showgrid": False, "tickangle": 0, "title": "way of writing (AWRS by particles N)"})
    figure.update_layout(xaxis2={"type": "category", "title": "particles", "showgrid": False})
    if not toy:
        return figure
    colours = {MASKING: ink["refuse-tint"], AGAIN: ink["target"]}
    figure.add_bar(
        x=[name.replace("start ", "start<br>") for name, *_ in table],
        y=[row[2] for row in table],
        marker={
            "color": [colours.get(row[0], ink["draft"]) for row in table],
            "line": {"color": ink["edge"], "width": 1},
            "pattern": {"shape": ["/" if row[0] == MASKING else "" for row in table], "fgcolor": ink["refuse"], "size": 6},
        },
        error_y=themes.whiskers(ink, ((row[3], row[2], row[4]) for row in table)),
        hovertext=[f"{row[0]}: {row[2]:.3f} of {row[1]:,} texts, {row[5]:.1f} questions a text" for row in table],
        hoverinfo="text",
        row=1,
        col=1,
    )
    masses = toy["masses"]
    figure.add_scatter(
        x=list(masses),
        y=[mean for mean, _ in masses.values()],
        error_y={"type": "data", "array": [spread for _, spread in masses.values()], "color": ink["draft"], "thickness": 2},
        mode="markers",
        marker={"size": 11, "color": ink["draft"]},
        hovertext=[f"{count} particles: {mean:.4f}, standard deviation {spread:.4f}" for count, (mean, spread) in masses.items()],
        hoverinfo="text",
        row=1,
        col=2,
    )
    highest = max([toy["exact"]["mass"], *(mean + spread for mean, spread in masses.values())])
    figure.update_layout(yaxis2={"range": [0, 1.1 * highest]})
    dashed = {"dash": "5px,4px", "color": ink["ink"], "width": 1.5}
    for level, column in ((toy["exact"]["share"], 1), (toy["exact"]["mass"], 2)):
        figure.add_hline(y=level, line=dashed, row=1, col=column)
    return figure


def _words(toy: dict) -> str:
    if not toy:
        return "The model of four letters likes a, but has next to nothing right to say behind it."
    exact = toy["exact"]
    ratio = exact["masking"] / exact["share"]
    return (
        f'The model begins with a {exact["masking"]:.0%} of the time; of the texts that obey {exact["share"]:.1%} are "ac": '
        f"masking writes it {ratio:.1f} times too often. Dashed: exact (Z = {exact['mass']:.3f}); right: the spread of one run."
    )
