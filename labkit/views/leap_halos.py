"""P119 LocalLeap, one round: who was an anchor, how far its halo reached, and what came in by it."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import piece
from labkit.views.unmasking import names

COLUMNS = ("place", "token", "confidence", "anchor", "in a halo", "became final")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a masked place of the block in the last round: is it an anchor, is one near, why did it become final ("" = not)?"""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    step, notes = shown[-1], shown[-1].notes
    low, high = notes["block"]
    why = dict(zip(step.at or (), notes["reasons"]))
    found = []
    for place, token, confidence in zip(notes["places"], notes["tokens"][0], notes["confidence"]):
        if low <= place < high:
            near = any(abs(place - anchor) <= notes["width"] for anchor in notes["anchors"])
            row = (place + 1, piece(trace, token), confidence, place in notes["anchors"], near, why.get(place, ""))
            found.append(row)
    return found


def leap_halos(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Bars: the confidence of each masked place of the block; pins are anchors, shaded spans their halos."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    table, words = rows(trace, upto), "No round yet."
    x: dict = {"title": "place of the block, with its guess"}
    if table:
        notes = read.steps(trace, upto)[-1].notes
        low, high = notes["block"]
        for anchor in notes["anchors"]:
            left, right = max(low, anchor - notes["width"]), min(high - 1, anchor + notes["width"])
            look = {"fillcolor": ink["draft-tint"], "line": {"width": 0}, "layer": "below"}
            figure.add_shape(type="rect", x0=left + 0.5, x1=right + 1.5, y0=0, y1=1, **look)
        kinds = {
            "anchor": ({"color": ink["draft"], "line": {"color": ink["draft-ink"], "width": 1}}, "sure"),
            "came in by a halo": (themes.hatched(ink["here"], ink["paper"]), "near an anchor"),
            "best of the unsure": (themes.hatched(ink["target-edge"], ink["target-tint"], "x"), "best"),
            "stays masked": ({"color": ink["ghost"], "line": {"color": ink["edge"], "width": 1}}, ""),
        }
        for name, (look, reason) in kinds.items():
            mine = [row for row in table if row[5] == reason]
            if mine:
                figure.add_bar(
                    x=[row[0] for row in mine],
                    y=[row[2] for row in mine],
                    name=name,
                    marker=look,
                    hovertext=[f"place {row[0]}: confidence {row[2]:.2f}, {name}" for row in mine],
                    hoverinfo="text",
                )
        pins = [row for row in table if row[3]]
        if pins:
            head = {"color": ink["draft"], "symbol": "triangle-down", "size": 11, "line": {"color": ink["ink"], "width": 1}}
            style = {"mode": "markers", "marker": head, "hoverinfo": "skip", "showlegend": False, "name": "pins"}
            figure.add_scatter(x=[row[0] for row in pins], y=[row[2] + 0.06 for row in pins], **style)
        for name, dash in (("tau", "6px,3px"), ("relaxed", "2px,3px")):
            line = {"color": ink["ink-2"], "width": 1.5, "dash": dash}
            style = {"mode": "lines", "line": line, "name": f"{name} {notes[name]:.2f}", "hoverinfo": "name"}
            figure.add_scatter(x=[low + 0.5, high + 0.5], y=[notes[name]] * 2, **style)
        inside = {place: token for place, token in zip(notes["places"], notes["tokens"][0]) if low <= place < high}
        font = {"family": themes.CODE_FONT, "size": 10, "color": ink["ink"]}
        guesses = names(trace, list(inside.values()), 10)
        x |= {"tickvals": [place + 1 for place in inside], "ticktext": guesses, "tickangle": -90, "tickfont": font}
        x |= {"range": [low + 0.4, high + 0.6], "showgrid": False}
        came = sum(row[5] == "near an anchor" for row in table)
        steps = read.steps(trace, upto)
        total = sum(step.notes["reasons"].count("near an anchor") for step in steps)
        filled = sum(len(step.emitted) for step in steps)
        words = (
            f"Round {len(steps)}. Anchors: {len(notes['anchors'])}; places that came in beside them: {came}. "
            f"So far {total} of {filled} places came in by a halo."
        )
    figure.update_layout(
        title="Who vouches for whom?",
        meta={"words": words, "height": 330},
        xaxis=x,
        yaxis={"title": "confidence", "range": [0, 1.12]},
        barmode="overlay",
        bargap=0.2,
    )
    return figure
