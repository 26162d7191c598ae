"""How far an error spreads, and what that costs in tokens, by the longest token allowed."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("longest token", "bytes changed beside an error", "boundary agreement", "bytes per token", "errors")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a limit."""
    steps = read.steps(trace, upto)
    found = steps[-1].notes["caps"] if steps else []
    return [(row["cap"], row["reach"], row["agreement"], row["bytes_per_token"], row["errors"]) for row in found]


def ocr_caps(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: bytes of other tokens for one error; middle: agreement; right: bytes per token."""
    ink, table = themes.colours(theme), rows(trace, upto)
    figure = make_subplots(1, 3, horizontal_spacing=0.1, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(title="Does a short token keep an error local?", showlegend=False)
    figure.update_layout(meta={"words": _words(table), "height": 280})
    names = (("bytes changed beside an error", "refuse"), ("boundary agreement", "draft"), ("bytes per token", "target"))
    for place, (name, colour) in enumerate(names, 1):
        axis = "" if place == 1 else str(place)
        figure.update_layout({f"yaxis{axis}": {"title": name}, f"xaxis{axis}": {"title": "longest token, characters"}})
        figure.update_layout({f"xaxis{axis}": {"type": "category"}})
        figure.add_scatter(
            x=[row[0] for row in table],
            y=[row[place] for row in table],
            mode="lines+markers",
            line={"color": ink[colour], "width": 3},
            hovertext=[f"{row[0]}: {row[place]:.3f}" for row in table],
            hoverinfo="text",
            name=name,
            row=1,
            col=place,
        )
    return figure


def _words(table: list[tuple]) -> str:
    if not table:
        return "No limit is measured yet."
    said = f"Held-out text with {table[0][4]:,} errors. "
    if len(table) > 2:
        low, high = table[1], table[-1]
        limit = "of any length" if high[0] == "any" else f"of {high[0]}"
        said += f"One error changes the tokens of {low[1]:.1f} bytes beside it with tokens of 2 characters, {high[1]:.1f} with "
        said += f"tokens {limit}; those carry {high[3] / low[3]:.2f} times the text."
    else:
        changed = [f"tokens of {row[0]}: {row[1]:.1f}" for row in table]
        said += f"Bytes beside an error whose token is another now: {', '.join(changed)}."
    return said
