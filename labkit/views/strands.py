"""Particles side by side: what each wrote, how much it weighs, and which were drawn again."""

from __future__ import annotations

from math import exp
from typing import NamedTuple

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece

COLUMNS = ("step", "particle", "token", "ln weight", "share of the weight", "came from")
WIDEST = 16  # steps drawn, the last ones
TEXTS = 12  # particles beside which token texts have room
WIDTHS = ((0.3, 8.0), (0.1, 5.0), (0.02, 2.5), (0.0, 1.0))  # from this share of the weight on, pixels


class Knot(NamedTuple):
    """One particle in one step; `line` names the strand by the particle of the first step that it descends from."""

    step: int
    slot: int
    source: int
    line: int
    token: int | None
    logw: float | None
    share: float
    ended: bool


def knots(trace: Trace, upto: int | None = None) -> list[Knot]:
    """Every particle of every step. Raises `KeyError` when the steps have no such notes."""
    found, lines, sources = [], None, None
    for number, step in enumerate(read.steps(trace, upto), 1):
        notes = step.notes
        shares = _shares(notes["logw"])
        lines = list(range(len(shares))) if lines is None else lines
        sources = list(range(len(shares))) if sources is None else sources
        for slot, share in enumerate(shares):
            token = notes["chosen"][slot]
            found.append(Knot(number, slot, sources[slot], lines[slot], token, notes["logw"][slot], share, notes["ended"][slot]))
        sources = notes.get("parents") or list(range(len(shares)))
        lines = [lines[source] for source in sources]
    return found


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a particle and step; particles are counted from 1, "came from" is whose copy it is after resampling."""
    return [
        (knot.step, knot.slot + 1, "" if knot.token is None else piece(trace, knot.token), knot.logw, knot.share, knot.source + 1)
        for knot in knots(trace, upto)
    ]


def strands(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Steps from left to right, a row a particle; a strand is as thick as its share of the weight, and leads to its copies."""
    ink = themes.colours(theme)
    every = knots(trace, upto)
    last = every[-1].step if every else 0
    some = [knot for knot in every if knot.step > last - WIDEST]
    count = 1 + max((knot.slot for knot in every), default=0)
    figure = go.Figure(layout={"template": {}})
    colours = [ink[name] for name in ("draft", "target-edge", "e4", "here", "refuse", "edge")]
    for line in sorted({knot.line for knot in some}):
        for width in sorted({_width(knot.share) for knot in some if knot.line == line}):
            own = [knot for knot in some if knot.line == line and _width(knot.share) == width and knot.logw is not None]
            style = {"color": colours[line % len(colours)], "width": width}
            x = [place for knot in own for place in (knot.step - 1, knot.step - 0.6, knot.step, None)]
            y = [place for knot in own for place in (knot.source + 1, knot.slot + 1, knot.slot + 1, None)]
            figure.add_scatter(x=x, y=y, mode="lines", line=style, hoverinfo="skip", showlegend=False)
    figure.add_traces(_marks(trace, some, count, ink))
    notes = read.steps(trace, upto)[-1].notes if every else {}
    figure.update_layout(
        title="Which texts carry the weight?",
        meta={"words": _words(notes, every), "height": min(420, max(170, 110 + 22 * count))},
        showlegend=False,
        xaxis={"title": "step", "range": [max(last - WIDEST, 0) - 0.1, max(last, 4) + 0.7], "showgrid": False, "tickformat": "d"},
        yaxis={"title": "particle", "range": [count + 0.7, 0.3], "showgrid": False, "tickformat": "d", "nticks": 8},
    )
    return figure


def _marks(trace: Trace, some: list[Knot], count: int, ink: dict[str, str]) -> list[go.Scatter]:
    """A dot where a token was written, a square where a text ended, a cross where nothing was allowed."""
    kinds = (
        ("written", lambda knot: knot.token is not None and not knot.ended, "circle", ink["paper"]),
        ("ended", lambda knot: knot.token is not None and knot.ended, "square", ink["ink"]),
        ("nothing allowed", lambda knot: knot.token is None and knot.logw is None, "x-thin", ink["refuse"]),
    )
    found = []
    for name, is_it, symbol, fill in kinds:
        own = [knot for knot in some if is_it(knot)]
        texts = [label(piece(trace, knot.token), 7) if knot.token is not None else "" for knot in own]
        edge = {"color": fill if symbol == "x-thin" else ink["ink"], "width": 2 if symbol == "x-thin" else 1}
        marker = {"symbol": symbol, "size": 7, "color": fill, "line": edge}
        if own:
            found.append(
                go.Scatter(
                    x=[knot.step for knot in own],
                    y=[knot.slot + 1 for knot in own],
                    mode="markers+text" if count <= TEXTS else "markers",
                    text=texts if count <= TEXTS else None,
                    textposition="top center",
                    textfont={"family": themes.CODE_FONT, "size": 11, "color": ink["ink"]},
                    marker=marker,
                    name=name,
                    hovertext=[_hover(trace, knot, name) for knot in own],
                    hoverinfo="text",
                )
            )
    return found


def _hover(trace: Trace, knot: Knot, name: str) -> str:
    token = f" {label(piece(trace, knot.token))}" if knot.token is not None else ""
    weight = "weight 0" if knot.logw is None else f"ln weight {knot.logw:.2f}, {knot.share:.0%} of all"
    return f"particle {knot.slot + 1}, step {knot.step}:{token} ({name}), {weight}"


def _shares(logw: list[float | None]) -> list[float]:
    alive = [one for one in logw if one is not None]
    if not alive:
        return [0.0] * len(logw)
    weights = [0.0 if one is None else exp(one - max(alive)) for one in logw]
    return [weight / sum(weights) for weight in weights]


def _width(share: float) -> float:
    return next(width for floor, width in WIDTHS if share >= floor)


def _words(notes: dict, every: list[Knot]) -> str:
    if not notes:
        return "Every row is a text in the making; a strand is as thick as its share of the weight."
    count, alive = len(notes["logw"]), sum(one is not None for one in notes["logw"])
    if not alive:
        return f"None of {count} particles could go on: nothing was allowed."
    drawn = "; after this step all are drawn anew by weight" if "parents" in notes else ""
    if "picked" in notes:
        drawn += f"; particle {notes['picked'] + 1} was drawn as the answer"
    return f"Effective number of particles: {notes['ess']:.1f} of {count}; chance to obey about e^{notes['logz']:.1f}{drawn}."
