"""What goes with a high premium: the share of its variance that properties of a language explain."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.premium_bars import FAMILIES, languages

COLUMNS = ("property", "R squared")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a property: the share of the premiums' variance that it explains alone; the last all together."""
    shown = read.steps(trace, upto)
    return list(shown[-1].notes["causes"].items()) if shown else []


def premium_causes(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: R squared of each property, and of all. Right: premium against the share of white space, a mark a language."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    figure = make_subplots(1, 2, column_widths=[0.45, 0.55], horizontal_spacing=0.12, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(title="What goes with a premium?", showlegend=False, meta={"words": _words(table), "height": 220})
    figure.update_layout(
        xaxis={"title": "R² of the premium", "range": [0, 1]},
        yaxis={"autorange": "reversed", "showgrid": False},
        xaxis2={"title": "share of white space", "tickformat": ".0%"},
        yaxis2={"title": "premium"},
    )
    figure.add_bar(
        x=[value for _, value in table],
        y=[name for name, _ in table],
        orientation="h",
        name="R²",
        marker={"color": [ink["draft"]] * (len(table) - 1) + [ink["target"]] * bool(table)},
        text=[f"{value:.2f}" for _, value in table],
        textposition="outside",
        hoverinfo="skip",
        row=1,
        col=1,
    )
    found = languages(trace, upto)
    for family, (colour, symbol) in FAMILIES.items():
        mine = [row for row in found if row["family"] == family]
        figure.add_scatter(
            x=[row["white"] for row in mine],
            y=[row["premium"] for row in mine],
            mode="markers",
            name=family,
            marker={"symbol": symbol, "size": 8, "color": ink[colour]},
            hovertext=[f"{row['name']}: {row['white']:.1%} white space, premium {row['premium']:.2f}" for row in mine],
            hoverinfo="text",
            row=1,
            col=2,
        )
    return figure


def _words(table: list[tuple]) -> str:
    if not table:
        return "After some languages, linear regressions begin to say what a premium goes with."
    named = dict(table)
    return (
        f"White space alone explains {named['white space']:.0%} of the premiums' variance, all together {named['together']:.0%} "
        f"(16 % and 30 % in the paper, from other properties); the bytes of the script alone explain {named['bytes']:.0%}."
    )
