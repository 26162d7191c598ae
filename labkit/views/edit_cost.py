"""What an edit costs: tokens computed and seconds, of a full recompute and of PIE."""

from __future__ import annotations

from itertools import accumulate

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("edit", "tokens, full", "tokens, PIE", "seconds, full", "seconds, PIE")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row an edit of the prompt: sums so far, of tokens fed to the model and of seconds measured."""
    edits = [step.notes["costs"] for step in read.steps(trace, upto) if not step.notes["texts"]]
    sums = [accumulate([costs[name][part] for costs in edits]) for part in (0, 1) for name in ("full", "PIE")]
    return [(edit, *row) for edit, row in enumerate(zip(*sums), 1)]


def edit_cost(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: tokens computed so far. Right: seconds so far. Both count the edits of the prompt, not those of held-out texts."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, horizontal_spacing=0.15, figure=go.Figure(layout={"template": {}}))
    table = rows(trace, upto)
    looks = (
        ("full recompute", {"color": ink["target-edge"], "dash": "dash", "width": 2}, "square"),
        ("PIE", {"color": ink["draft"], "width": 3}, "circle"),
    )
    for number, (name, line, symbol) in enumerate(looks):
        for col, unit in ((1, "tokens"), (2, "s")):
            column = 2 * col - 1 + number
            figure.add_scatter(
                x=[row[0] for row in table],
                y=[row[column] for row in table],
                mode="lines+markers",
                name=name,
                showlegend=col == 1,
                line=line,
                marker={"symbol": symbol, "size": 7, "color": line["color"]},
                hovertext=[f"after edit {row[0]}: {row[column]:,.4g} {unit}, {name}" for row in table],
                hoverinfo="text",
                row=1,
                col=col,
            )
    words = "A full recompute reads the whole text again; PIE reads the new tokens and the last one, and turns keys."
    if table:
        _, full, ours, slow, fast = table[-1]
        words = (
            f"Tokens computed so far: {ours:,} by PIE, {full:,} by a full recompute ({ours / full:.1%}). "
            f"Measured: {fast:.2g} s and {slow:.2g} s, the turning of keys included."
        )
    across = {"title": "edit", "range": [0.5, max(2, len(table)) + 0.5], **themes.whole(len(table), 8)}
    figure.update_layout(
        title="What does mending save?",
        meta={"words": words, "height": 270},
        xaxis=across,
        xaxis2=across,
        yaxis={"title": "tokens computed", "rangemode": "tozero"},
        yaxis2={"title": "seconds", "rangemode": "tozero"},
    )
    return figure
