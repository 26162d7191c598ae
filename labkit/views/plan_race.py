"""Planning against sampling and filtering: tasks solved for the forwards spent on each."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("way", "forwards a task", "share of examples passed", "share of tasks whose answer works")
LOOKS = {"greedy": ("ink-3", "dot"), "sampling + filtering": ("target-edge", "dash"), "PG-TD": ("draft", "solid")}


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a way and moment: forwards a task may take, mean share of examples passed, share of tasks whose answer works.

    After the first task, tasks count when every way has had its turn. An answer works when it passes the hidden tests too.
    """
    shown = read.steps(trace, upto)
    if not shown:
        return []
    notes, found = shown[-1].notes, []
    for way, runs in notes["runs"].items():
        runs = runs[: max(1, notes["done"])]
        if not runs:
            continue
        for spent in [0, *sorted({moment[0] for run in runs for moment in run} | {notes["budget"]})]:
            last = [([moment for moment in run if moment[0] <= spent] or [[0, 0.0, False]])[-1] for run in runs]
            share, works = (sum(moment[place] for moment in last) / len(last) for place in (1, 2))
            found.append((way, spent, share, works))
    return found


def plan_race(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Steps up: the mean share of examples passed (left), the share of tasks solved (right), for the forwards spent."""
    ink, table = themes.colours(theme), rows(trace, upto)
    figure = make_subplots(1, 2, horizontal_spacing=0.12, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(
        title="Does planning find more working programs for the same forwards?",
        meta={"words": _words(trace, upto, table), "height": 320},
        xaxis={"title": "forwards a task", "rangemode": "tozero"},
        xaxis2={"title": "forwards a task", "rangemode": "tozero"},
        yaxis={"title": "examples passed", "range": [0, 1.02], "tickformat": ".0%"},
        yaxis2={"title": "tasks solved", "range": [0, 1.02], "tickformat": ".0%"},
    )
    for column, place in ((1, 2), (2, 3)):
        for way, (colour, dash) in LOOKS.items():
            some = [row for row in table if row[0] == way]
            if some:
                figure.add_scatter(
                    x=[row[1] for row in some],
                    y=[row[place] for row in some],
                    mode="lines",
                    name=way,
                    showlegend=column == 1,
                    line={"color": ink[colour], "width": 2.5, "dash": dash, "shape": "hv"},
                    hovertext=[f"{way}, {row[1]} forwards: {row[place]:.0%}" for row in some],
                    hoverinfo="text",
                    row=1,
                    col=column,
                )
    return figure


def _words(trace: Trace, upto: int | None, table: list[tuple]) -> str:
    shown = read.steps(trace, upto)
    if not shown:
        return "Each way has the same forwards for every task; hidden tests say whether its answer works."
    notes = shown[-1].notes
    now = f"{notes['way']} has tried {notes['tried'][notes['way']]} programs"
    if not notes["done"]:
        return f"The first task, {notes['task']}, is under way: {now}."
    ends = {row[0]: row[3] for row in table}
    solved = ", ".join(f"{way} {round(share * notes['done'])}" for way, share in ends.items())
    return f"Solved of {notes['done']} tasks: {solved}; {now}."
