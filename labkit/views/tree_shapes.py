"""Tree shapes against each other: what each brings a target call, what it asks of the draft, and what the clock says."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = (
    "shape",
    "budget",
    "prompts",
    "tokens per target call",
    "accepted nodes a round",
    "drafted nodes a round",
    "draft calls a round",
    "ms a token",
)
PANELS = ((3, "tokens per target call"), (6, "draft calls a round"), (7, "ms a token, measured"))
# colour, dash and symbol of every shape: none is told by its colour alone
LOOKS = {
    "chain": ("ink", "dot", "circle"),
    "2-ary": ("here", "dash", "triangle-up"),
    "static": ("e4", "dashdot", "diamond"),
    "DySpec, heap": ("draft", "solid", "square"),
    "DySpec, threshold": ("draft", "6px,3px", "square-open"),
}


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a shape and budget, as far as the study has come. Raises `KeyError` when the trace is of something else."""
    shown = read.steps(trace, upto)
    return [
        (
            row["shape"],
            row["budget"],
            row["prompts"],
            row["tokens"] / row["rounds"],
            row["accepted"] / row["rounds"],
            row["nodes"] / row["rounds"],
            row["draft_calls"] / row["rounds"],
            1e3 * row["seconds"] / row["tokens"],
        )
        for row in (shown[-1].notes["rows"] if shown else [])
    ]


def tree_shapes(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Lines against the budget: tokens a target call, draft calls a round, milliseconds a token."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    figure = make_subplots(1, len(PANELS), horizontal_spacing=0.07, figure=go.Figure(layout={"template": {}}))
    budgets = sorted({row[1] for row in table})
    for place, (column, name) in enumerate(PANELS, 1):
        for shape, (colour, dash, symbol) in LOOKS.items():
            some = [row for row in table if row[0] == shape]
            if not some:
                continue
            figure.add_scatter(
                x=[row[1] for row in some],
                y=[row[column] for row in some],
                name=shape,
                legendgroup=shape,
                showlegend=place == 1,
                mode="lines+markers",
                line={"color": ink[colour], "dash": dash, "width": 2.5},
                marker={"symbol": symbol, "size": 8, "color": ink[colour]},
                hovertext=[f"{shape}, {row[1]} nodes: {row[column]:.2f} {name}" for row in some],
                hoverinfo="text",
                row=1,
                col=place,
            )
        axis = {
            "title": "budget, nodes a tree",
            "type": "log",
            "tickvals": budgets,
            "ticktext": [str(m) for m in budgets],
        }
        figure.update_xaxes(axis, row=1, col=place)
        figure.update_yaxes({"title": name, "rangemode": "tozero"}, row=1, col=place)
    figure.update_layout(
        title="Does a tree that follows the draft's beliefs pay?", meta={"words": _words(trace, upto), "height": 320}
    )
    return figure


def _words(trace: Trace, upto: int | None) -> str:
    """The verdict at the largest budget that all shapes have been tried with."""
    table = rows(trace, upto)
    whole = [m for m in {row[1] for row in table} if {row[0] for row in table if row[1] == m} == set(LOOKS)]
    if not whole:
        return "Every shape writes behind the same prompts with as many nodes a tree."
    m = max(whole)
    gains = {row[0]: row[3] for row in table if row[1] == m}
    ours = max((shape for shape in gains if shape.startswith("DySpec")), key=gains.__getitem__)
    other = max((shape for shape in gains if not shape.startswith("DySpec")), key=gains.__getitem__)
    prompts = min(row[2] for row in table if row[1] == m)
    temperature = read.steps(trace, upto)[-1].notes["temperature"]
    verdict = "wins" if gains[ours] > gains[other] else "loses"
    where = f"At temperature {temperature:g} with {m} nodes, over {prompts} prompt{'s' * (prompts > 1)}"
    mine = f"{gains[ours]:.2f} tokens a target call ({ours.removeprefix('DySpec, ')})"
    return f"{where}, the better DySpec {verdict}: {mine}, the best other shape {gains[other]:.2f} ({other})."
