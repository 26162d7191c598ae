"""%valid and %pure: against the size of a BPE's vocabulary, and beside other segmenters."""

from __future__ import annotations

import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("segmenter", "vocabulary", "valid", "pure", "tokens")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a segmenter; "vocabulary" is None where it is open. Raises `KeyError` when the steps have no such notes."""
    steps = read.steps(trace, upto)
    points = steps[-1].notes["points"] if steps else []
    return [(one["name"], one["size"], one["valid"], one["pure"], one["tokens"]) for one in points]


def morpheme_shares(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: both shares by the size of the trained BPE. Right: both shares of every other segmenter."""
    ink = themes.colours(theme)
    figure = make_subplots(
        1, 2, column_widths=[0.55, 0.45], horizontal_spacing=0.2, figure=go.Figure(layout={"template": {}})
    )
    figure.update_layout(title="When does a valid token stop being a morpheme?")
    steps = read.steps(trace, upto)
    points = steps[-1].notes["points"] if steps else []
    sweep, others = ([one for one in points if (one["name"] == "BPE") == side] for side in (True, False))
    looks = {
        "valid": ("square", 14, ink["target"], ink["target-edge"], "6px,3px"),
        "pure": ("circle", 8, ink["draft"], ink["draft"], "solid"),
    }
    for kind, (symbol, large, fill, edge, dash) in looks.items():
        marker = {"symbol": symbol, "size": large, "color": fill, "line": {"color": edge, "width": 1.5}}
        style = {"marker": marker, "name": kind, "hoverinfo": "text"}
        figure.add_scatter(
            x=[one["size"] for one in sweep],
            y=[one[kind] for one in sweep],
            mode="lines+markers",
            line={"color": edge, "width": 2.5, "dash": dash},
            hovertext=[f"{one['size']:,} entries: {one[kind]:.1%} {kind}" for one in sweep],
            row=1,
            col=1,
            **style,
        )
        figure.add_scatter(
            x=[one[kind] for one in others],
            y=[one["name"] for one in others],
            mode="markers",
            showlegend=False,
            hovertext=[f"{one['name']}: {one[kind]:.1%} {kind}" for one in others],
            row=1,
            col=2,
            **style,
        )
    size = {"type": "log", "title": "entries of the trained BPE", "tickvals": [300, 500, 1000, 2000, 5000]}
    figure.update_layout(
        meta={"words": _words(sweep), "height": max(290, 110 + 26 * len(others))},
        xaxis={**size, "range": [math.log10(280), math.log10(5400)]},
        yaxis={"range": [0, 1.04], "tickformat": ".0%", "title": "share of the tokens"},
        xaxis2={"range": [-0.03, 1.04], "tickformat": ".0%", "title": "share of the tokens"},
        yaxis2={"autorange": "reversed", "type": "category"},
    )
    return figure


def _words(sweep: list[dict]) -> str:
    if len(sweep) < 2:
        return "Squares: tokens that are words or affixes; circles: tokens that are one bare root or one bare affix."
    first, last = (min(sweep, key=lambda one: one["size"]), max(sweep, key=lambda one: one["size"]))
    return (
        f"From {first['size']:,} to {last['size']:,} entries valid goes from {first['valid']:.0%} to {last['valid']:.0%}, pure "
        f"from {first['pure']:.0%} to {last['pure']:.0%}: what lies between them are words fused from several morphemes."
    )
