"""Time a token with PEARL, with ordinary speculation and plainly: against gamma, and against how slow the target is."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("c", "gamma", "PEARL", "ordinary", "ordinary at its best gamma")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a c and a gamma: target calls' time a token with PEARL, with ordinary speculation, and with its best gamma there.

    c = target call / draft call: the study's own, at which gamma goes through all its values, then each of gamma's values with
    gamma = c.
    """
    shown = read.steps(trace, upto)
    notes = shown[-1].notes if shown else {"gammas": [], "c": 1.0}
    gammas = [gamma for place, gamma in enumerate(notes["gammas"]) if notes["counts"]["ordinary"]["tokens"][place]]

    def rounds(way: str, gamma: int) -> float:
        """Rounds a token."""
        sums, place = notes["counts"][way], notes["gammas"].index(gamma)
        return sums["rounds"][place] / sums["tokens"][place]

    def row(c: float, gamma: int) -> tuple:
        best = min(rounds("ordinary", other) * (other / c + 1) for other in gammas)
        return c, gamma, rounds("PEARL", gamma) * max(gamma / c, 1), rounds("ordinary", gamma) * (gamma / c + 1), best

    return [row(notes["c"], gamma) for gamma in gammas] + [row(float(gamma), gamma) for gamma in gammas]


def pearl_sweep(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: over gamma, at the study's c. Right: over c, with gamma = c, which is PEARL's own rule. Plain decoding is 1."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    half = len(table) // 2
    figure = make_subplots(1, 2, horizontal_spacing=0.09, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(title="When does it pay to work at the same time?")
    figure.update_layout(meta={"words": _words(table), "height": 320})
    looks = (
        ("PEARL", 2, {"color": ink["draft"], "width": 3}, "circle"),
        ("ordinary", 3, {"color": ink["target-edge"], "width": 2.5, "dash": "6px,3px"}, "square"),
        ("ordinary, its best γ", 4, {"color": ink["ink-2"], "width": 1.5, "dash": "2px,3px"}, "diamond"),
    )
    for side, part, axis in ((1, table[:half], 1), (2, table[half:], 0)):
        for name, column, line, symbol in looks:
            figure.add_scatter(
                x=[row[axis] for row in part],
                y=[row[column] for row in part],
                name=name,
                showlegend=side == 1,
                mode="lines+markers",
                line=line,
                marker={"symbol": symbol, "size": 8},
                hovertext=[f"c = {row[0]:g}, γ = {row[1]}: {name} {row[column]:.2f} target calls a token" for row in part],
                hoverinfo="text",
                row=1,
                col=side,
            )
        axes = {1: ("xaxis", "yaxis"), 2: ("xaxis2", "yaxis2")}[side]
        at = f" (c = {table[0][0]:g})" if table else ""
        where = f"γ, drafted tokens a round{at}" if side == 1 else "c, draft calls a target call (γ = c)"
        figure.update_layout({axes[0]: {"title": where}, axes[1]: {"rangemode": "tozero"}})
        figure.add_hline(y=1, line={"color": ink["ink-3"], "width": 1}, row=1, col=side)
    figure.update_layout(yaxis={"title": "target calls a token; plain: 1"})
    return figure


def _words(table: list[tuple]) -> str:
    if not table:
        return "Nothing is measured yet."
    half = len(table) // 2
    mine = min(table[:half], key=lambda row: row[2])
    c, _, pearl, _, best = max(table[half:], key=lambda row: min(row[4], 1) / row[2])
    return (
        f"At c = {mine[0]:g} PEARL is quickest with γ = {mine[1]}; over all c, with γ = c, it gains most at c = {c:g}: "
        f"{min(best, 1) / pearl:.2f} times as fast as the better of plain decoding and ordinary speculation at its best γ."
    )
