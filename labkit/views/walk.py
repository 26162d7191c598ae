"""One walk of rejection sampling: which tokens the constraint was asked about, on the sorted law of the model."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece

COLUMNS = ("test", "token", "p", "rank", "allowed")
NAMED = 12  # tests that have room for their token's text


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a test of the walk on show: its place in order, token, probability, rank from 1, was it allowed.

    Raises `KeyError` when the step has no such notes.
    """
    shown = read.steps(trace, upto)
    notes = shown[-1].notes if shown else {"walks": [[]], "shown": 0}
    tests = notes["walks"][notes["shown"]]
    return [(place, piece(trace, token), p, rank + 1, ok) for place, (token, p, rank, ok) in enumerate(tests, 1)]


def walk(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """The law sorted, both axes logarithmic; on it the tests of the particle that asked most in this step."""
    ink = themes.colours(theme)
    table, shown = rows(trace, upto), read.steps(trace, upto)
    notes = shown[-1].notes if shown else {}
    figure = go.Figure(layout={"template": {}})
    if notes:
        line = {"color": ink["edge"], "width": 1.5}
        ranks, chances = zip(*[(rank + 1, p) for rank, p in notes["curve"]])
        figure.add_scatter(x=ranks, y=chances, mode="lines", line=line, name="the model's law", hoverinfo="skip")
    names = len(table) <= NAMED
    cross = {"symbol": "x-thin", "size": 11, "line": {"color": ink["refuse"], "width": 2.5}}
    dot = {"symbol": "circle", "size": 13, "color": ink["draft"], "line": {"color": ink["ink"], "width": 1}}
    looks = (("refused", False, cross, "bottom left"), ("allowed", True, dot, "top right"))
    for name, verdict, marker, side in looks:
        some = [row for row in table if row[4] == verdict]
        if some:
            figure.add_scatter(
                x=[row[3] for row in some],
                y=[row[2] for row in some],
                mode="markers+text" if names else "markers",
                text=[f"{row[0]} {label(row[1], 12)}" for row in some] if names else None,
                textposition=side,
                textfont={"family": themes.CODE_FONT, "size": 12, "color": ink["ink"]},
                marker=marker,
                name=name,
                hovertext=[f"test {row[0]}: {label(row[1])}, p {row[2]:.2g}, rank {row[3]:,}: {name}" for row in some],
                hoverinfo="text",
            )
    figure.update_layout(
        title="Which tokens was the constraint asked about?",
        meta={"words": _words(notes), "height": 280},
        xaxis={"type": "log", "title": "rank of the token", "showgrid": False, "nticks": 6},
        yaxis={"type": "log", "title": "p", "exponentformat": "power", "nticks": 6},
    )
    return figure


def _words(notes: dict) -> str:
    if not notes:
        return "Dots on the model's law: filled tokens were allowed, crossed ones refused."
    slot, asked = notes["shown"], notes["asked"] / max(notes["moves"], 1)
    who = f"Particle {slot + 1} tested" if len(notes["walks"]) > 1 else "Tested:"
    tests = notes["tested"][slot]
    cut = f" (the first {len(notes['walks'][slot])} are drawn)" if tests > len(notes["walks"][slot]) else ""
    found = "nothing was allowed" if notes["z"][slot] == 0 else f"allowed mass {notes['z'][slot]:.2g}"
    return f"{who} {tests:,}{cut}, {found}. So far {asked:,.1f} questions a token; the vocabulary has {notes['size']:,}."
