"""How long a reader waits for the next token, from the quickest token to the slowest, under three schedulers."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import theme as themes
from labkit.views.servers import last, line, yet

COLUMNS = ("scheduler", "share of the tokens", "milliseconds since the token before")
SHARES = [step / 100 for step in range(101)]


def told(run: list[tuple], prompt: int) -> dict[int, list[float]]:
    """When each request's tokens were out, in seconds: the first with the last piece of its prompt, then one a decode."""
    read: dict[int, int] = {}
    times: dict[int, list[float]] = {}
    for _, end, reads, writers in run:
        for number, rows in reads:
            read[number] = read.get(number, 0) + rows
        for number in [*(number for number, _ in reads if read[number] == prompt), *writers]:
            times.setdefault(number, []).append(end)
    return times


def gaps(times: dict[int, list[float]]) -> list[float]:
    """Milliseconds between the tokens of every request, shortest first."""
    return sorted(1000 * (later - sooner) for one in times.values() for sooner, later in zip(one, one[1:]))


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """A hundred and one rows a scheduler: this share of the tokens came no later than so many milliseconds."""
    notes, found = last(trace, upto), []
    for policy, run in notes.get("runs", {}).items():
        waits = gaps(told(run, notes["prompt"]))
        if waits:
            found += [(policy, share, waits[min(int(share * len(waits)), len(waits) - 1)]) for share in SHARES]
    return found


def serving_waits(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """One curve a scheduler: its right end is what its stalls cost."""
    ink = themes.colours(theme)
    notes, table = last(trace, upto), rows(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "How long does a reader wait for the next token?"})
    figure.update_layout(meta={"words": _words(notes), "height": 190})
    for policy in dict.fromkeys(row[0] for row in table):
        mine = [row for row in table if row[0] == policy]
        figure.add_scatter(
            x=[row[1] for row in mine],
            y=[row[2] for row in mine],
            name=policy,
            mode="lines",
            line={**line(ink, policy)["line"], "shape": "hv"},
            hovertext=[f"{policy}: {row[1]:.0%} of the tokens within {row[2]:.1f} ms" for row in mine],
            hoverinfo="text",
        )
    x = {"title": "tokens, the quickest first", "tickformat": ".0%", "dtick": 0.25, "range": [0, 1.01]}
    return figure.update_layout(xaxis=x, yaxis={"title": "ms after the last", "rangemode": "tozero"})


def _words(notes: dict[str, Any]) -> str:
    times = {policy: told(run, notes["prompt"]) for policy, run in notes.get("runs", {}).items()}
    worst = {policy: max(found) for policy, one in times.items() if (found := gaps(one))}
    if not worst:
        return yet(notes)
    first = {policy: [1000 * (out[0] - notes["arrivals"][number]) for number, out in times[policy].items()] for policy in worst}
    said = ", ".join(f"{policy} {wait:,.0f} ({sum(first[policy]) / len(first[policy]):,.0f})" for policy, wait in worst.items())
    return f"The longest wait, and in brackets the mean time to a request's first token, in ms: {said}."
