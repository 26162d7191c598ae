"""Acceptance by position, joined with the entropy there: why is it low here?"""

from __future__ import annotations

import math
from collections import defaultdict

import plotly.graph_objects as go

from labkit.trace import ACCEPTED, UNREACHED, Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = (
    "position",
    "tested",
    "accepted",
    "acceptance",
    "low (95 % Wilson)",
    "high (95 % Wilson)",
    "draft entropy, nats",
    "target entropy, nats",
)
DEEPEST = 16  # positions drawn


def wilson(accepted: int, tested: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % Wilson interval of a proportion; for nothing tested it is everything."""
    if not tested:
        return 0.0, 1.0
    share = accepted / tested
    middle = (share + z * z / (2 * tested)) / (1 + z * z / tested)
    reach = z / (1 + z * z / tested) * math.sqrt(share * (1 - share) / tested + z * z / (4 * tested**2))
    return max(0.0, min(share, middle - reach)), min(
        1.0, max(share, middle + reach)
    )  # rounding must not leave the share outside


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a position (depth in the tree, from 1).

    A position counts as reached when a child was tested there, as accepted when one of them was taken; entropies are
    means over the positions reached, in nats (None where the trace has none).
    """
    tested: dict[int, int] = defaultdict(int)
    taken: dict[int, int] = defaultdict(int)
    draft: dict[int, list[float]] = defaultdict(list)
    target: dict[int, list[float]] = defaultdict(list)
    for step in read.steps(trace, upto):
        tree = step.tree
        if tree is None or not tree.verdicts:
            continue
        depths = tree.depths
        seen = set()
        for node, verdict in enumerate(tree.verdicts):
            depth = depths[node]
            if verdict == UNREACHED:
                continue
            taken[depth] += verdict == ACCEPTED
            if depth in seen:  # siblings share their place: it is one try
                continue
            seen.add(depth)
            tested[depth] += 1
            for values, into in ((tree.draft_entropies, draft), (tree.target_entropies, target)):
                if values and values[node] is not None:
                    into[depth].append(values[node])

    def mean(values: list[float]) -> float | None:
        return sum(values) / len(values) if values else None

    found = []
    for depth in sorted(tested)[:DEEPEST]:
        share = taken[depth] / tested[depth]
        found.append(
            (
                depth,
                tested[depth],
                taken[depth],
                share,
                *wilson(taken[depth], tested[depth]),
                mean(draft[depth]),
                mean(target[depth]),
            )
        )
    return found


def acceptance(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Above: the share of drafted positions accepted, if reached, with 95 % Wilson whiskers and the number tried.

    Below: the mean entropy of draft and target there, in nats.
    """
    ink = themes.colours(theme)
    table = rows(trace, upto)
    places = [row[0] for row in table]
    figure = go.Figure(
        go.Bar(
            x=places,
            y=[row[3] for row in table],
            name="accepted",
            marker={"color": ink["draft"]},
            text=[f"{row[3]:.2f}".removeprefix("0") if row[3] < 0.995 else "1.0" for row in table],
            textposition="inside",
            insidetextanchor="start",
            textangle=0,
            textfont={"color": ink["on-draft"], "size": 12},
            error_y=themes.whiskers(ink, ((row[4], row[3], row[5]) for row in table)),
            hovertext=[
                f"position {row[0]}: {row[2]} of {row[1]} accepted, 95 % {row[4]:.2f} to {row[5]:.2f}" for row in table
            ],
            hoverinfo="text",
        ),
        layout={"template": {}},
    )
    lines = (
        (
            "draft entropy",
            6,
            {"color": ink["draft"], "dash": "5px,3px", "width": 2},
            {"symbol": "square", "size": 8, "color": ink["paper"], "line": {"color": ink["draft"], "width": 2}},
        ),
        (
            "target entropy",
            7,
            {"color": ink["target-edge"], "width": 2.5},
            {"symbol": "circle", "size": 9, "color": ink["target"], "line": {"color": ink["ink"], "width": 1}},
        ),
    )
    for name, column, line, marker in lines:
        if any(row[column] is not None for row in table):
            figure.add_scatter(
                x=places,
                y=[row[column] for row in table],
                name=name,
                mode="lines+markers",
                line=line,
                marker=marker,
                yaxis="y2",
                hovertext=[
                    "" if row[column] is None else f"position {row[0]}: {name} {row[column]:.2f} nats" for row in table
                ],
                hoverinfo="text",
            )
    figure.update_layout(
        title="Acceptance by position",
        bargap=0.3,
        xaxis={
            "tickvals": places,
            "ticktext": [f"{row[0]}<br>n {row[1]:,}" for row in table],
            "anchor": "y2",
            "range": [0.4, max(places, default=1) + 0.6],
            "showgrid": False,
        },
        yaxis={"domain": [0.5, 1], "range": [0, 1.02], "tickvals": [0, 0.5, 1]},
        yaxis2={"domain": [0, 0.38], "rangemode": "tozero", "nticks": 4, "title": {"text": "nats"}, "zeroline": True},
    )
    return figure
