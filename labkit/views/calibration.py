"""From which entropy on is the likeliest token likely to be wrong?"""

from __future__ import annotations

from math import exp

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("entropy, nats", "likeliest is right", "mean rank of the right one", "places", "fitted")
POINTS = 60  # of the drawn curve


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a bin of held-out places: mean entropy, share whose true token ranks first, its mean rank, places, the curve."""
    learned = _learned(trace, upto)
    return [(*cells, _curve(learned, cells[0])) for cells in learned["bins"]] if learned else []


def _learned(trace: Trace, upto: int | None) -> dict | None:
    steps = read.steps(trace, upto)
    return steps[0].notes["calibration"] if steps else None


def _curve(learned: dict, nats: float) -> float:
    return 1 / (1 + exp(-learned["intercept"] - learned["slope"] * nats))


def calibration(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Dots: held-out places by entropy, and how often their likeliest token is right; the fitted curve; tau; the run's tokens."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    figure.update_layout(
        title="From which entropy on is its favourite wrong?",
        xaxis={"title": "entropy, nats", "rangemode": "tozero"},
        yaxis={"title": "likeliest is right", "range": [-0.06, 1.03], "tickvals": [0, 0.5, 1]},
        meta={"words": "No token yet.", "height": 330},
    )
    steps = read.steps(trace, upto)
    if not steps:
        return figure
    tau, nats, learned = steps[-1].notes["tau"], [step.beliefs[0].entropy for step in steps], _learned(trace, upto)
    said = "Nothing was learned for this model; tau is set by hand."
    if learned:
        said = _held_out(figure, learned, ink)
    colours = [ink["edge"]] * (len(nats) - 1) + [ink["here"]]
    marker = {"symbol": "line-ns", "size": 10, "line": {"width": [1] * (len(nats) - 1) + [3], "color": colours}}
    hover = [f"token {number}: {h:.2f} nats" for number, h in enumerate(nats, 1)]
    figure.add_scatter(
        x=nats, y=[-0.02] * len(nats), name="this text", mode="markers", marker=marker, hovertext=hover, hoverinfo="text"
    )
    line = {"color": ink["ink"], "width": 1.5, "dash": "6px,3px"}
    figure.add_scatter(x=[tau, tau], y=[0, 1], name=f"tau {tau:.2f}", mode="lines", line=line, hoverinfo="skip")
    figure.layout.meta["words"] = f"{said} Ticks: the tokens of this text, the newest marked."
    return figure


def _held_out(figure: go.Figure, learned: dict, ink: dict[str, str]) -> str:
    """Draws what was learned; the sentence about it."""
    bins = learned["bins"]
    places = sum(cells[3] for cells in bins)
    figure.add_scatter(
        x=[cells[0] for cells in bins],
        y=[cells[1] for cells in bins],
        name="held-out code",
        mode="markers",
        marker={"color": ink["target"], "size": 9, "line": {"color": ink["target-edge"], "width": 1}},
        hovertext=[f"{h:.2f} nats: right {share:.1%}, mean rank {rank:.1f}, {n:,.0f} places" for h, share, rank, n in bins],
        hoverinfo="text",
    )
    xs = [bins[-1][0] * 1.1 * point / POINTS for point in range(POINTS + 1)]
    line = {"color": ink["e5"], "width": 2}
    figure.add_scatter(x=xs, y=[_curve(learned, x) for x in xs], name="fitted", mode="lines", line=line, hoverinfo="skip")
    return (
        f"{places:,.0f} held-out places. At the learned tau, {learned['tau']:.2f} nats, the curve says "
        f"{_curve(learned, learned['tau']):.2f}."
    )
