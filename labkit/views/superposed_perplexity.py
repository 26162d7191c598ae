"""Superposed drafts beside separate runs: how unlikely their tokens are to the model alone, and the forwards that they took."""

from __future__ import annotations

import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("drafts by", "new token", "perplexity", "drafts a prompt", "forwards a prompt", "best draft's perplexity")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """A row a way of drafting and step: e to the mean nats of all drafts' tokens at that step; forwards with the prompt's."""
    shown = read.steps(trace, upto)
    return [
        (run["name"], step, math.exp(loss), run["drafts"], run["forwards"], math.exp(run["best"]))
        for run in (shown[-1].notes["runs"] if shown else [])
        for step, loss in enumerate(run["loss"], 1)
    ]


def superposed_perplexity(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: perplexity of the drafts' tokens by step. Right: forwards a prompt."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, column_widths=[0.68, 0.32], horizontal_spacing=0.15, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(
        title="Written at once: as good as one by one?",
        meta={"words": "Left: perplexity to the model alone, by step. Right: what the drafts cost.", "height": 380},
        legend={"x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "orientation": "h"},
        xaxis={"title": "new token", "dtick": 1},
        yaxis={"title": "perplexity of the drafts", "rangemode": "tozero"},
        yaxis2={"title": "forwards", "rangemode": "tozero"},
        xaxis2={"showticklabels": False},
    )
    shown = read.steps(trace, upto)
    if not shown:
        return figure
    notes, table = shown[-1].notes, rows(trace, upto)
    looks = (("draft", "solid", "circle", ""), ("here", "6px,4px", "square", "/"), ("target-edge", "2px,3px", "diamond", "."))
    for run, (colour, dash, symbol, pattern) in zip(notes["runs"], looks):
        own = [row for row in table if row[0] == run["name"]]
        figure.add_scatter(
            x=[row[1] for row in own],
            y=[row[2] for row in own],
            name=run["name"],
            mode="lines+markers",
            line={"color": ink[colour], "dash": dash, "width": 2.5},
            marker={"symbol": symbol, "size": 7, "color": ink[colour]},
            hovertext=[f"{run['name']}, token {row[1]}: {row[2]:.2f}" for row in own],
            hoverinfo="text",
            row=1,
            col=1,
        )
        solid = {"color": ink[colour], "line": {"color": ink[colour], "width": 1}}
        figure.add_bar(
            x=[run["name"]],
            y=[run["forwards"]],
            name=run["name"],
            showlegend=False,
            text=[f"{run['forwards']:g}"],
            textposition="outside",
            cliponaxis=False,
            marker=themes.hatched(ink[colour], ink["paper"], pattern) if pattern else solid,
            hovertext=[f"{run['name']}: {run['forwards']:g} forwards for {run['drafts']:g} drafts"],
            hoverinfo="text",
            row=1,
            col=2,
        )
    mean = {run["name"]: math.exp(sum(run["loss"]) / len(run["loss"])) for run in notes["runs"]}
    words = "; ".join(f"{run['name']} {mean[run['name']]:.2f} (best draft {math.exp(run['best']):.2f})" for run in notes["runs"])
    text = "text" if notes["done"] == 1 else "texts"
    figure.update_layout(meta={"words": f"Perplexity over all steps, {notes['done']} {text}: {words}."})
    return figure
