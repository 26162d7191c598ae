"""How many tokens each sampler keeps, and what mass it cuts, against how unsure the model was."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.samplers import look

COLUMNS = ("sampler", "entropy, nats", "laws", "tokens kept", "mass lost")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a sampler and class of laws: mean entropy, how many laws, geometric mean of the sizes, mean mass lost."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    notes = shown[-1].notes
    return [
        (one["name"], nats, count, kept, lost)
        for one in notes["samplers"]
        for nats, count, kept, lost in zip(notes["entropy"], notes["counts"], one["kept"], one["lost"])
    ]


def kept_sizes(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Tokens kept (left, logarithmic) and mass lost (right) against the entropy of the raw law."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, horizontal_spacing=0.1, figure=go.Figure(layout={"template": {}}))
    table = rows(trace, upto)
    names = list(dict.fromkeys(row[0] for row in table))
    for name in names:
        mine = [row for row in table if row[0] == name]
        for column, value in ((1, 3), (2, 4)):
            figure.add_scatter(
                x=[row[1] for row in mine],
                y=[row[value] for row in mine],
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                mode="lines+markers",
                hovertext=[f"{name}: {row[3]:.1f} kept, {row[4]:.1%} lost at {row[1]:.2f} nats, {row[2]:,} laws" for row in mine],
                hoverinfo="text",
                row=1,
                col=column,
                **look(name, ink),
            )
    figure.update_xaxes(title="entropy of the raw law, nats", rangemode="tozero")
    figure.update_yaxes(title="tokens kept", type="log", dtick=1, row=1, col=1)
    figure.update_yaxes(title="mass cut away", rangemode="tozero", tickformat=".0%", row=1, col=2)
    figure.update_layout(title="How many tokens does each sampler keep?", meta={"words": _words(trace, upto), "height": 400})
    return figure


def _words(trace: Trace, upto: int | None) -> str:
    shown = read.steps(trace, upto)
    if not shown:
        return "Every law of held-out texts, cut by each sampler alone."
    notes = shown[-1].notes
    where = f"{sum(notes['counts']):,} laws of held-out texts at temperature {notes['temperature']:g}, each sampler alone"
    return f"{where}; sizes are geometric means, mass is a mean."
