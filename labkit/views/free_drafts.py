"""Drafts from nothing: tokens a target call and hit rate of the methods that need no draft model, on two kinds of text."""

from __future__ import annotations

from statistics import mean, stdev

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = (
    "method",
    "text",
    "prompts",
    "tokens a target call",
    "± 95 %",
    "hit rate",
    "± 95 %",
    "nodes a call",
    "ms a token",
)


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a method and kind of text: prompts; mean tokens a target call and mean share of steps whose tree held the next
    token, each with the reach of its 95 % interval (None for one prompt); drafted nodes a call; ms a token."""
    found = []
    for result in _results(trace, upto):
        runs = result["runs"]
        if runs:
            columns = ([tokens / calls for tokens, calls, *_ in runs], [hits / steps for _, _, steps, hits, *_ in runs])
            figures = [figure for values in columns for figure in (mean(values), _reach(values))]
            tokens, calls, _, _, nodes, seconds = map(sum, zip(*runs))
            found.append((result["name"], result["text"], len(runs), *figures, nodes / calls, 1000 * seconds / tokens))
    return found


def free_drafts(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: mean tokens a target call; right: the share of steps whose tree held the very next token. Whiskers: 95 % of the mean.

    Filled = text like the corpus, hollow = text unlike it. Raises `KeyError` when the trace is of another study.
    """
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, horizontal_spacing=0.08, figure=go.Figure(layout={"template": {}}))
    table = rows(trace, upto)
    kinds = list(dict.fromkeys(row[1] for row in table))
    for side, (column, what) in enumerate(((3, "tokens a target call"), (5, "hit rate")), 1):
        for kind, fill in zip(kinds, (ink["draft"], ink["paper"])):
            shown = [row for row in table if row[1] == kind]
            figure.add_bar(
                x=[row[0].replace(" ", "<br>", 1) for row in shown],
                y=[row[column] for row in shown],
                error_y=themes.whiskers(ink, ((-off, 0, off) for off in (row[column + 1] or 0 for row in shown))),
                name=f"{kind}, {what}" if side == 2 else kind,
                showlegend=side == 1,
                marker={"color": fill, "line": {"color": ink["draft"], "width": 1.5}},
                hovertext=[_hover(row) for row in shown],
                hoverinfo="text",
                row=1,
                col=side,
            )
    figure.update_layout(
        title="What do drafts from nothing bring?",
        barmode="group",
        bargap=0.25,
        yaxis={"title": "tokens a target call", "rangemode": "tozero"},
        yaxis2={"title": "next token in the tree", "range": [0, 1.05]},
        meta={"words": _words(trace, upto), "height": 320},
    )
    return figure


def _results(trace: Trace, upto: int | None) -> list[dict]:
    steps = read.steps(trace, upto)
    return steps[-1].notes["results"] if steps else []


def _reach(values: list[float]) -> float | None:
    """Half the width of the 95 % interval of the mean (normal approximation); None for a single value."""
    return 1.96 * stdev(values) / len(values) ** 0.5 if len(values) > 1 else None


def _words(trace: Trace, upto: int | None) -> str:
    """What learning brought, prompt by prompt."""
    steps = read.steps(trace, upto)
    runs = {(result["name"], result["text"]): result["runs"] for result in _results(trace, upto)}
    said = []
    for kind in dict.fromkeys(text for _, text in runs):
        pairs = list(zip(*([run[0] / run[1] for run in runs[name, kind]] for name in steps[-1].notes["compare"])))
        if pairs:
            means = "{:.2f} tokens a call with ADED's table fixed, {:.2f} when it learns".format(*map(mean, zip(*pairs)))
            said.append(f"{kind}: {means} (more on {sum(b > a for a, b in pairs)} of {len(pairs)} prompts)")
    if not said:
        return "The first prompt is being written."
    return f"At temperature {steps[-1].notes['temperature']:g}, " + "; ".join(said) + "."


def _hover(row: tuple) -> str:
    name, kind, prompts, tokens, _, hits, _, nodes, ms = row
    figures = f"{tokens:.2f} tokens a call, {hits:.0%} hits, {nodes:.0f} nodes, {ms:.1f} ms a token"
    return f"{name}, {kind}, {prompts} prompts<br>{figures}"
