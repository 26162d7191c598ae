"""What pauses and trials cost, and how likely the text is that they write."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("method", "setting", "tokens", "forwards a token", "mean -ln p, nats")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a setting: method, tau or Nmax (None: tau is never reached), tokens, forwards a token, mean -ln p a token."""
    steps = read.steps(trace, upto)
    found = steps[-1].notes["runs"] if steps else []
    return [(name, value, tokens, calls / tokens, nats / tokens) for name, value, tokens, calls, nats in found]


def _setting(row: tuple) -> str:
    return "greedy" if row[1] is None else f"{row[1]:g}"


def pause_cost(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A curve a method: forwards a token against the mean -ln p of what it wrote, under the raw law."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    figure.update_layout(
        title="What does it cost, and how likely is the text?",
        xaxis={"title": "forwards a token", "rangemode": "tozero"},
        yaxis={"title": "mean -ln p, nats", "rangemode": "tozero"},
        meta={"words": "Nothing is written yet.", "height": 320},
    )
    table = rows(trace, upto)
    for name, knob, colour, dash, symbol, side in (
        ("AdaDec", "tau", ink["target-edge"], "solid", "circle", "top center"),
        ("CNTP", "Nmax", ink["e5"], "6px,3px", "square", "bottom center"),
    ):
        own = [row for row in table if row[0] == name]
        figure.add_scatter(
            x=[row[3] for row in own],
            y=[row[4] for row in own],
            name=f"{name}, by {knob}",
            mode="lines+markers+text",
            line={"color": colour, "width": 2, "dash": dash},
            marker={"color": colour, "symbol": symbol, "size": 8},
            text=[_setting(row) for row in own],
            textposition=side,
            textfont={"size": 12, "color": ink["ink-2"]},
            cliponaxis=False,
            hovertext=[f"{name}, {knob} {_setting(row)}: {row[3]:.2f} forwards, {row[4]:.3f} nats a token" for row in own],
            hoverinfo="text",
        )
    if table:
        temperature = read.steps(trace, upto)[-1].notes["temperature"]
        figure.layout.meta["words"] = (
            f"Counted, the prompt's forward too. CNTP samples at temperature {temperature:g}, AdaDec is greedy. Lower is "
            "likelier to the model, which is what both choose by; it is not better for that."
        )
    return figure
