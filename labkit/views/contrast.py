"""Selective contrast: P with the examples, P' without, what their difference prefers; and where the gate opened."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Step, Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece

COLUMNS = ("token", "P: with the examples", "P': without them", "result", "chosen")
TOKENS = 8  # drawn, the best results


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a token of the last step, best result first: text, P, P' (None where the gate was shut), result, was it chosen."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    notes, chosen = shown[-1].notes, shown[-1].emitted[0]
    other = notes["P'"] or [None] * len(notes["P"])
    columns = zip(notes["tokens"][0], notes["P"], other, notes["result"])
    return [(piece(trace, token), p, lame, result, token == chosen) for token, p, lame, result in columns]


def contrast(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: P, P' and the result of the last step, aligned by token. Right: how peaked P was at every step, and the gate."""
    ink, shown = themes.colours(theme), read.steps(trace, upto)
    figure = make_subplots(1, 2, column_widths=[0.56, 0.44], horizontal_spacing=0.12, figure=go.Figure(layout={"template": {}}))
    table = rows(trace, upto)
    picked = table[:TOKENS] + [row for row in table[TOKENS:] if row[4]]
    places = list(range(len(picked)))
    names = [("▸ " if row[4] else "") + label(row[0], 14) for row in picked]
    figure.update_layout(
        title="What do the examples change?",
        meta={"words": _words(trace, upto), "height": 330},
        barmode="group",
        bargap=0.25,
        xaxis={"title": "probability", "range": [0, 1]},
        yaxis={"tickvals": places, "ticktext": names, "tickfont": {"family": themes.CODE_FONT}, "autorange": "reversed"},
        xaxis2={"title": "step", "showgrid": False, "range": [0.4, max(8, len(shown)) + 0.6]},
        yaxis2={"title": "r, how peaked P is", "range": [0, 1.12]},
    )
    if not shown:
        return figure
    looks = (
        ("P: with the examples", 1, {"color": ink["target"], "line": {"color": ink["target-edge"], "width": 1}}),
        ("P': without them", 2, themes.hatched(ink["edge"], ink["paper"])),
        ("result", 3, {"color": ink["e5"]}),
    )
    for name, column, marker in looks:
        values = [row[column] for row in picked]
        if values[0] is not None:
            hover = [f"{name}: {value:.3f}" for value in values]
            figure.add_bar(
                x=values, y=places, orientation="h", name=name, marker=marker, hovertext=hover, hoverinfo="text", row=1, col=1
            )
    peaks = [step.notes["peaked"] for step in shown]
    for name, is_open, marker in (
        ("gate shut", False, {"color": ink["sunk"], "line": {"color": ink["edge"], "width": 1}}),
        ("gate open", True, {"color": ink["e5"], "line": {"color": ink["ink"], "width": 1}}),
    ):
        some = [number for number, step in enumerate(shown) if step.notes["open"] == is_open]
        hover = [f"step {number + 1}: r {peaks[number]:.2f}" for number in some]
        bars = {"width": 0.8, "name": name, "marker": marker, "hovertext": hover, "hoverinfo": "text"}
        bars |= {"text": ["≠" if _changed(shown[number]) else "" for number in some], "textposition": "outside"}
        figure.add_bar(x=[number + 1 for number in some], y=[peaks[number] for number in some], offset=-0.4, **bars, row=1, col=2)
    gate = shown[-1].notes["gate"]
    style = {"mode": "lines", "line": {"color": ink["ink"], "width": 2, "dash": "dash"}, "hoverinfo": "skip", "name": "gate"}
    figure.add_scatter(x=[0.5, len(shown) + 0.5], y=[gate, gate], showlegend=False, **style, row=1, col=2)
    return figure


def _words(trace: Trace, upto: int | None) -> str:
    shown = read.steps(trace, upto)
    if not shown:
        return "Where the model is unsure, what it would say without the prompt's examples is subtracted."
    notes = shown[-1].notes
    opened = sum(step.notes["open"] for step in shown)
    changed = sum(map(_changed, shown))
    state = "open: r is below" if notes["open"] else "shut: r is at or above"
    return (
        f"The gate is {state} {notes['gate']:.2f} (r {notes['peaked']:.2f}); it opened at {opened} of {len(shown)} steps, "
        f"and the token was another than P's favourite at {changed} (≠)."
    )


def _changed(step: Step) -> bool:
    return step.notes["open"] and step.emitted[0] != step.notes["favourite"]
