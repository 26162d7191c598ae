"""What texts written with each sampler come to: how odd the model finds them, and how varied they are."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.samplers import look

BESIDE = {"no cut": "top left", "Top-p": "middle left", "Min-p": "top center", "Top-H": "bottom center"}  # marks lie close
COLUMNS = ("sampler", "temperature", "prompts", "loss, nats a token", "variety")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a sampler and temperature: prompts so far, loss at temperature 1, share of different runs of tokens."""
    shown = read.steps(trace, upto)
    written = shown[-1].notes["written"] if shown else []
    return [(one["name"], one["temperature"], one["texts"], one["loss"], one["variety"]) for one in written]


def at_variety(table: list[tuple], name: str, variety: float) -> float | None:
    """The loss of `name` where its line, straight between the temperatures, has this variety; None where it does not go."""
    line = sorted((row[4], row[3]) for row in table if row[0] == name)
    for (low, start), (high, end) in zip(line, line[1:]):
        if low <= variety <= high:
            return start + (end - start) * (variety - low) / (high - low or 1)
    return None


def loss_and_variety(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Loss against variety, one line a sampler, one mark a temperature: right and low is good."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    table = rows(trace, upto)
    for name in dict.fromkeys(row[0] for row in table):
        mine = [row for row in table if row[0] == name]
        figure.add_scatter(
            x=[row[4] for row in mine],
            y=[row[3] for row in mine],
            name=name,
            mode="lines+markers+text",
            text=[f"{row[1]:g}" for row in mine],
            textposition=next(where for start, where in BESIDE.items() if name.startswith(start)),
            textfont={"color": ink["ink-2"]},
            cliponaxis=False,
            hovertext=[f"{name} at temperature {row[1]:g}: {row[3]:.2f} nats a token, variety {row[4]:.3f}" for row in mine],
            hoverinfo="text",
            **look(name, ink),
        )
    figure.update_layout(
        title="Varied, and still likely?",
        xaxis={"title": "variety: share of different runs of three tokens"},
        yaxis={"title": "loss at temperature 1, nats a token", "rangemode": "tozero"},
        meta={"words": _words(table), "height": 400},
    )
    return figure


def _words(table: list[tuple]) -> str:
    """Who has the lower loss where min-p stands at the highest temperature: a mark of min-p's against the others' lines.

    A line between two marks bends below the straight one, if at all: the comparison is not in favour of the others.
    """
    marks = [row for row in table if row[0].startswith("Min-p") and row[1] >= 1.5]
    mark = max(marks, key=lambda row: row[1], default=None)
    others = [name for name in dict.fromkeys(row[0] for row in table) if mark and name != mark[0]]
    found = [(name, at_variety(table, name, mark[4])) for name in others]
    said = [f"{name} {loss:.2f}" for name, loss in found if loss is not None]
    if not said:
        return "Numbers at the marks are temperatures; low and to the right is what one wants."
    where = f"Where {mark[0]} stands at temperature {mark[1]:g} (variety {mark[4]:.3f})"
    return f"{where} it loses {mark[3]:.2f} nats a token, {', '.join(said)}."
