"""What a run cost: counts and seconds side by side, and plain decoding beside them when it was measured."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Cost, Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("", "this run", "plain")
FIGURES = (
    ("Target calls", "target_forwards", "calls"),
    ("Target tokens fed", "target_tokens", "tokens"),
    ("Draft calls", "draft_forwards", "calls"),
    ("Draft tokens fed", "draft_tokens", "tokens"),
    ("Seconds", "seconds", "s"),
)


def rows(trace: Trace, upto: int | None = None, *, plain: Trace | None = None) -> list[tuple]:
    """One row a figure: name, this run, plain decoding up to the same number of tokens (None when not measured)."""
    mine = read.cost(trace, upto)
    made = sum(len(step.emitted) for step in read.steps(trace, upto))
    other = _plain(plain, made)
    found = [
        (name, getattr(mine, field), None if other is None else getattr(other, field)) for name, field, _ in FIGURES
    ]
    ratio = made / mine.target_forwards if mine.target_forwards else None
    other_ratio = made / other.target_forwards if other and other.target_forwards else None
    return [*found, ("Tokens per target call", ratio, other_ratio)]


def _plain(plain: Trace | None, made: int) -> Cost | None:
    """The cost of the first `made` tokens of a plain run; None when it is shorter."""
    if plain is None:
        return None
    total, tokens = Cost(), 0
    for step in plain.steps:
        if tokens >= made:
            break
        total += step.cost
        tokens += len(step.emitted)
    return total if tokens >= made else None


def cost(trace: Trace, upto: int | None = None, *, plain: Trace | None = None, theme: str = "light") -> go.Figure:
    """Bars for calls, tokens fed and seconds, each scaled to its own larger value, with the numbers written on them."""
    ink = themes.colours(theme)
    table = rows(trace, upto, plain=plain)[::-1]
    places = list(range(len(table)))

    def share(value: float | None, row: tuple) -> float | None:
        most = max(row[1] or 0, row[2] or 0)
        return None if value is None else value / most if most else 0.0

    def say(value: float | None) -> str:
        return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3g}"

    figure = go.Figure(layout={"template": {}})
    for name, column, fill in (("plain", 2, ink["paper"]), ("this run", 1, ink["ink"])):
        if any(row[column] is not None for row in table):
            figure.add_bar(
                x=[share(row[column], row) for row in table],
                y=places,
                orientation="h",
                name=name,
                marker={"color": fill, "line": {"color": ink["edge"], "width": 1.5}},
                text=[say(row[column]) for row in table],
                textposition="outside",
                cliponaxis=False,
                hoverinfo="skip",
            )
    figure.update_layout(
        title="Cost" if len(figure.data) > 1 else "Cost; plain decoding not yet measured",
        barmode="group",
        legend={"traceorder": "reversed"},
        xaxis={"visible": False, "range": [0, 1.15]},
        yaxis={"tickvals": places, "ticktext": [row[0] for row in table]},
    )
    return figure
