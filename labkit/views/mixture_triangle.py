"""Which mixtures of the three largest categories the merges leave possible."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import theme as themes
from labkit.views.mixture_shares import last

COLUMNS = ("first", "second", "third", "unexplained")
FLOOR = 1e-6  # occurrences a byte; less is drawn as this


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a mixture: the three shares, and what the merges seen so far leave unexplained, in occurrences a byte."""
    known = last(trace, upto).get("triangle")
    if not known:
        return []
    side, room = known["side"], known["room"]
    places = [(i, j, side - i - j) for i in range(side + 1) for j in range(side + 1 - i)]
    return [(*(room * part / side for part in place), found) for place, found in zip(places, known["shortfall"])]


def mixture_triangle(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A triangle of mixtures, each coloured by what it leaves unexplained; a circle for the truth, a cross for the answer."""
    ink = themes.colours(theme)
    table, notes = rows(trace, upto), last(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "Which mixtures do the merges leave?"})
    figure.update_layout(meta={"words": _words(notes, table), "height": 330}, showlegend=bool(table))
    bare = {"showgrid": False, "showticklabels": False, "zeroline": False, "showline": False, "ticks": ""}
    figure.update_layout(xaxis={**bare, "range": [-0.3, 1.3]}, yaxis={**bare, "range": [-0.14, 1.0]})
    if not table:
        return figure
    known = notes["triangle"]
    shades = [[level / 6, ink[f"e{6 - level}"]] for level in range(7)]
    spots = [spot(row[:3]) for row in table]
    figure.add_scatter(
        x=[x for x, _ in spots],
        y=[y for _, y in spots],
        mode="markers",
        name="a mixture",
        showlegend=False,
        marker={
            "symbol": "hexagon",
            "size": 11,
            "color": [math.log10(max(row[3], FLOOR)) for row in table],
            "colorscale": shades,
            "cmin": -2.5,
            "cmax": 0.5,
            "colorbar": {
                "title": {"text": "unexplained<br>a byte", "font": {"size": 12}},
                "tickvals": [-2, -1, 0],
                "ticktext": ["0.01", "0.1", "1"],
                "thickness": 12,
                "outlinewidth": 0,
            },
            "line": {"color": ink["edge"], "width": 0.5},
        },
        hovertext=[
            f"{', '.join(f'{name} {share:.0%}' for name, share in zip(known['corners'], row))}: {row[3]:.4f} unexplained"
            for row in table
        ],
        hoverinfo="text",
    )
    marks = (("true", notes["true"], "circle-open", ink["ink"]), ("inferred", notes.get("inferred", {}), "x", ink["refuse"]))
    for name, mixture, symbol, colour in marks:
        shares = [mixture.get(corner, 0.0) for corner in known["corners"]]
        if sum(shares):
            x, y = spot(shares)
            look = {"symbol": symbol, "size": 15, "color": colour, "line": {"color": colour, "width": 3}}
            figure.add_scatter(x=[x], y=[y], mode="markers", name=name, marker=look, hoverinfo="name")
    for name, (x, y) in zip(known["corners"], ((0.5, 0.95), (-0.03, -0.07), (1.03, -0.07))):
        words = {"text": [name], "textfont": {"color": ink["ink"], "size": 13}}
        figure.add_scatter(x=[x], y=[y], mode="text", **words, showlegend=False, hoverinfo="skip")
    return figure


def spot(shares) -> tuple[float, float]:
    """Where a mixture of three stands: the first on top, the second left, the third right."""
    total = sum(shares)
    return (shares[0] * 0.5 + shares[2]) / total, shares[0] / total * math.sqrt(3) / 2


def _words(notes: dict, table: list[tuple]) -> str:
    if not table:
        return "Each merge will rule out the mixtures under which another pair was commoner."
    rest = 1 - notes["triangle"]["room"]
    held = f"; the others keep their true {rest:.0%}" if notes["true"] and rest > 0.001 else ""
    few = min(table, key=lambda row: row[3])
    best = ", ".join(f"{name} {share:.0%}" for name, share in zip(notes["triangle"]["corners"], few))
    return f"After {notes['applied']:,} merges the least is unexplained at {best}{held}."
