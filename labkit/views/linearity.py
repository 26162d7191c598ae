"""Does a mix stay a mix? States of superposed forwards beside the mix of the drafts' own states, layer by layer."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("after layer", "mixed token", "cosine with the mix", "the first draft's own cosine", "the first draft's share")
WRITTEN = 12  # steps; cells of more have no room for their number


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """A row a layer (0 = the input) and superposed token; shares are means over the texts, as the cosines are."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    superposed, alone = shown[-1].notes["likeness"]
    first = shown[-1].notes["first"]
    return [
        (layer, place + 1, cosine, alone[layer][place], first[place])
        for layer, line in enumerate(superposed)
        for place, cosine in enumerate(line)
    ]


def linearity(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: the cosine of every layer and step as a cell. Right: its mean by layer, beside the first draft's own state."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, column_widths=[0.64, 0.36], horizontal_spacing=0.16, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(
        title="Does the mix stay a mix inside the model?",
        meta={"words": "The cosine of the superposed state with the mix of the drafts' own states.", "height": 380},
        legend={"x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom", "orientation": "h"},
        xaxis={"title": "mixed token", "dtick": 1, "showgrid": False},
        yaxis={"title": "after layer", "dtick": 1, "showgrid": False},
        xaxis2={"title": "after layer", "dtick": 1},
        yaxis2={"title": "mean cosine"},
    )
    table = rows(trace, upto)
    if not table:
        return figure
    layers, places = max(row[0] for row in table), max(row[1] for row in table)
    by_layer = [[row for row in table if row[0] == layer] for layer in range(layers + 1)]
    low = min(0.9, *(row[2] for row in table))
    figure.add_heatmap(
        x=list(range(1, places + 1)),
        y=list(range(layers + 1)),
        z=[[row[2] for row in line] for line in by_layer],
        zmin=low,
        zmax=1,
        colorscale=[[0, ink["e4"]], [1, ink["paper"]]],
        showscale=False,
        xgap=2,
        ygap=2,
        name="cosine",
        hovertext=[[f"layer {row[0]}: {row[2]:.3f}; first draft alone {row[3]:.3f}" for row in line] for line in by_layer],
        hoverinfo="text",
        row=1,
        col=1,
    )
    for strong in (True, False) if places <= WRITTEN else ():
        cells = [row for row in table if (row[2] < low + (1 - low) / 4) == strong]
        figure.add_scatter(
            x=[row[1] for row in cells],
            y=[row[0] for row in cells],
            text=[f"{row[2]:.2f}".removeprefix("0") for row in cells],
            mode="text",
            name="far from 1" if strong else "near 1",
            textfont={"size": 11, "color": ink["on-e4" if strong else "ink"]},
            showlegend=False,
            hoverinfo="skip",
            row=1,
            col=1,
        )
    for name, column, colour, dash in (("superposed", 2, "draft", "solid"), ("first draft alone", 3, "ink-2", "6px,4px")):
        means = [sum(row[column] for row in line) / places for line in by_layer]
        figure.add_scatter(
            x=list(range(layers + 1)),
            y=means,
            name=name,
            mode="lines+markers",
            line={"color": ink[colour], "dash": dash, "width": 2.5},
            hovertext=[f"{name}, layer {layer}: {mean:.3f}" for layer, mean in enumerate(means)],
            hoverinfo="text",
            row=1,
            col=2,
        )
    share = sum(row[4] for row in by_layer[0]) / places
    words = f"The best draft weighs {share:.0%} of a mix on average. Where its own state lies as near to the mix (dashed) as "
    figure.update_layout(meta={"words": words + "the superposed one, the forward may as well have fed that draft alone."})
    return figure
