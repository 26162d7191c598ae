"""What a constraint costs in questions a token: asked by AWRS, and by masks; and how it grows where the model disagrees."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("constraint", "tokens", "AWRS", "mask, shared beginnings", "mask, every token")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a constraint: tokens written, and questions a token. Raises `KeyError` when the step has no such notes."""
    shown = read.steps(trace, upto)
    notes = shown[-1].notes if shown else {"toy": {}}
    _ = notes["toy"]  # others have costs too
    return [
        (name, one["moves"], one["tests"] / one["moves"], one["shared"] / one["moves"], one["every"])
        for name, one in notes.get("costs", {}).items()
    ]


def constraint_costs(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: questions a token by constraint, on a logarithmic axis. Right: those of AWRS by -ln Z of the place."""
    ink = themes.colours(theme)
    table, shown = rows(trace, upto), read.steps(trace, upto)
    notes = shown[-1].notes if shown else {}
    figure = make_subplots(1, 2, column_widths=[0.62, 0.38], horizontal_spacing=0.12, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(title="How many questions does a token cost?", meta={"words": _words(table), "height": 290})
    decades = {"type": "log", "range": [0, 4.3], "tickvals": [1, 10, 100, 1000, 10000]}
    figure.update_layout(yaxis={**decades, "title": "questions a token"})
    figure.update_layout(yaxis2={"title": "questions of AWRS", "rangemode": "tozero"})
    figure.update_layout(xaxis={"showgrid": False}, xaxis2={"title": "−ln Z, nats", "type": "category", "showgrid": False})
    looks = (
        (2, {"color": ink["draft"]}),
        (3, {"color": ink["draft-tint"], "line": {"color": ink["edge"], "width": 1}}),
        (4, themes.hatched(ink["refuse"], ink["refuse-tint"])),
    )
    for column, marker in looks:
        if table:
            figure.add_bar(
                x=[row[0] for row in table],
                y=[row[column] for row in table],
                name=COLUMNS[column],
                marker=marker,
                hovertext=[f"{row[0]}, {COLUMNS[column]}: {row[column]:,.1f} questions a token" for row in table],
                hoverinfo="text",
                row=1,
                col=1,
            )
    bins = [(name, one) for name, one in zip(_names(notes.get("edges", [])), notes.get("bins", [])) if one]
    if bins:
        figure.add_scatter(
            x=[name for name, _ in bins],
            y=[one["tests"] / one["moves"] for _, one in bins],
            mode="lines+markers",
            line={"color": ink["draft"], "width": 2.5},
            marker={"size": 9},
            hovertext=[f"−ln Z {name}: {one['tests'] / one['moves']:.1f}, over {one['moves']} tokens" for name, one in bins],
            hoverinfo="text",
            showlegend=False,
            row=1,
            col=2,
        )
    return figure


def _names(edges: list[float]) -> list[str]:
    return [f"{low:g}–{high:g}" for low, high in zip([0, *edges], edges)] + [f"{edge:g}+" for edge in edges[-1:]]


def _words(table: list[tuple]) -> str:
    if not table:
        return "First the toy is played; then every constraint is put to the test behind a prompt of its own."
    tokens, asked = sum(row[1] for row in table), sum(row[1] * row[2] for row in table)
    worst = min(row[4] / row[2] for row in table)
    return (
        f"AWRS asks {asked / tokens:.1f} questions a token over {tokens} tokens; masking asks, "
        f"whatever the constraint, at least {worst:,.0f} times as many."
    )
