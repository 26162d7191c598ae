"""The next token behind an edited text, three times: full recompute, PIE, no rotation; and how far they are apart."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece

COLUMNS = ("token", "full recompute", "PIE", "no rotation")
LEAST = 1e-6  # nats; where smaller values are drawn


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a token: its probability with each cache, behind the latest edit."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    laws = shown[-1].notes["laws"]
    return list(zip([piece(trace, token) for token in laws["tokens"]], laws["full"], laws["PIE"], laws["no rotation"]))


def edit_laws(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: bars of the likeliest tokens, three a token. Right: KL from a full recompute, edit by edit."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, horizontal_spacing=0.15, figure=go.Figure(layout={"template": {}}))
    table = rows(trace, upto)
    looks = (
        ("full recompute", {"color": ink["target"], "line": {"color": ink["target-edge"], "width": 1}}),
        ("PIE", {"color": ink["draft"], "line": {"color": ink["draft-ink"], "width": 1}}),
        ("no rotation", themes.hatched(ink["refuse"], ink["refuse-tint"])),
    )
    places = list(range(len(table)))
    for number, (name, marker) in enumerate(looks, 1):
        values = [row[number] for row in table]
        hover = [f"{label(row[0])}: {row[number]:.3g} with {name}" for row in table]
        figure.add_bar(x=places, y=values, name=name, marker=marker, hovertext=hover, hoverinfo="text", row=1, col=1)
    notes = read.steps(trace, upto)[-1].notes if table else {"trail": []}
    trail = notes["trail"]
    for number, (name, colour, symbol) in enumerate((("PIE", "draft", "circle"), ("no rotation", "refuse", "x"))):
        figure.add_scatter(
            x=list(range(1, len(trail) + 1)),
            y=[max(row[number], LEAST) for row in trail],
            mode="lines+markers",
            name=name,
            showlegend=False,
            line={"color": ink[colour], "width": 2},
            marker={"symbol": symbol, "size": 7, "color": ink[colour]},
            hovertext=[f"edit {edit}: KL {row[number]:.3g} nats, {name}" for edit, row in enumerate(trail, 1)],
            hoverinfo="text",
            row=1,
            col=2,
        )
    words = "The laws of the next token behind the text; the further apart, the more the edit has spoiled the cache."
    if trail:
        ours, theirs = trail[-1]
        words = f"Behind the latest edit: KL(full || PIE) {ours:.2g} nats, KL(full || no rotation) {theirs:.2g} nats."
    figure.update_layout(
        title="What would the model write next?",
        meta={"words": words, "height": 310},
        barmode="group",
        xaxis={"tickvals": places, "ticktext": [label(row[0], 14) for row in table], "title": "next token"},
        yaxis={"title": "probability", "range": [0, 1]},
        xaxis2={"title": "edit", "range": [0.5, max(2, len(trail)) + 0.5], **themes.whole(len(trail), 8)},
        yaxis2=themes.nats("KL(full || it), nats"),
    )
    return figure
