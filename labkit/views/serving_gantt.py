"""A Gantt chart of a server: when each request waits, is read, is written and stalls, under three schedulers."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import theme as themes
from labkit.views.servers import last, yet

COLUMNS = ("scheduler", "request", "what", "begin, s", "end, s", "tokens")
WAITS, READS, STALLS, WRITES = "waits", "is read", "stalls", "is written"


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a stretch of a request's life; chunks are rows of their own, decodes that follow each other share one."""
    notes = last(trace, upto)
    return [row for policy, run in notes.get("runs", {}).items() for row in _lives(policy, run, notes["arrivals"])]


def _lives(policy: str, run: list[tuple], arrivals: list[float]) -> list[tuple]:
    """The stretches of every request under one scheduler."""
    lives: dict[int, list[list]] = {number: [] for number in range(len(arrivals))}
    for begin, end, reads, writers in run:
        fed = [(number, READS, tokens) for number, tokens in reads]
        for number, what, tokens in [*fed, *((writer, WRITES, 1) for writer in writers)]:
            life = lives[number]
            before = life[-1] if life else None
            since = before[2] if before else arrivals[number]
            if begin > since:
                life.append([STALLS if before else WAITS, since, begin, 0])
            elif before and before[0] == what == WRITES:
                before[2:] = [end, before[3] + 1]
                continue
            life.append([what, begin, end, tokens])
    return [(policy, number, *stretch) for number, life in lives.items() for stretch in life]


def serving_gantt(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """One thin row a request, a block of rows a scheduler, on one clock."""
    ink = themes.colours(theme)
    notes, table = last(trace, upto), rows(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "Who waits for whom?"})
    figure.update_layout(meta={"words": _words(notes), "height": 256, "wide": True})
    if not table:
        return figure
    policies, count = list(notes["runs"]), len(notes["arrivals"])
    looks = {
        WAITS: {"color": ink["ghost"]},
        READS: {"color": ink["target"], "line": {"color": ink["on-target"], "width": 1}},  # chunks touch: a line tells them apart
        STALLS: themes.hatched(ink["refuse"], ink["refuse-tint"]),
        WRITES: {"color": ink["draft"]},
    }
    for what, marker in looks.items():
        mine = [row for row in table if row[2] == what]
        figure.add_bar(
            orientation="h",
            y=[policies.index(row[0]) * (count + 1) + row[1] for row in mine],
            base=[row[3] for row in mine],
            x=[row[4] - row[3] for row in mine],
            width=0.3 if what == WAITS else 0.86,
            name=what,
            marker=marker,
            hovertext=[_said(row) for row in mine],
            hoverinfo="text",
        )
    figure.update_layout(
        barmode="overlay",
        xaxis={"title": "seconds", "range": [0, notes["end"]]},
        yaxis={
            "tickvals": [place * (count + 1) + (count - 1) / 2 for place in range(len(policies))],
            "ticktext": policies,
            "range": [len(policies) * (count + 1) - 1.4, -0.6],
            "showgrid": False,
        },
    )
    return figure


def _said(row: tuple) -> str:
    policy, number, what, begin, end, tokens = row
    length = f"{tokens:,} tokens, " if tokens else ""
    return f"{policy}: request {number + 1} {what}, {length}{begin:.3f} to {end:.3f} s"


def _words(notes: dict[str, Any]) -> str:
    if not notes.get("runs"):
        return yet(notes)
    over = ", ".join(f"{policy} {run[-1][1]:.2f} s" for policy, run in notes["runs"].items() if run)
    if "(model)" in notes["clock"]:
        honest = f"{notes['clock'].split()[0]} with a 13B model, on paper, at peak rates; room for {notes['most']} of them."
    elif not notes["checked"]:
        honest = "Priced by what this machine was measured to take." if "table" in notes["clock"] else "Really run here, now."
    else:
        words = [word for found in notes["checked"].values() for _, _, word in found]
        same = f"{words.count('equal')} of {len(words)} texts are, token for token, what the prompt gives alone"
        honest = f"Really run; {same}{', others parted at a tie' if 'tie' in words else ''}."
    return f"P = {notes['prompt']:,}, D = {notes['output']}. Last iteration so far: {over}. {honest}"
