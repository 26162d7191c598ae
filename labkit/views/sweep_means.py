"""Settings of a sweep compared: what is counted beside what the clock says."""

from __future__ import annotations

import statistics

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import theme as themes
from labkit.views.sweep_cells import Run, asked, runs

COLUMNS = ("setting", "cells", "tokens a target forward", "lowest", "highest", "draft forwards a token")
COLUMNS += ("ms a token", "lowest ms", "highest ms")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a setting: cells that wrote something, then medians over them with the lowest and the highest."""
    done, found = runs(trace, upto), []
    for name in asked(trace, upto).get("names", []):
        own = [run for run in done if run.setting == name and run.pace is not None]
        if own:
            paces, times = [run.pace for run in own], [run.slowness for run in own]
            drafts = statistics.median(run.cost.draft_forwards / run.tokens for run in own)
            found.append((name, len(own), *_middle(paces), drafts, *_middle(times)))
    return found


def _middle(values: list[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def sweep_means(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Two charts side by side: tokens a target forward, and milliseconds a token; a dot a cell, a stroke at the median."""
    ink, table = themes.colours(theme), rows(trace, upto)
    names, done = asked(trace, upto).get("names", []), runs(trace, upto)
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(title="What is counted, and what the clock says", showlegend=False)
    figure.update_layout(meta={"words": _words(table), "height": 130 + 34 * max(len(names), 4)})
    for column, value, colour in ((1, Run.pace.fget, "e4"), (2, Run.slowness.fget, "e5")):
        own = [run for run in done if run.pace is not None]
        figure.add_scatter(
            x=[value(run) for run in own],
            y=[run.setting for run in own],
            mode="markers",
            marker={"size": 9, "color": ink[colour], "opacity": 0.7, "line": {"color": ink["edge"], "width": 0.5}},
            hovertext=[f"{run.setting}, prompt {run.prompt + 1}: {value(run):.2f}" for run in own],
            hoverinfo="text",
            name="cells",
            row=1,
            col=column,
        )
        figure.update_xaxes(range=[0, 1.15 * max(map(value, own), default=1)], col=column)
        best = (max if column == 1 else min)((row[2 if column == 1 else 6] for row in table), default=None)
        middles = [row[2 if column == 1 else 6] for row in table]
        figure.add_scatter(
            x=middles,
            y=[row[0] for row in table],
            mode="markers+text",
            marker={"symbol": "line-ns-open", "size": 22, "line": {"width": 3}, "color": ink["ink"]},
            text=[f"{middle:.1f}{' best' if middle == best else ''}" for middle in middles],
            textposition="top center",
            textfont={"size": 12, "color": ink["ink"]},
            cliponaxis=False,
            hoverinfo="skip",
            name="median",
            row=1,
            col=column,
        )
    figure.update_xaxes(title="tokens a forward, counted", col=1)
    figure.update_xaxes(title="ms a token, measured", col=2)
    figure.update_yaxes(categoryorder="array", categoryarray=names, range=[len(names) - 0.4, -0.8])
    shown = [[f"{cell:.2f}" if isinstance(cell, float) else cell for cell in row] for row in table]
    figure.layout.meta["table"] = {"columns": list(COLUMNS), "rows": shown}
    return figure


def _words(table: list[tuple]) -> str:
    if not table:
        return "Nothing is computed yet."
    fewest, quickest = max(table, key=lambda row: row[2]), min(table, key=lambda row: row[6])
    same = "the same" if fewest[0] == quickest[0] else quickest[0]
    return (
        f"Medians over prompts. Fewest target forwards: {fewest[0]}, {fewest[2]:.1f} tokens each. "
        f"Least time here: {same}, {quickest[6]:.1f} ms a token."
    )
