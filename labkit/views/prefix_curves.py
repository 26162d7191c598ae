"""One line across the layers' curves of attention, and how many tokens each layer keeps by it (P153)."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.columns import strokes

COLUMNS = ("layer", "tokens up to the line", "kept, PrefixKV", "kept, uniform", "kept, pyramid")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a layer: the tokens by which its curve reaches the last line, and what each way to divide lets it keep."""
    notes = _notes(trace, upto)
    if not notes:
        return []
    kept = notes["kept"]
    columns = zip(notes["counts"], kept["PrefixKV"], kept["uniform"], kept["pyramid"])
    return [(layer, *row) for layer, row in enumerate(columns)]


def _notes(trace: Trace, upto: int | None) -> dict:
    shown = read.steps(trace, upto)
    return shown[-1].notes if shown else {}


def prefix_curves(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: the share of attention that the n best tokens of each layer hold, and the lines tried so far, the last one full.

    The layers that cross it first and last are coloured. Right: tokens kept by layer, by the line and by its two rivals.
    """
    ink = themes.colours(theme)
    widths = {"column_widths": [0.52, 0.48], "horizontal_spacing": 0.09}
    figure = make_subplots(1, 2, figure=go.Figure(layout={"template": {}}), **widths)
    notes, table = _notes(trace, upto), rows(trace, upto)
    if notes:
        _curves(figure, ink, notes, table)
        _bars(figure, ink, table)
    figure.update_layout(
        title="How many tokens does each layer need?",
        meta={"words": _words(notes, table), "height": 330},
        xaxis={"title": "tokens of a layer, those with most attention first", "rangemode": "tozero"},
        yaxis={"title": "share of its attention", "tickformat": ".0%", "range": [0, 1.02]},
        xaxis2={"title": "layer; a bar's height: tokens kept", "dtick": 1 if len(table) <= 16 else 4, "showgrid": False},
        yaxis2={"rangemode": "tozero"},
        bargap=0.25,
    )
    return figure


def _curves(figure: go.Figure, ink: dict[str, str], notes: dict, table: list[tuple]) -> None:
    line = notes["lines"][-1][0]
    least, most = (pick(table, key=lambda row: row[1])[0] for pick in (min, max))
    looks = {least: ("target-edge", "dash", 2.5), most: ("draft", "solid", 2.5)}
    for layer, heights in enumerate(notes["curves"]):
        colour, dash, width = looks.get(layer, ("edge", "solid", 1))
        figure.add_scatter(
            x=[0, *notes["ranks"]],
            y=[0, *heights],
            name=f"layer {layer}",
            mode="lines",
            line={"color": ink[colour], "dash": dash, "width": width},
            showlegend=False,
            hovertext=[f"layer {layer}: {n:,} tokens hold {share:.1%}" for n, share in zip([0, *notes["ranks"]], [0, *heights])],
            hoverinfo="text",
            row=1,
            col=1,
        )
    for place, (tried, _) in enumerate(notes["lines"][:-1]):
        style = {"color": ink["here"], "dash": "dot", "width": 1}
        figure.add_hline(y=tried, line=style, opacity=0.3 + 0.5 * place / len(notes["lines"]), row=1, col=1)
    figure.add_hline(y=line, line={"color": ink["here"], "width": 2}, row=1, col=1)
    ends = [(row[1], 0, line) for row in table]
    figure.add_scatter(**strokes({"color": ink["edge"], "dash": "dot", "width": 1}, ends, showlegend=False), row=1, col=1)
    figure.add_scatter(
        x=[row[1] for row in table],
        y=[line] * len(table),
        name="the line",
        mode="markers",
        marker={"color": ink["here"], "size": 8, "line": {"color": ink["paper"], "width": 1}},
        showlegend=False,
        hovertext=[f"layer {row[0]} reaches {line:.1%} with {row[1]:,} tokens" for row in table],
        hoverinfo="text",
        row=1,
        col=1,
    )
    look = {"x": 1, "xref": "x domain", "xanchor": "right", "showarrow": False, "bgcolor": ink["paper"], "borderpad": 1}
    note = {"text": f"p = {line:.3f}", "y": line, "yref": "y", "yshift": -10}  # right below the line there is room, always
    figure.add_annotation(**note, font={"color": ink["here"], "size": 12}, **look)
    for y, (layer, words, colour) in enumerate(((least, "least", "target-ink"), (most, "most", "draft-ink"))):
        text = f"layer {layer} needs {words}: {table[layer][1]:,}"
        figure.add_annotation(text=text, y=0.12 - 0.08 * y, yref="y", font={"color": ink[colour], "size": 12}, **look)


def _bars(figure: go.Figure, ink: dict[str, str], table: list[tuple]) -> None:
    looks = {
        "PrefixKV": {"color": ink["draft"], "line": {"color": ink["draft-ink"], "width": 1}},
        "uniform": {"color": ink["ghost"], "line": {"color": ink["edge"], "width": 1}},
        "pyramid": themes.hatched(ink["target-edge"], ink["target-tint"]),
    }
    for place, (name, marker) in enumerate(looks.items(), 2):
        figure.add_bar(
            x=[row[0] for row in table],
            y=[row[place] for row in table],
            name=name,
            marker=marker,
            hovertext=[f"layer {row[0]} keeps {row[place]:,} tokens, {name}" for row in table],
            hoverinfo="text",
            row=1,
            col=2,
        )


def _words(notes: dict, table: list[tuple]) -> str:
    if not notes:
        return "A line is searched at which the layers together keep as many tokens as the budget allows."
    steps, (line, kept) = len(notes["lines"]), notes["lines"][-1]
    said = f"Halving {steps}: at p = {line:.3f} the layers keep {kept:,} tokens together; the budget is {notes['target']:,}."
    if not notes["final"]:
        return said
    widths = [row[2] for row in table]
    return f"{said} Rescaled to it, the narrowest layer keeps {min(widths):,} tokens and the widest {max(widths):,}."
