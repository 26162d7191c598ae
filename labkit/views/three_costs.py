"""What a token costs each way to write, on three axes that do not agree: forwards, FLOPs, seconds."""

from __future__ import annotations

from statistics import median

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import escaped

COLUMNS = ("way to write", "texts", "forwards a token", "of the draft", "MFLOP a token", "milliseconds a token")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a way to write: medians over whole texts (the one under way until then), a token up to the first end of text."""
    shown = read.steps(trace, upto)
    found = []
    for lane in shown[-1].notes["lanes"] if shown else ():
        each = [
            (cost["forwards"], cost["drafts"], cost["flops"] / 1e6, cost["seconds"] * 1000, cost["tokens"])
            for cost in lane["costs"]
        ]
        medians = [median(cost[axis] / cost[4] for cost in each) for axis in range(4)]
        found.append((lane["name"], len(each), *medians))
    return found


def three_costs(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Three panels of bars: forwards (the draft's hatched), FLOPs and seconds for a token; each has a scale of its own."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    table, words = rows(trace, upto)[::-1], "Nothing is written yet."
    if table:
        notes = read.steps(trace, upto)[-1].notes
        make_subplots(1, 3, shared_yaxes=True, horizontal_spacing=0.03, figure=figure)
        solid = {"color": ink["draft"], "line": {"color": ink["draft-ink"], "width": 1}}
        hatched = themes.hatched(ink["target-edge"], ink["target-tint"])
        bars = ((1, 2, "", solid, ".2f"), (1, 3, "the draft's", hatched, ".2f"))
        bars += ((2, 4, "", solid, ",.0f"), (3, 5, "", solid, ".1f"))
        for panel, column, name, look, digits in bars:
            values = [row[column] for row in table]
            figure.add_bar(
                x=values,
                y=[escaped(row[0]) for row in table],
                orientation="h",
                name=name or COLUMNS[column],
                showlegend=bool(name),
                marker=look,
                text=[format(value, digits) if value else "" for value in values],
                textposition="auto",
                insidetextfont={"color": ink["target-ink" if name else "on-draft"]},
                hovertext=[f"{escaped(row[0])}: {row[column]:.3g} {COLUMNS[column]}" for row in table],
                hoverinfo="text",
                row=1,
                col=panel,
            )
        for panel, column in ((1, 2), (2, 4), (3, 5)):
            figure.update_xaxes(title=COLUMNS[column], rangemode="tozero", row=1, col=panel)
        over = f"Medians of {table[0][1]} texts" if notes["whole"] else "The text under way"
        where = f"{trace.opening.device}, {trace.opening.dtype}"
        words = f"{over}, for a token of it. Seconds passed in this run on {where}; few forwards are not few seconds."
    figure.update_layout(
        title="What does a token cost?", meta={"words": words, "height": 330}, barmode="stack", bargap=0.3, legend={"y": 1.04}
    )
    return figure
