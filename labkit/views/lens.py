"""The lens: what every layer would have drafted at every place, beside what became text."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece

COLUMNS = ("place", "token", "layer", "the layer's token", "the same", "drafted")
PLACES = 12  # drawn, the latest
LETTERS = 8  # of a token


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a place and layer, for the latest places: place from 1, its token, layer from 1, that layer's likeliest token.

    Then: are they the same, and was this layer the one that drafted here?
    """
    places = []
    for step in read.steps(trace, upto):
        drafts = len(step.tree.tokens) if step.tree else 0
        for slot, token in enumerate(step.emitted):
            exit = step.notes["exit"] if slot < drafts else None
            places.append((token, [layer[slot] for layer in step.notes["tokens"]], exit))
    found = []
    for place, (token, said, exit) in list(enumerate(places, 1))[-PLACES:]:
        for layer, shadow in enumerate(said, 1):
            found.append((place, piece(trace, token), layer, piece(trace, shadow), shadow == token, layer == exit))
    return found


def lens(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A cell a layer and place with that layer's token, filled where it is the text's own; a frame where the layer drafted."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    words = "A column is a place of the text, a row a layer. Filled: the layer would have drafted the right token. "
    figure = go.Figure(layout={"template": {}})
    figure.update_layout(
        title="What would each layer have drafted?",
        meta={"words": words + "Framed: it did draft here.", "height": 320},
        showlegend=False,
        xaxis={"title": "the text", "showgrid": False},
        yaxis={"title": "layer", "autorange": "reversed", "showgrid": False},
    )
    if not table:
        return figure
    names = {row[0]: row[1] for row in table}
    layers = max(row[2] for row in table)
    same = {(row[2], row[0]): int(row[4]) for row in table}
    figure.add_heatmap(
        x=list(names),
        y=list(range(1, layers + 1)),
        z=[[same[layer, place] for place in names] for layer in range(1, layers + 1)],
        zmin=0,
        zmax=1,
        colorscale=[[0, ink["sunk"]], [1, ink["draft"]]],
        showscale=False,
        xgap=2,
        ygap=2,
        hoverinfo="skip",
        name="the same token",
    )
    for right, colour in ((True, ink["on-draft"]), (False, ink["ink-3"])):
        cells = [row for row in table if row[4] == right]
        figure.add_scatter(
            x=[row[0] for row in cells],
            y=[row[2] for row in cells],
            text=[label(row[3], LETTERS) for row in cells],
            mode="text",
            textfont={"family": themes.CODE_FONT, "size": 11, "color": colour},
            hovertext=[f"layer {row[2]}: {label(row[3])}; the text has {label(row[1])}" for row in cells],
            hoverinfo="text",
            name="right" if right else "another",
        )
    edge = {"color": ink["target-edge"], "width": 2.5}
    frames = [row for row in table if row[5]]
    figure.update_layout(
        shapes=[
            {"type": "rect", "x0": place - 0.48, "x1": place + 0.48, "y0": layer - 0.47, "y1": layer + 0.47, "line": edge}
            for place, _, layer, *_ in frames
        ],
        xaxis={
            "tickvals": list(names),
            "ticktext": [label(name, LETTERS) for name in names.values()],
            "tickfont": {"family": themes.CODE_FONT, "size": 11},
            "tickangle": 0,
        },
        yaxis={"tickvals": list(range(1, layers + 1))},
    )
    return figure
