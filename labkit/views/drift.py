"""Does the table come nearer to the target? Their divergence, and what it brings, step by step."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = (
    "step",
    "pairs met first",
    "KL there, nats",
    "pairs met again",
    "KL there, nats",
    "KL of all, nats",
    "tokens",
    "tokens per target call, last 8 steps",
)
TITLE = "Does the table come nearer to the target?"
WINDOW = 8  # steps


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a step: pairs met for the first time and their mean KL(target || table) in nats (None without any), the same for
    pairs met before and for all; tokens, and tokens a target call over the last `WINDOW` steps."""
    found, steps = [], read.steps(trace, upto)
    for number, step in enumerate(steps, 1):
        apart, pairs = step.notes["divergence"], step.notes["pairs"]
        window = steps[max(0, number - WINDOW) : number]
        calls = sum(one.cost.target_forwards for one in window)
        tokens = sum(len(one.emitted) for one in window)
        row = (number, pairs["first"], apart["first"], pairs["again"], apart["again"], apart["all"])
        found.append((*row, len(step.emitted), tokens / calls if calls else float(tokens)))
    return found


def drift(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Above: the mean KL(target || table) over the pairs that a step met, before it learned from them: pairs met for the first
    time, and pairs met before. Below: the tokens of the step, and the running tokens a target call.

    Raises `KeyError` when the trace's method keeps no such table.
    """
    ink = themes.colours(theme)
    figure = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.1, figure=go.Figure(layout={"template": {}}))
    table = rows(trace, upto)
    words = "KL is measured before a step learns: pairs seen earlier in this run are the ones that the table was corrected for."
    if table:
        far, near = (_mean(table, count, kl) for count, kl in ((1, 2), (3, 4)))
        words = f"Pairs met for the first time are {far} from the target's law, pairs met again {near}."
    figure.update_layout(title=TITLE, meta={"words": words, "height": 320}, xaxis2={"title": "step"})
    figure.update_layout(yaxis={"title": "KL, nats", "rangemode": "tozero"}, yaxis2={"title": "tokens", "rangemode": "tozero"})
    numbers = [row[0] for row in table]
    for name, count, column, line, marker in (
        ("first met", 1, 2, {"color": ink["target-edge"], "dash": "5px,3px", "width": 2}, "circle"),
        ("met again", 3, 4, {"color": ink["draft"], "width": 2.5}, "square"),
    ):
        figure.add_scatter(
            x=numbers,
            y=[row[column] for row in table],
            name=name,
            mode="lines+markers",
            line=line,
            marker={"symbol": marker, "size": 6, "color": line["color"]},
            hovertext=[f"step {row[0]}: {row[count]} pairs {name}, KL {_say(row[column])}" for row in table],
            hoverinfo="text",
            row=1,
            col=1,
        )
    figure.add_bar(
        x=numbers,
        y=[row[6] for row in table],
        name="tokens",
        marker={"color": ink["draft-tint"], "line": {"color": ink["draft"], "width": 1}},
        hovertext=[f"step {row[0]}: {row[6]} tokens, {row[7]:.2f} a call over {WINDOW} steps" for row in table],
        hoverinfo="text",
        row=2,
        col=1,
    )
    line = {"color": ink["ink"], "width": 2}
    name = f"a call, last {WINDOW}"
    figure.add_scatter(
        x=numbers, y=[row[7] for row in table], name=name, mode="lines", line=line, hoverinfo="skip", row=2, col=1
    )
    return figure


def _mean(table: list[tuple], count: int, kl: int) -> str:
    """The mean KL over all pairs of one kind, in words."""
    pairs = sum(row[count] for row in table)
    return _say(sum(row[count] * row[kl] for row in table if row[count]) / pairs) if pairs else "not there yet"


def _say(nats: float | None) -> str:
    return "none" if nats is None else f"{nats:.2f} nats"
