"""Which exit, and how many drafts: what is known of every layer, and the tokens per layer that it promises."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("exit layer", "acceptance", "drafts", "tokens per layer", "chosen")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a pair of exit layer and draft length, as the last step knew it before it drafted.

    Exit layer from 1, its acceptance a_l, drafts from 0, TPL(l, d), and whether the step drafted with this pair.
    """
    shown = read.steps(trace, upto)
    if not shown:
        return []
    notes = shown[-1].notes
    return [
        (layer, notes["acceptance"][layer - 1], length, value, (layer, length) == (notes["exit"], notes["length"]))
        for layer, line in enumerate(notes["tpl"], 1)
        for length, value in enumerate(line)
    ]


def exit_choice(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: a_l, the chance that a draft of layer l is right. Right: TPL(l, d), and the pair that the step drafted with."""
    ink = themes.colours(theme)
    grid = make_subplots(1, 2, column_widths=[0.3, 0.7], horizontal_spacing=0.08, figure=go.Figure(layout={"template": {}}))
    table = rows(trace, upto)
    figure = grid.update_layout(title="Which exit, and how many drafts?", showlegend=False, meta={"height": 300})
    words = "Left: how often each layer's token was the right one lately. Right: expected tokens for every layer loaded."
    figure.update_layout(
        xaxis={"title": "share right", "range": [0, 1.02], "tickvals": [0, 0.5, 1]},
        xaxis2={"title": "tokens drafted", "showgrid": False},
        yaxis={"title": "exit layer", "autorange": "reversed", "showgrid": False},
        yaxis2={"autorange": "reversed", "showgrid": False, "matches": "y"},
        meta={"words": words, "height": 300},
    )
    if not table:
        return figure
    last = read.steps(trace, upto)[-1]
    known, tpl = last.notes["acceptance"], last.notes["tpl"]
    layers, lengths = list(range(1, len(known) + 1)), list(range(len(tpl[0])))
    figure.add_bar(
        x=known,
        y=layers,
        orientation="h",
        name="acceptance",
        marker={"color": ink["draft"]},
        text=[f"{share:.2f}" for share in known],
        textposition="auto",
        insidetextfont={"color": ink["on-draft"]},
        hovertext=[f"layer {layer}: {share:.3f}" for layer, share in zip(layers, known)],
        hoverinfo="text",
        row=1,
        col=1,
    )
    figure.add_heatmap(
        x=lengths,
        y=layers[:-1],
        z=tpl,
        colorscale=[[step / 6, ink[f"e{step}"]] for step in range(7)],
        colorbar={"title": {"text": "tokens<br>per layer", "side": "top"}, "thickness": 12, "outlinewidth": 0},
        xgap=1,
        ygap=1,
        name="tokens per layer",
        hovertext=[
            [f"{length} drafts from layer {layer}: {value:.4f} tokens per layer" for length, value in enumerate(line)]
            for layer, line in enumerate(tpl, 1)
        ],
        hoverinfo="text",
        row=1,
        col=2,
    )
    layer, length = last.notes["exit"], last.notes["length"]
    figure.add_scatter(
        x=[length],
        y=[layer],
        mode="markers",
        name="chosen",
        marker={"symbol": "diamond", "size": 13, "color": ink["paper"], "line": {"color": ink["here"], "width": 3}},
        hoverinfo="skip",
        row=1,
        col=2,
    )
    promise = f"{length} from layer {layer} promise {tpl[layer - 1][length]:.3f}" if length else "no draft promises more"
    figure.layout.meta["words"] = f"{words} Chosen: {promise}; plain decoding brings {tpl[0][0]:.3f}."
    figure.update_xaxes(tickvals=lengths, row=1, col=2)
    figure.update_yaxes(tickvals=layers, row=1, col=1)
    figure.update_yaxes(tickvals=layers[:-1], row=1, col=2)
    return figure
