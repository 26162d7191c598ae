"""Tokens by size of the vocabulary, language by language, and the sizes V* at which all would need as many."""

from __future__ import annotations

import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.premium_bars import FAMILIES, languages

COLUMNS = ("language", "V", "tokens a phrase", "fitted")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a measured point: the language, V, tokens a phrase, and what the fitted curve says."""
    phrases = _phrases(trace)
    return [
        (row["name"], size, tokens / phrases, fitted(row["curve"], size) / phrases)
        for row in languages(trace, upto)
        for size, tokens in row["points"]
    ]


def fitted(curve: list[float], size: float) -> float:
    """Tokens by the curve log CTC = a + b log V + c (log V)^2."""
    a, b, c = curve
    x = math.log(size)
    return math.exp(a + b * x + c * x * x)


def premium_curves(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: measured curves, V* as dots on the target's line. Right: tokens at one V, and at V*, a mark a language."""
    ink = themes.colours(theme)
    found, phrases = languages(trace, upto), _phrases(trace)
    shown = read.steps(trace, upto)
    notes = shown[-1].notes if shown else {}
    figure = make_subplots(1, 2, column_widths=[0.66, 0.34], horizontal_spacing=0.1, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(title="Which V would serve a language as well?", meta={"words": _words(notes), "height": 226})
    figure.update_layout(
        showlegend=False,
        xaxis={"title": "entries of the vocabulary, V", "type": "log", "tickvals": [300, 400, 500, 700, 1000, 1400]},
        yaxis={"title": "tokens a phrase"},
        xaxis2={"range": [-0.6, 1.6], "tickvals": [0, 1], "showgrid": False, "zeroline": False},
    )
    figure.update_layout({"xaxis2": {"ticktext": [f"V = {notes.get('size', 0):,}", "V*"]}})
    for family, (colour, symbol) in FAMILIES.items():
        mine = [row for row in found if row["family"] == family]
        xs, ys = [], []
        for row in mine:  # one trace a family: a gap between its lines
            xs += [size for size, _ in row["points"]] + [None]
            ys += [tokens / phrases for _, tokens in row["points"]] + [None]
        look = {"mode": "lines", "line": {"color": ink[colour], "width": 1}, "opacity": 0.6, "hoverinfo": "skip"}
        figure.add_scatter(x=xs, y=ys, name=family, row=1, col=1, **look)
        marks = {"mode": "markers", "marker": {"symbol": symbol, "size": 7, "color": ink[colour]}, "hoverinfo": "text"}
        figure.add_scatter(
            x=[row["reached"] for row in mine],
            y=[row["levelled"] / phrases for row in mine],
            hovertext=[f"{row['name']}: V* {row['reached']:,}, {row['levelled'] / phrases:.2f} tokens a phrase" for row in mine],
            name=f"{family}, V*",
            row=1,
            col=1,
            **marks,
        )
        for place, key in enumerate(("tokens", "levelled")):
            figure.add_scatter(
                x=[place] * len(mine),
                y=[row[key] / phrases for row in mine],
                hovertext=[f"{row['name']}: {row[key] / phrases:.2f} tokens a phrase" for row in mine],
                name=f"{family}, {'at V' if key == 'tokens' else 'at V*'}",
                row=1,
                col=2,
                **marks,
            )
    if notes:
        line = {"color": ink["ink"], "width": 1.5, "dash": "dash"}
        figure.add_hline(y=notes["target"], line=line)
    return figure


def _phrases(trace: Trace) -> int:
    return trace.steps[0].notes["phrases"] if trace.steps else 1


def _words(notes: dict) -> str:
    if not notes.get("levelling"):
        return "A curve through each language's counts says at which V it meets the target, the dashed line."
    found = notes["levelling"]
    chance = "less than 0.001" if found["p"] < 0.001 else f"{found['p']:.3f}"
    verb = "falls" if found["f"] > 1 else "rises"
    return (
        f"With V* in place of one V the variance of the token counts {verb} from {found['fixed']:,.0f} to "
        f"{found['levelled']:,.0f} (F = {found['f']:.1f}, p {chance})."
    )
