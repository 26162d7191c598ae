"""Turns that follow each other in a stream of requests: running means, and where the topic changes."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.views.text import escaped

SMOOTH = 8  # turns


def running(values: list[float | None], topics: list[str]) -> list[float | None]:
    """At every turn the mean of the last `SMOOTH` values of its topic, None left out."""
    means = []
    for turn, topic in enumerate(topics):
        window = range(max(0, turn - SMOOTH + 1), turn + 1)
        near = [values[other] for other in window if topics[other] == topic and values[other] is not None]
        means.append(sum(near) / len(near) if near else None)
    return means


def switches(topics: list[str]) -> list[int]:
    """The turns, from 1, at which a topic begins."""
    return [turn + 1 for turn, topic in enumerate(topics) if topic and (turn == 0 or topics[turn - 1] != topic)]


def mark_topics(figure: go.Figure, topics: list[str], ink: dict[str, str]) -> None:
    """A line where a topic begins, with its name."""
    for turn in switches(topics):
        if turn > 1:
            figure.add_shape(
                type="line",
                x0=turn - 0.5,
                x1=turn - 0.5,
                y0=0,
                y1=1,
                yref="paper",
                line={"color": ink["edge"], "dash": "dot"},
            )
        figure.add_annotation(
            x=turn - 0.5, y=1, yref="paper", text=escaped(topics[turn - 1]), showarrow=False, xanchor="left", xshift=4
        )
