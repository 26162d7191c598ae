"""The main picture of masked diffusion: how sure each place was in each round, and when it became final."""

from __future__ import annotations

from itertools import groupby

import plotly.graph_objects as go

from labkit.trace import Step, Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece
from labkit.views.unmasking import REASONS, final, mark, names, room

COLUMNS = ("round", "place", "token", "confidence", "became final")
WRITTEN = 72  # places; of more, the texts under them would run into each other
FEWEST = 16  # rounds that the picture has room for from the start


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a round and masked place: its guess, the guess's confidence, and why it became final ("" = it did not)."""
    found = []
    for number, step in enumerate(read.steps(trace, upto), 1):
        notes = step.notes
        why = dict(zip(step.at or (), notes["reasons"]))
        for place, token, confidence in zip(notes["places"], notes["tokens"][0], notes["confidence"]):
            found.append((number, place + 1, piece(trace, token), confidence, why.get(place, "")))
    return found


def borders(steps: list[Step]) -> tuple[list, list]:
    """A box around each block's places and rounds, as x and y of one broken line."""
    x: list[float | None] = []
    y: list[float | None] = []
    first = 0.5
    for (low, high), same in groupby(steps, key=lambda step: tuple(step.notes["block"])):
        last = first + len(list(same))
        left, right = low + 0.5, high + 0.5
        x += [left, right, right, left, left, None]
        y += [first, first, last, last, first, None]
        first = last
    return x, y


def unmask_map(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A heat map, places by rounds: the guess's confidence while masked, a mark where it became final, blank behind that."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    steps, behind = read.steps(trace, upto), room(trace)
    first = min([0, *(place for step in steps[:1] for place in step.notes["places"])])  # below 0: gaps in the prompt
    columns = range(first, behind)
    width = len(columns)
    count, text = len(steps), final(trace, upto)
    lowest = max(count, min(FEWEST, width)) + 0.5
    x = {"range": [first + 0.5, behind + 0.5], "showgrid": False}
    y = {"title": "round", "range": [lowest, 0.5], "showgrid": False}
    words = "No round yet: every place is a mask."
    if steps:
        z: list[list] = [[None] * width for _ in steps]
        guesses: list[list] = [[None] * width for _ in steps]
        for row, said, step in zip(z, guesses, steps):
            notes = step.notes
            for place, value, guess in zip(notes["places"], notes["confidence"], names(trace, notes["tokens"][0])):
                row[place - first], said[place - first] = round(value, 2), guess
        figure.add_heatmap(
            z=z,
            x=[place + 1 for place in columns],
            y=list(range(1, count + 1)),
            text=guesses,
            zmin=0,
            zmax=1,
            colorscale=[[number / 5, ink[f"e{number + 1}"]] for number in range(6)],
            colorbar={"title": {"text": "sure", "side": "top"}, "thickness": 10, "outlinewidth": 0, "tickformat": ".0%"},
            hovertemplate="round %{y}, place %{x}<br>%{text}  %{z:.0%}",
            hoverlabel={"namelength": 0},
            hoverongaps=False,
            xgap=1,
            ygap=1 if count <= 40 else 0,
            name="confidence",
        )
        across, down = borders(steps)
        line = {"color": ink["ink-2"], "width": 1.5}
        figure.add_scatter(x=across, y=down, mode="lines", line=line, name="block", hoverinfo="skip", showlegend=False)
        size = 11 if width <= 32 else 9 if width <= WRITTEN else 7
        for reason, (_, _, said) in REASONS.items():
            became = [
                (place + 1, number, token)
                for number, step in enumerate(steps, 1)
                for place, token, why in zip(step.at or (), step.emitted, step.notes["reasons"])
                if why == reason
            ]
            if became:
                figure.add_scatter(
                    x=[place for place, _, _ in became],
                    y=[number for _, number, _ in became],
                    mode="markers",
                    marker=mark(ink, reason, size),
                    name=said,
                    hovertext=[f"{label(piece(trace, token))} is final at place {at}: {said}" for at, _, token in became],
                    hoverinfo="text",
                )
        if width <= WRITTEN:
            shown = [label(piece(trace, text[place]), 9) if place in text else "" for place in columns]
            font = {"family": themes.CODE_FONT, "size": 10, "color": ink["ink"]}
            x |= {"tickvals": [place + 1 for place in columns], "ticktext": shown, "tickangle": -90, "tickfont": font}
        fewer = count / len(text)
        words = (
            f"{len(text)} of {len(steps[0].notes['places'])} places in {count} rounds: {fewer:.2f} rounds a place. A column is a "
            "place behind the prompt, its colour how sure the guess was; a box is a block."
        )
    figure.update_layout(
        title="Which place was sure, and when?",
        meta={"words": words, "height": 212, "wide": True},
        xaxis=x,
        yaxis=y,
        showlegend=True,
    )
    return figure
