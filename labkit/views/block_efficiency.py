"""Block efficiency: how many tokens each call of the target brought."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("step", "accepted drafts", "from the target", "target calls", "tokens per target call so far")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a step: number from 1, accepted drafts, the target's own tokens, target calls, tokens a call so far."""
    found, tokens, calls = [], 0, 0
    for number, step in enumerate(read.steps(trace, upto), 1):
        tokens += len(step.emitted)
        calls += step.cost.target_forwards
        own = sum(source == "target" for source in step.sources) if step.sources else len(step.emitted)
        found.append(
            (
                number,
                len(step.emitted) - own,
                own,
                step.cost.target_forwards,
                tokens / calls if calls else float(tokens),
            )
        )
    return found


def block_efficiency(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Tokens of each step, and the running tokens per target call (the prompt's own call counted)."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    steps = [row[0] for row in table]
    hover = [f"step {row[0]}: {row[1] + row[2]} tokens, {row[4]:.2f} a call so far" for row in table]
    figure = go.Figure(layout={"template": {}})
    for name, values, fill, edge in (
        ("accepted drafts", [row[1] for row in table], ink["draft"], ink["draft"]),
        ("from the target", [row[2] for row in table], ink["target"], ink["target-edge"]),
    ):
        figure.add_bar(
            x=steps,
            y=values,
            name=name,
            marker={"color": fill, "line": {"color": edge, "width": 1}},
            hovertext=hover,
            hoverinfo="text",
        )
    figure.add_scatter(
        x=steps,
        y=[row[4] for row in table],
        mode="lines",
        name="tokens per target call so far",
        line={"color": ink["ink"], "width": 2},
        hoverinfo="skip",
    )
    figure.update_layout(
        title="Block efficiency",
        barmode="stack",
        bargap=0.2,
        xaxis={"title": "step", **themes.whole(len(table))},
        yaxis={"title": "tokens", "rangemode": "tozero"},
    )
    return figure
