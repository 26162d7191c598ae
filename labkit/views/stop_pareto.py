"""Ways to stop drafting, by what they throw away and what they save."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("stops by", "setting", "discarded drafts a token", "target calls a token")
SETTING = {"fixed length": "length {:g}", "entropy": "{:g} nats", "trained head": "h = {:g}"}  # the oracle has none
YARDSTICK = 4.0  # the fixed length that the sentence compares with


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a policy and setting: drafts discarded and target calls, both a token of text."""
    shown = read.steps(trace, upto)
    curves = shown[-1].notes["curves"] if shown else {}
    return [(name, *point) for name, points in curves.items() for point in points]


def discarded_at(points: list[list[float]], calls: float) -> float | None:
    """Drafts discarded where a curve of [setting, discarded, calls] makes `calls` target calls, between its points by a line."""
    ordered = sorted((point[2], point[1]) for point in points)
    for (low, one), (high, other) in zip(ordered, ordered[1:]):
        if low <= calls <= high:
            share = (calls - low) / (high - low) if high > low else 0.0
            return one + share * (other - one)
    return None


def stop_pareto(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Target calls a token (x) against discarded drafts a token (y): the lower left is better, each curve is one policy."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    figure.update_layout(
        title="What does each way to stop cost?",
        xaxis={"title": "target calls a token"},
        yaxis={"title": "discarded drafts a token", "rangemode": "tozero"},
        meta={"words": "Further down and to the left is better.", "height": 360},
    )
    shown = read.steps(trace, upto)
    curves = shown[-1].notes["curves"] if shown else {}
    looks = {
        "fixed length": ({"color": ink["ink-2"], "width": 2, "dash": "6px,3px"}, "square", ink["ink-2"]),
        "entropy": ({"color": ink["e5"], "width": 2, "dash": "2px,3px"}, "diamond", ink["e5"]),
        "trained head": ({"color": ink["draft"], "width": 3}, "circle", ink["draft"]),
        "oracle (peeks)": ({"color": ink["target-edge"], "width": 1}, "star", ink["target"]),
    }
    for name, points in curves.items():
        line, symbol, fill = looks[name]
        points = sorted(points)
        size = 14 if symbol == "star" else 8
        what = SETTING.get(name, "").format
        figure.add_scatter(
            x=[calls for _, _, calls in points],
            y=[discarded for _, discarded, _ in points],
            name=name,
            mode="lines+markers",
            line=line,
            marker={"symbol": symbol, "size": size, "color": fill, "line": {"color": line["color"], "width": 1}},
            hovertext=[f"{name} {what(value)}: {lost:.3f} discarded, {calls:.3f} calls a token" for value, lost, calls in points],
            hoverinfo="text",
        )
    figure.layout.meta["words"] += _comparison(curves)
    return figure


def _comparison(curves: dict[str, list]) -> str:
    """The other policies at as many target calls as the fixed length `YARDSTICK` makes."""
    same = [point for point in curves.get("fixed length", []) if point[0] == YARDSTICK]
    if not same:
        return ""
    _, lost, calls = same[0]
    others = {name: discarded_at(curves[name], calls) for name in ("entropy", "trained head") if name in curves}
    said = "".join(f", {name} {value:.2f}" for name, value in others.items() if value is not None)
    same = f"At the {calls:.2f} target calls a token of fixed length {YARDSTICK:g}"
    return f" {same}, discarded drafts a token: fixed {lost:.2f}{said}."
