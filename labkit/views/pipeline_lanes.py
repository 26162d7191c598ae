"""A few moments of a pipeline: which micro-batch is in which stage, and where a stage waits."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import theme as themes
from labkit.views.servers import last, yet

COLUMNS = ("scheduler", "stage", "begin, s", "end, s", "rows of a prompt", "decodes")
PROMPT, DECODES, BOTH = "a prompt", "decodes", "a chunk with decodes"


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a micro-batch in a stage; at 0 the first one enters the last stage, so that all lanes are full from there on."""
    found = []
    for policy, run in last(trace, upto).get("runs", {}).items():
        start = run[0][2][-1]
        for chunk, decodes, enters, seconds in run:
            for stage, begin in enumerate(enters, 1):
                found.append((policy, stage, begin - start, begin - start + seconds, chunk, decodes))
    return found


def _kind(chunk: int, decodes: int) -> str:
    return BOTH if chunk and decodes else PROMPT if chunk else DECODES


def pipeline_lanes(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """One lane a stage, a block of lanes a scheduler; what is empty is a bubble."""
    ink = themes.colours(theme)
    notes, table = last(trace, upto), rows(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "Where are the bubbles?"})
    figure.update_layout(meta={"words": _words(notes), "height": 300, "wide": True})
    if not table:
        return figure
    policies, stages = list(notes["runs"]), notes["stages"]
    looks = {
        PROMPT: {"color": ink["target"], "line": {"color": ink["target-edge"], "width": 1}},
        DECODES: {"color": ink["draft"], "line": {"color": ink["paper"], "width": 1}},
        BOTH: {**themes.hatched(ink["draft"], ink["target-tint"]), "line": {"color": ink["draft"], "width": 1}},
    }
    for kind, marker in looks.items():
        mine = [row for row in table if _kind(row[4], row[5]) == kind]
        figure.add_bar(
            orientation="h",
            y=[policies.index(row[0]) * (stages + 1) + row[1] - 1 for row in mine],
            base=[row[2] for row in mine],
            x=[row[3] - row[2] for row in mine],
            width=0.86,
            name=kind,
            marker=marker,
            hovertext=[
                f"{row[0]}, stage {row[1]}: {row[4]:,} rows of a prompt, {row[5]} decodes, {1000 * (row[3] - row[2]):.1f} ms"
                for row in mine
            ],
            hoverinfo="text",
        )
    ends = [run[-1][2][0] + run[-1][3] - run[0][2][-1] for run in notes["runs"].values()]
    return figure.update_layout(
        barmode="overlay",
        xaxis={"title": "seconds", "range": [0, min(ends)]},
        yaxis={
            "tickvals": [place * (stages + 1) + (stages - 1) / 2 for place in range(len(policies))],
            "ticktext": policies,
            "range": [len(policies) * (stages + 1) - 1.4, -0.6],
            "showgrid": False,
        },
    )


def _words(notes: dict[str, Any]) -> str:
    if not notes.get("runs"):
        return yet(notes)
    return f"A block's first lane is stage 1 of {notes['stages']}. Where it is empty, the stage waits. From the middle of a run."
