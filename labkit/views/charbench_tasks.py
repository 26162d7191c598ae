"""Who answers how many questions about letters, by task and by training text; the commonest answer is the bar to pass."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.acceptance import wilson
from labkit.views.language_games import shares

COLUMNS = ("who", "task", "share right", "low (95 % Wilson)", "high (95 % Wilson)", "items", "commonest answer")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a model and task; the last cell is what always saying the commonest right answer would reach."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    notes = shown[-1].notes
    return [
        (who, task, right / items, *wilson(right, items), items, notes["constant"][task] / items)
        for who, of in notes["accuracy"].items()
        for task, (right, items) in of.items()
    ]


def charbench_tasks(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A group of bars a task, a bar a model; a line across each group where a constant answer stands."""
    ink, table, shown = themes.colours(theme), rows(trace, upto), read.steps(trace, upto)
    figure = shares(ink, table)
    constants = {row[1]: row[6] for row in table}
    for place, share in enumerate(constants.values()):
        line = {"color": ink["refuse"], "width": 2, "dash": "dot"}
        figure.add_shape(type="line", x0=place - 0.45, x1=place + 0.45, y0=share, y1=share, line=line)
    figure.update_layout(
        title="Who can spell?",
        meta={"words": _words(shown[-1].notes if shown else {}), "height": 320},
    )
    return figure


def _words(notes: dict) -> str:
    if not notes:
        return "Every step asks each model one question of each task and word length."
    shared = ", ".join(f"{who} {share:.2f}" for who, share in notes["overlap"].items())
    off = notes["bias"]
    side = "" if off is None else f" Its wrong answers to {notes['task']} are {abs(off):.1f} too {'low' if off < 0 else 'high'}."
    return (
        f"Dotted: always the commonest right answer. Words that training never asked about. Items of {notes['task']} that "
        f"{notes['who']} and another both get wrong, as a share of those that one of the two does (IoU): {shared}.{side}"
    )
