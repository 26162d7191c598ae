"""Dense attention over the prompt in one layer, beside what DHSA (P056) reads there and behind it."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Step, Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("query", "position", "dense attention", "share that is read")
DARKEST = 0.4  # of a query's attention in one cell; more is drawn alike


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a cell in which something is read or looked at: first query, first position, attention there, share read."""
    prompt = _prompt(trace, upto)
    if not prompt:
        return []
    given, width = attention(prompt), prompt["kept"]["width"]
    return [
        (row * width, column * width, given[row][column] if given else None, share)
        for row, cells in enumerate(shares(prompt["kept"]))
        for column, share in enumerate(cells)
        if share or (given and given[row][column])
    ]


def _prompt(trace: Trace, upto: int | None) -> dict[str, Any] | None:
    steps = read.steps(trace, upto)
    return steps[0].notes["prompt"] if steps else None


def attention(prompt: dict[str, Any]) -> list[list[float]]:
    """Of each row of cells, up to the diagonal: the mean over its queries of their attention in the cell; [] if not compared."""
    return [[count / 1000 for count in row] for row in prompt["dense"]["rows"]] if prompt["dense"] else []


def shares(cells: dict[str, Any]) -> list[list[float]]:
    """Of the pairs of a query and a position that a cell holds, up to the diagonal, the share that is read."""
    width, length, table = cells["width"], cells["length"], cells["rows"]

    def pairs(row: int, column: int) -> float:
        return width if column < row else (min(width, length - row * width) + 1) / 2

    return [[count / 1000 / pairs(row, column) for column, count in enumerate(counts)] for row, counts in enumerate(table)]


def dhsa_maps(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Two heat maps of queries by positions: dense attention, a mean over the layer's heads, and the share that is read; to the
    latter every step behind the prompt adds a row."""
    ink, prompt = themes.colours(theme), _prompt(trace, upto)
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.05, figure=go.Figure(layout={"template": {}}))
    words = "Rows are the prompt's queries, columns the positions before them."
    if prompt:
        layer, width = read.steps(trace, upto)[0].notes["layer"], prompt["kept"]["width"]
        words = f"Layer {layer}, the prompt. Rows are queries, columns the positions before them; "
        words += "a cell is one pair." if width == 1 else f"a cell is {width} by {width}."
        levels = [[(place / 6) ** 2, ink[f"e{place}"]] for place in range(7)]
        blues = [[0, ink["paper"]], [0.01, ink["draft-tint"]], [1, ink["draft"]]]
        for column, (name, cells, scale, most) in enumerate(
            (("dense", attention(prompt), levels, DARKEST), ("read", shares(prompt["kept"]), blues, 1.0)), 1
        ):
            figure.add_heatmap(
                z=[row + [None] * (len(cells) - len(row)) for row in cells],
                x=[width * place for place in range(len(cells))],
                y=[width * place for place in range(len(cells))],
                name=name,
                zmin=0,
                zmax=most,
                colorscale=scale,
                showscale=False,
                hoverinfo="x+y+z",
                zhoverformat=".0%",
                hoverongaps=False,
                row=1,
                col=column,
            )
        _written(figure, read.steps(trace, upto)[1:], ink)
    figure.update_layout(title="What is dense, what is read?", meta={"words": words, "height": 330})
    figure.update_xaxes(showgrid=False, title="dense attention: position", row=1, col=1)
    figure.update_xaxes(showgrid=False, title="what is read: position", row=1, col=2)
    figure.update_yaxes(showgrid=False, autorange="reversed")
    figure.update_layout(yaxis={"title": "query"})
    return figure


def _written(figure: go.Figure, steps: list[Step], ink: dict[str, str]) -> None:
    """What the queries behind the prompt read, a row each."""
    x: list[float | None] = []
    y: list[float | None] = []
    for step in steps:
        runs = step.notes["reads"]
        for low, high in zip(runs[::2], runs[1::2]):
            x += [low - 0.5, high - 0.5, None]
            y += [step.notes["fed"] - 1] * 2 + [None]
    look = {"mode": "lines", "line": {"color": ink["draft-ink"], "width": 2}, "showlegend": False, "hoverinfo": "skip"}
    figure.add_scatter(x=x, y=y, name="written", **look, row=1, col=2)
