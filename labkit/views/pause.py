"""Where a decoder paused, and what it saw when it looked ahead."""

from __future__ import annotations

from math import exp

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import cut, escaped, label, piece, shown

COLUMNS = ("step", "token", "entropy, nats", "tau, nats", "branch", "ln p a token", "kept")
ROOM = 48  # characters of a branch


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a branch of a paused step, and one a step that did not pause (its last three cells are None).

    Step from 1, its token, entropy of the raw law, the threshold, the branch's text, its score, whether its first token was kept.
    """
    found = []
    for number, step in enumerate(read.steps(trace, upto), 1):
        head = (number, piece(trace, step.emitted[0]), step.beliefs[0].entropy, step.notes["tau"])
        branches = step.notes.get("branches", [])
        found += [(*head, _text(trace, way), way["score"], at == step.notes["kept"]) for at, way in enumerate(branches)]
        if not branches:
            found.append((*head, None, None, None))
    return found


def _text(trace: Trace, way: dict) -> str:
    return shown("".join(piece(trace, token) for token in way["tokens"]))


def pause(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Above: entropy before every token, tau, and what became of each pause. Below: the branches of the latest pause.

    A branch's bar is exp of its score: the geometric mean of its tokens' probabilities where the score is a mean.
    """
    ink = themes.colours(theme)
    empty = go.Figure(layout={"template": {}})
    figure = make_subplots(2, 1, row_heights=[0.58, 0.42], vertical_spacing=0.16, figure=empty)
    figure.update_layout(title="Where does it pause, and what does it see?", meta={"words": "No token yet.", "height": 330})
    figure.update_layout(
        xaxis={"showgrid": False, "rangemode": "tozero"},
        yaxis={"title": "entropy, nats", "rangemode": "tozero"},
        xaxis2={"title": "exp(score) of each branch", "range": [0, 1], "tickvals": [0, 0.5, 1]},
        yaxis2={"showticklabels": False, "showgrid": False, "autorange": "reversed"},
    )
    steps = read.steps(trace, upto)
    if not steps:
        return figure
    paused = [number for number, step in enumerate(steps, 1) if "branches" in step.notes]
    changed = [number for number in paused if steps[number - 1].notes["kept"]]
    _entropies(figure, trace, steps, paused, changed, ink)
    figure.layout.meta["words"] = (
        f"Paused at {len(paused)} of {len(steps)} tokens, where the entropy reached {steps[-1].notes['tau']:.2f} nats, and took "
        f"another token than the likeliest at {len(changed)}."
    )
    if trace.opening.request.temperature or trace.opening.request.transforms:
        figure.layout.meta["words"] += " It reads the raw law: temperature and cuts change nothing."
    if paused:
        _branches(figure, trace, steps[paused[-1] - 1].notes, ink)
        figure.update_xaxes(title=f"pause before token {paused[-1]}: exp(score) of each branch", row=2, col=1)
    return figure


def _entropies(figure: go.Figure, trace: Trace, steps: list, paused: list, changed: list, ink: dict) -> None:
    places = list(range(1, len(steps) + 1))
    nats = [step.beliefs[0].entropy for step in steps]
    names = [label(piece(trace, step.emitted[0]), 10) for step in steps]
    figure.add_bar(
        x=places,
        y=nats,
        name="entropy",
        showlegend=False,
        marker={"color": [ink[f"e{themes.entropy_class(h)}"] for h in nats], "line": {"color": ink["edge"], "width": 0.75}},
        hovertext=[f"{name}: {h:.2f} nats" for name, h in zip(names, nats)],
        hoverinfo="text",
        row=1,
        col=1,
    )
    top = max(nats) * 1.08
    for name, chosen, fill in (
        ("paused, likeliest kept", [number for number in paused if number not in changed], ink["paper"]),
        ("paused, another taken", changed, ink["here"]),
    ):
        marker = {"symbol": "diamond", "size": 9, "color": fill, "line": {"color": ink["here"], "width": 1.5}}
        figure.add_scatter(
            x=chosen, y=[top] * len(chosen), name=name, mode="markers", marker=marker, hoverinfo="skip", row=1, col=1
        )
    tau = steps[-1].notes["tau"]
    line = {"color": ink["ink"], "width": 1.5, "dash": "6px,3px"}
    figure.add_scatter(
        x=[0.4, len(steps) + 0.6], y=[tau, tau], name="tau", mode="lines", line=line, hoverinfo="skip", row=1, col=1
    )
    figure.update_xaxes(range=[0.3, len(steps) + 0.7], row=1, col=1)


def _branches(figure: go.Figure, trace: Trace, notes: dict, ink: dict) -> None:
    ways, kept = notes["branches"], notes["kept"]
    texts = [cut(_text(trace, way), ROOM) for way in ways]
    marks = ["✓ " if at == kept else "" for at in range(len(ways))]
    fills = [ink["target-tint"] if at == kept else ink["sunk"] for at in range(len(ways))]
    edges = [ink["target-edge"] if at == kept else ink["edge"] for at in range(len(ways))]
    widths = [2 if at == kept else 1 for at in range(len(ways))]
    figure.add_bar(
        orientation="h",
        x=[exp(way["score"]) for way in ways],
        y=list(range(len(ways))),
        name="branches",
        showlegend=False,
        marker={"color": fills, "line": {"color": edges, "width": widths}},
        hovertext=[f"{escaped(text)}: score {way['score']:.3f}" for text, way in zip(texts, ways)],
        hoverinfo="text",
        row=2,
        col=1,
    )
    for x, side, words, family in (
        (0.01, "right", [f"{mark}{escaped(text)}" for mark, text in zip(marks, texts)], themes.CODE_FONT),
        (0.99, "left", [f"{way['score']:.2f}" for way in ways], themes.UI_FONT),
    ):
        figure.add_scatter(x=[x] * len(ways), y=list(range(len(ways))), **themes.written(ink, words, side, family), row=2, col=1)
