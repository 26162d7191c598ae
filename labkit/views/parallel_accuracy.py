"""Right answers against the tokens written in one round: measured, exact, and where the chosen rule lands."""

from __future__ import annotations

from math import sqrt

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("rule", "tokens a round", "right", "of", "exact")
SIGMAS = 1.96  # of a 95 % interval


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a dot: the static rule at every number of tokens, and the chosen rule at the pace that it had."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    notes = shown[-1].notes
    own = notes["own"][0]
    found = [("static", one["tokens"], one["right"], one["of"], one["exact"]) for one in notes["curve"] if one["of"]]
    pace = notes["chosen"] if notes["rule"] == "static" else own["pace"]
    return [*found, (f"{notes['rule']}, chosen", pace, own["right"], own["of"], None)]


def interval(right: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson's), which stays inside 0 and 1."""
    share, weight = right / of, SIGMAS**2 / of
    middle, half = share + weight / 2, SIGMAS * sqrt(share * (1 - share) / of + weight / of / 4)
    return max(0.0, (middle - half) / (1 + weight)), min(1.0, (middle + half) / (1 + weight))


def error_bars(points: list[tuple[int, int]]) -> dict:
    """plotly's error bars of shares, each (right, of)."""
    ends = [(right / of, *interval(right, of)) for right, of in points]
    up, down = [high - share for share, _, high in ends], [share - low for share, low, _ in ends]
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.5, "width": 3}


def parallel_accuracy(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Share of right answers against tokens a round: dots measured, with 95 % intervals; line exact; star: the chosen rule."""
    ink, table = themes.colours(theme), rows(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "What do tokens written together cost?"})
    figure.update_layout(xaxis={"title": "tokens a round"}, yaxis={"title": "right answers", "range": [-0.03, 1.05]})
    figure.update_layout(meta={"words": "Run: answers to problems whose right answers are all known.", "height": 290})
    if not table:
        return figure
    notes = read.steps(trace, upto)[-1].notes
    figure.update_layout(meta={"words": _words(notes, table[-1]), "height": 290})
    dots, own = table[:-1], table[-1]
    line = [row for row in dots if row[4] is not None]
    if line:
        figure.add_scatter(
            x=[row[1] for row in line],
            y=[row[4] for row in line],
            name="exact, tokens drawn",
            mode="lines",
            line={"color": ink["target-edge"], "width": 3},
            hovertext=[f"exact at {row[1]}: {row[4]:.1%}" for row in line],
            hoverinfo="text",
        )
    for points, name, marker in (
        (dots, "static rule", {"color": ink["draft"], "size": 10}),
        ([own], own[0], {"color": ink["here"], "size": 17, "symbol": "star", "line": {"color": ink["paper"], "width": 1}}),
    ):
        figure.add_scatter(
            x=[row[1] for row in points],
            y=[row[2] / row[3] for row in points],
            name=name,
            mode="markers",
            marker=marker,
            error_y=error_bars([row[2:4] for row in points]) | {"color": marker["color"]},
            hovertext=[f"{row[0]}, {row[1]:.3g} tokens a round: {row[2]} of {row[3]} right" for row in points],
            hoverinfo="text",
        )
    return figure


def _words(notes: dict, own: tuple) -> str:
    seen, (right, of) = notes["example"], own[2:4]
    mark = "right" if seen["right"] else "wrong"
    return (
        f"{notes['task']}: {seen['asked']} → {seen['said']} ({mark}). The {notes['rule']} rule writes {own[1]:.1f} tokens a round "
        f"and is right {right / of:.0%} of the time."
    )
