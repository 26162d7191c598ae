"""What planning costs: the best program so far against forwards, and what its two memories saved."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("rollout", "forwards so far", "this program earns", "best so far", "program came from")
NEW, OLD = "written", "known: no forward"


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a rollout: number, the target's forwards so far, what its program earns, the best so far, where it came from."""
    found = {}
    for step in read.steps(trace, upto):
        notes = step.notes
        row = (notes["rollout"], notes["forwards"], notes["worth"], notes["best"], notes["source"])
        found.setdefault(notes["rollout"], row)  # the step that writes the answer has the last rollout's notes
    return list(found.values())


def plan_cost(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: every rollout's worth and the best so far, by forwards. Right: forwards run, and those the memories saved."""
    ink, table = themes.colours(theme), rows(trace, upto)
    figure = make_subplots(1, 2, column_widths=[0.6, 0.4], horizontal_spacing=0.22, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(
        title="What did each rollout cost?",
        meta={"words": _words(trace, upto), "height": 300},
        barmode="stack",
        xaxis={"title": "forwards of the target", "rangemode": "tozero"},
        yaxis={"title": "what it earns", "range": [-0.06, 1.16], "tickvals": [0, 0.5, 1]},
        xaxis2={"title": "forwards", "rangemode": "tozero", "nticks": 4, "tickangle": 0},
        yaxis2={"automargin": True},
    )
    if not table:
        return figure
    best = {"mode": "lines", "line": {"color": ink["ink"], "width": 2, "shape": "hv"}, "hoverinfo": "skip"}
    figure.add_scatter(x=[row[1] for row in table], y=[row[3] for row in table], name="best so far", **best, row=1, col=1)
    for name, fill, some in (
        (NEW, ink["target"], [row for row in table if row[4] == "written"]),
        (OLD, ink["paper"], [row for row in table if row[4] != "written"]),
    ):
        figure.add_scatter(
            x=[row[1] for row in some],
            y=[row[2] for row in some],
            mode="markers",
            name=name,
            marker={"size": 9, "color": fill, "line": {"color": ink["target-edge"], "width": 1.5}},
            hovertext=[f"rollout {row[0]}: {row[2]:.2f} after {row[1]} forwards" for row in some],
            hoverinfo="text",
            row=1,
            col=1,
        )
    saved = read.steps(trace, upto)[-1].notes["saved"]
    bars = [("run", table[-1][1], ink["target"]), ("saved by<br>programs", saved["programs"], ink["paper"])]
    bars.append(("saved by<br>lists", saved["lists"], ink["paper"]))
    figure.add_bar(
        x=[size for _, size, _ in bars],
        y=[name for name, _, _ in bars],
        orientation="h",
        marker={"color": [fill for *_, fill in bars], "line": {"color": ink["target-edge"], "width": 1}},
        text=[f"{size:,}" for _, size, _ in bars],
        hoverinfo="skip",
        showlegend=False,
        row=1,
        col=2,
    )
    figure.update_yaxes(autorange="reversed", row=1, col=2)
    return figure


def _words(trace: Trace, upto: int | None) -> str:
    shown = read.steps(trace, upto)
    if not shown:
        return "A rollout along a program that is known already costs no forward at all."
    notes = shown[-1].notes
    lists, programs, tests = (notes["saved"][name] for name in ("lists", "programs", "tests"))
    return (
        f"{notes['rollout']} rollouts took {notes['forwards']:,} forwards; known programs and lists saved {programs + lists:,} "
        f"more, and {tests:,} test runs."
    )
