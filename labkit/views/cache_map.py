"""Which positions each layer still holds: a map of layers by positions."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label

COLUMNS = ("layer", "key-value head", "positions held", "runs of positions")
WIDEST = 240  # columns; a longer text is drawn in columns of several positions


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a layer and key-value head of the last step: how many positions it holds, and which, as unbroken runs."""
    notes = _notes(trace, upto)
    found = []
    for layer, heads in enumerate(notes.get("kept", ())):
        for head, runs in enumerate(heads):
            pairs = list(zip(runs[::2], runs[1::2]))
            named = ", ".join(f"{low}–{high - 1}" if high - low > 1 else str(low) for low, high in pairs)
            found.append((layer, head, sum(high - low for low, high in pairs), named))
    return found


def _notes(trace: Trace, upto: int | None) -> dict:
    shown = read.steps(trace, upto)
    return shown[-1].notes if shown else {}


def shares(runs: list[list[int]], fed: int, width: int) -> list[float]:
    """The share of (head, position) pairs held in each column of `width` positions."""
    held = [0] * -(-fed // width)
    for head in runs:
        for low, high in zip(head[::2], head[1::2]):
            for column in range(low // width, (high - 1) // width + 1):
                held[column] += min(high, (column + 1) * width) - max(low, column * width)
    return [
        count / (len(runs) * (min(fed, (column + 1) * width) - column * width)) for column, count in enumerate(held)
    ]


def cache_map(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A heat map: how many heads of each layer hold each position; hover names the positions and the text there."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    notes = _notes(trace, upto)
    title = "What does the cache still hold?"
    words = "Every key-value head of every layer holds some positions of the text; what is empty is forgotten."
    if notes:
        fed, kept = notes["fed"], notes["kept"]
        width = -(-fed // WIDEST)
        columns = range(0, fed, width)
        texts = [token.text for token in read.tokens(trace, upto)][:fed]
        z = [shares(heads, fed, width) for heads in kept]
        spans = [f"{low}" if width == 1 else f"{low}–{min(low + width, fed) - 1}" for low in columns]
        said = [label("".join(texts[low : low + width]), 40) for low in columns]
        hover = [
            [
                f"layer {layer}, position {span}: {share:.0%} of the heads hold it<br>{text}"
                for span, text, share in zip(spans, said, row)
            ]
            for layer, row in enumerate(z)
        ]
        scale = [[0, ink["paper"]], [0.001, ink["draft-tint"]], [1, ink["draft"]]]
        figure.add_heatmap(
            z=z,
            x=list(columns),
            zmin=0,
            zmax=1,
            colorscale=scale,
            showscale=False,
            hovertext=hover,
            hoverinfo="text",
            ygap=2,
        )
        held = sum(notes["held"]) / len(notes["held"])
        words = f"{held:,.0f} of {fed:,} positions a head in the mean; empty is forgotten, full blue is held by all heads."
        figure.add_vline(
            x=len(trace.opening.prompt_ids) - width / 2, line={"color": ink["target-edge"], "width": 2, "dash": "dash"}
        )
    figure.update_layout(
        title=title,
        meta={"words": words, "height": 280},
        xaxis={"title": "position in the text; the prompt ends at the dashed line", "showgrid": False},
        yaxis={"title": "layer", "autorange": "reversed", "dtick": 1, "showgrid": False},
    )
    return figure
