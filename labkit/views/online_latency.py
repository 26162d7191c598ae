"""Milliseconds a token, request by request, on a clock that counts calls at their measured mean price."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.turns import SMOOTH, mark_topics, running

COLUMNS = (
    "request",
    "topic",
    "learning, ms a token",
    "frozen, ms a token",
    "learning, running mean",
    "frozen, running mean",
)


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a request: (calls · a target call + draft calls · a draft call) / tokens, for both drafts; no updates in it."""
    steps = read.steps(trace, upto)
    notes = steps[-1].notes if steps else {}
    if "learning calls" not in notes:
        return []
    target, draft = notes["target call seconds"], notes["draft call seconds"]
    topics = [notes["topics"][topic] for topic in notes["topic"]]
    columns = []
    for name in ("learning", "frozen"):
        counts = zip(notes[f"{name} calls"], notes[f"{name} draft calls"], notes[f"{name} tokens"])
        columns.append([1000 * (calls * target + drafts * draft) / tokens for calls, drafts, tokens in counts])
    return list(zip(range(1, len(topics) + 1), topics, *columns, *(running(column, topics) for column in columns)))


def online_latency(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """The running means of both drafts, and plain decoding as a level line."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    requests = [row[0] for row in table]
    figure = go.Figure(layout={"template": {}})
    if table:
        notes = read.steps(trace, upto)[-1].notes
        plain = 1000 * notes["plain call seconds"]
        for name, values, line in (
            ("plain decoding", [plain] * len(table), {"color": ink["target-edge"], "width": 2}),
            ("frozen draft", [row[5] for row in table], {"color": ink["ink-3"], "width": 2.5, "dash": "6px,4px"}),
            ("learning draft", [row[4] for row in table], {"color": ink["draft"], "width": 2.5}),
        ):
            hover = [f"request {request}: {value:.2f} ms a token, {name}" for request, value in zip(requests, values)]
            figure.add_scatter(
                x=requests, y=values, name=name, mode="lines", line=line, hovertext=hover, hoverinfo="text"
            )
    mark_topics(figure, [row[1] for row in table], ink)
    figure.update_layout(
        title=f"How long does a token take? (mean of the last {SMOOTH} requests)",
        meta={"words": words(trace, upto), "height": 280},
        xaxis={"title": "request", "rangemode": "tozero"},
        yaxis={"title": "ms a token", "rangemode": "tozero"},
    )
    return figure


def words(trace: Trace, upto: int | None) -> str:
    """The clock's prices, and what the stopwatch says beside it."""
    steps = read.steps(trace, upto)
    notes = steps[-1].notes if steps else {}
    if "learning calls" not in notes:
        return "Calls are counted and priced at what a call took on average on this machine."
    target, draft = (1000 * notes[f"{model} call seconds"] for model in ("target", "draft"))
    measured = [1000 * sum(notes[f"{name} seconds"]) / sum(notes[f"{name} tokens"]) for name in ("learning", "frozen")]
    update = 1000 * sum(notes["update seconds"]) / sum(notes["learning tokens"])
    return (
        f"The clock counts calls at their measured mean: {target:.1f} ms of the target, {draft:.1f} ms of the draft. "
        f"The stopwatch says {measured[0]:.1f} ms a token with the learning draft and {update:.1f} more for its updates, "
        f"{measured[1]:.1f} with the frozen one."
    )
