"""A text as a comb: where several trials were written, and which one stayed."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Step, Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import cut, escaped, label, piece, shown

COLUMNS = ("from token", "entropy, nats", "trials", "trial", "perplexity", "kept")
NAMED, ROOM, SHOWN = 28, 42, 10  # tokens with room for their text; characters of a trial; trials told
GAP = (None, None, "")  # between two lines of one series


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a trial, best first, and one a step of a single sample (perplexity None).

    Place of the step's first token from 1, entropy after temperature and cuts, number of trials, text, perplexity, whether kept.
    """
    found, place = [], 1
    for step in read.steps(trace, upto):
        head = (place, step.notes["entropy"], step.notes["count"])
        found += [(*head, text, perplexity, kept) for text, perplexity, kept, _ in _trials(trace, step)]
        place += len(step.emitted)
    return found


def _trials(trace: Trace, step: Step) -> list[tuple[str, float | None, bool, int]]:
    """(text, perplexity, kept, tokens) of every trial of a step, the kept one first, then by perplexity."""
    if "trials" not in step.notes:
        return [(shown("".join(piece(trace, token) for token in step.emitted)), None, True, len(step.emitted))]
    found = [
        (shown("".join(piece(trace, token) for token in way["tokens"])), way["perplexity"], at == step.notes["kept"], way)
        for at, way in enumerate(step.notes["trials"])
    ]
    found.sort(key=lambda row: (not row[2], row[1]))
    return [(text, perplexity, kept, len(way["tokens"])) for text, perplexity, kept, way in found]


def comb(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: the text along the ground, single samples as dots, kept trials solid, the refused ones above. Right: the latest fan.

    A trial's bar is 1 / perplexity, the geometric mean of its tokens' probabilities; the number is the perplexity.
    """
    ink = themes.colours(theme)
    empty = go.Figure(layout={"template": {}})
    figure = make_subplots(1, 2, column_widths=[0.6, 0.4], horizontal_spacing=0.04, figure=empty)
    figure.update_layout(title="How many ways on did it try?", meta={"words": "No token yet.", "height": 330})
    figure.update_layout(
        xaxis={"title": "token", "showgrid": False},
        yaxis={"title": "refused trials", "showgrid": False},
        xaxis2={"title": "latest fan: 1 / perplexity", "range": [0, 1], "tickvals": [0, 0.5, 1]},
        yaxis2={"showticklabels": False, "showgrid": False, "autorange": "reversed"},
    )
    steps = read.steps(trace, upto)
    if not steps:
        return figure
    fans = [step for step in steps if "trials" in step.notes]
    _teeth(figure, trace, steps, ink)
    if fans:
        _fan(figure, trace, fans[-1], ink)
    tokens, inside = sum(len(step.emitted) for step in steps), sum(len(step.emitted) for step in fans)
    written = sum(len(trial["tokens"]) for step in fans for trial in step.notes["trials"]) + tokens - inside
    figure.layout.meta["words"] = (
        f"{tokens} tokens, {inside} of them from {len(fans)} fans; {written} were written to keep these. "
        f"Solid: kept, the lowest perplexity of its fan."
    )
    return figure


def _teeth(figure: go.Figure, trace: Trace, steps: list[Step], ink: dict[str, str]) -> None:
    refused, kept, single, backs = ([], [], []), ([], [], []), ([], [], []), ([], [], [])
    place = 1
    for step in steps:
        if "trials" in step.notes:
            _append(backs, [(place - 0.4, 0, ""), (place - 0.4, step.notes["count"] - 1, ""), GAP])
        for level, (text, perplexity, stays, length) in enumerate(_trials(trace, step)):
            into = (kept if stays else refused) if perplexity is not None else single
            hover = escaped(cut(text, ROOM)) + ("" if perplexity is None else f": perplexity {perplexity:.2f}")
            ends = [(place - 0.4, level, hover), (place + length - 0.6, level, hover), GAP]
            _append(into, [(place, 0, hover)] if into is single else ends)
        place += len(step.emitted)
    for name, (xs, ys, hover), look in (
        ("fans", backs, {"mode": "lines", "line": {"color": ink["ghost-ink"], "width": 1.5}, "showlegend": False}),
        ("refused trials", refused, {"mode": "lines", "line": {"color": ink["ghost-ink"], "width": 1.5}}),
        ("kept trials", kept, {"mode": "lines", "line": {"color": ink["target"], "width": 8}}),
        ("single samples", single, {"mode": "markers", "marker": {"color": ink["ink"], "size": 6}}),
    ):
        figure.add_scatter(x=xs, y=ys, name=name, hovertext=hover, hoverinfo="text", row=1, col=1, **look)
    figure.update_yaxes(range=[-0.6, max([3, *(y for y in backs[1] if y is not None)]) + 0.6], row=1, col=1)
    emitted = [token for step in steps for token in step.emitted]
    if len(emitted) <= NAMED:
        names = [label(piece(trace, token), 10) for token in emitted]
        places = list(range(1, len(names) + 1))
        figure.update_xaxes(tickvals=places, ticktext=names, tickangle=-60, row=1, col=1)


def _append(series: tuple[list, list, list], points: list[tuple]) -> None:
    for point in points:
        for column, value in zip(series, point):
            column.append(value)


def _fan(figure: go.Figure, trace: Trace, step: Step, ink: dict[str, str]) -> None:
    trials = _trials(trace, step)
    told = trials[:SHOWN]
    places = list(range(len(told)))
    figure.add_bar(
        orientation="h",
        x=[1 / perplexity for _, perplexity, _, _ in told],
        y=places,
        name="latest fan",
        showlegend=False,
        marker={
            "color": [ink["target-tint"] if kept else ink["sunk"] for _, _, kept, _ in told],
            "line": {
                "color": [ink["target-edge"] if kept else ink["edge"] for _, _, kept, _ in told],
                "width": [2 if kept else 1 for _, _, kept, _ in told],
            },
        },
        hovertext=[f"{escaped(cut(text, ROOM))}: perplexity {value:.2f}, {size} tokens" for text, value, _, size in told],
        hoverinfo="text",
        row=1,
        col=2,
    )
    for x, side, words, family in (
        (0.01, "right", [f"{'✓ ' if kept else ''}{escaped(cut(text, ROOM))}" for text, _, kept, _ in told], themes.CODE_FONT),
        (0.99, "left", [f"{value:.2f}" for _, value, _, _ in told], themes.UI_FONT),
    ):
        figure.add_scatter(x=[x] * len(told), y=places, **themes.written(ink, words, side, family), row=1, col=2)
    more = f", best {SHOWN} of {len(trials)}" if len(trials) > SHOWN else ""
    figure.update_xaxes(title=f"latest fan{more}: 1 / perplexity", row=1, col=2)
