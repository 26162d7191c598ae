"""What a cache policy saves and what it spoils, step by step: bytes, KL, and where the favourite changes."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("step", "kB held", "kB read", "kB of a dense cache", "KL, nats", "same favourite", "attention lost")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a step; the last three are None where nothing was compared."""
    found = []
    for number, step in enumerate(read.steps(trace, upto), 1):
        notes = step.notes
        gone = notes.get("lost")
        lost = sum(gone) / len(gone) if gone else None
        sizes = (notes["bytes"]["whole"], notes["bytes"]["read"], notes["dense bytes"])
        found.append((number, *(size / 1000 for size in sizes), notes.get("kl"), notes.get("agrees"), lost))
    return found


def cache_cost(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: bytes held and read beside a dense cache's. Right: KL(dense || policy); hollow marks where the favourites differ."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, horizontal_spacing=0.1, figure=go.Figure(layout={"template": {}}))
    table = rows(trace, upto)
    steps = [row[0] for row in table]
    for name, place, colour, dash in (
        ("dense", 3, "ink-3", "dot"),
        ("held", 1, "draft", "solid"),
        ("read from step 2 on", 2, "target-edge", "dash"),  # the first step reads the whole prompt, many times over
    ):
        hover = [f"step {row[0]}: {row[place]:,.0f} kB {name.split()[0]}" for row in table]
        line = {"color": ink[colour], "dash": dash, "width": 3 if name == "held" else 2}
        figure.add_scatter(
            x=steps,
            y=[None if place == 2 and row[0] == 1 else row[place] for row in table],
            name=name,
            line=line,
            hovertext=hover,
            hoverinfo="text",
            row=1,
            col=1,
        )
    compared = [row for row in table if row[4] is not None]
    marks = [ink["draft"] if row[5] else ink["paper"] for row in compared]
    edges = [ink["draft"] if row[5] else ink["refuse"] for row in compared]
    hover = [f"step {row[0]}: KL {row[4]:.3f} nats, {row[6]:.0%} of the attention lost" for row in compared]
    figure.add_scatter(
        x=[row[0] for row in compared],
        y=[row[4] for row in compared],
        mode="lines+markers",
        line={"color": ink["edge"], "width": 1},
        marker={"color": marks, "line": {"color": edges, "width": 2}, "size": 9},
        hovertext=hover,
        hoverinfo="text",
        showlegend=False,
        row=1,
        col=2,
    )
    figure.update_xaxes(title="step")
    figure.update_yaxes(title="kB", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title="KL(dense || policy), nats", rangemode="tozero", row=1, col=2)
    figure.update_layout(
        title="What does it save, and what does it spoil?", meta={"words": _words(compared), "height": 280}
    )
    return figure


def _words(compared: list[tuple]) -> str:
    first = next((row[0] for row in compared if not row[5]), None)
    if not compared:
        return (
            "Left: bytes of the cache. Right: how far the next-token law is from dense attention's, on the same text."
        )
    if first is None:
        return "Right: on this text dense attention would have chosen every token alike, so far."
    return f"Right: a hollow mark is a step where dense attention has another favourite; the first is step {first}."
