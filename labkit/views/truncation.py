"""What every sampler would keep of the law one token was drawn from, and how open each leaves the choice."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import plotly.graph_objects as go

from labkit.trace import Setting, Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.cuts import CUTS, entropy
from labkit.views.text import label, piece

COLUMNS = ("sampler", "first rank", "last rank", "tokens kept", "mass kept", "entropy, nats")
# What is shown of a sampler that is not turned on: values its paper or transformers recommends.
USUAL = {"top-k": {"k": 40}, "top-p": {"p": 0.9}, "min-p": {"p": 0.1}, "eta": {"epsilon": 0.002}, "typical": {"mass": 0.9}}
USUAL["top-h"] = {"alpha": 0.4}
NAMES = {"top-h": "Top-H", "top-k": "Top-k", "top-p": "Top-p", "min-p": "Min-p", "eta": "Eta", "typical": "Typical"}
LOWEST = 1e-5  # the least probability that the curve shows
TICKS = {"tickvals": [1, 0.1, 0.01, 0.001, 0.0001], "ticktext": ["1", "0.1", "0.01", "0.001", "0.0001"]}
WHOLE = 64  # ranks drawn one by one; behind them every sixteenth of an octave


class Sampler(NamedTuple):
    """One row: which cut with which knobs, and whether it is turned on."""

    label: str
    cut: str
    knobs: dict[str, Any]
    on: bool


class Seen(NamedTuple):
    """One place of the text: its law after the temperature, best first, or what the trace knows in its place."""

    before: str
    order: list[int]
    law: list[float] | None
    top: list[float]  # raw probabilities of the likeliest, where no law is kept
    raw: float  # entropy of the raw law, nats
    temperature: float


def samplers(transforms: list[Setting]) -> list[Sampler]:
    """Every sampler, with the knobs it is turned to where it is on; Top-H by both of its rules."""
    told = {one.name: one.knobs for one in transforms if one.knobs}
    found = []
    for cut, usual in USUAL.items():
        knobs = told.get(cut, usual)
        value = next(iter(knobs.values()))
        if cut != "top-h":
            found.append(Sampler(f"{NAMES[cut]} {value:g}", cut, knobs, cut in told))
            continue
        rule = knobs.get("rule", "paper")
        paper = {"alpha": value, "rule": "paper", "cap": knobs.get("cap", 0)}
        released = {"alpha": value, "rule": "released", "cap": knobs.get("cap") or 100}
        found.append(Sampler(f"Top-H {value:g}", cut, paper, cut in told and rule == "paper"))
        found.append(Sampler(f"Top-H {value:g}, released", cut, released, cut in told and rule != "paper"))
    return found


def seen_at(trace: Trace, upto: int | None, index: int | None, temperature: float | None) -> Seen:
    """What the trace knows of place `index` (from 0, prompt included; None = the last). Raises `TraceError`."""
    tokens = read.tokens(trace, upto)
    place, belief = read.believed(tokens, index)
    before = label("".join(token.text for token in tokens[max(0, place - 3) : place]), 24)
    heat = trace.opening.request.temperature if temperature is None else temperature
    logs = read.law(belief)
    if logs is None:
        return Seen(before, belief.top, None, [read.probability(log) for log in belief.top_logprobs], belief.entropy, heat)
    cut = read.apply(logs, heat, [])
    return Seen(before, cut.order, cut.after, [], belief.entropy, heat)


def rows(
    trace: Trace,
    upto: int | None = None,
    *,
    index: int | None = None,
    temperature: float | None = None,
    transforms: list[dict] | None = None,
) -> list[tuple]:
    """The raw law, the law after the temperature, and what each sampler alone keeps of that: ranks from 1, tokens, mass, nats.

    `temperature` and `transforms` ({"name", "knobs"}) stand in for those of the run. Without a stored law the first row only.
    """
    if not read.steps(trace, upto):
        return []
    seen = seen_at(trace, upto, index, temperature)
    size = trace.opening.vocabulary
    found = [("raw", 1, size, size, 1.0, seen.raw)]
    if seen.law is None:
        return found
    size = len(seen.law)
    found.append((f"temperature {seen.temperature:g}", 1, size, size, 1.0, entropy(seen.law)))
    for one in samplers(_settings(trace, transforms)):
        first, last = CUTS[one.cut](seen.law, **one.knobs)
        kept = seen.law[first:last]
        found.append((one.label, first + 1, last, last - first, sum(kept), entropy(kept)))
    return found


def _settings(trace: Trace, transforms: list[dict] | None) -> list[Setting]:
    if transforms is None:
        return trace.opening.request.transforms
    return [Setting(one["name"], one.get("knobs", {})) for one in transforms]


def truncation(
    trace: Trace,
    upto: int | None = None,
    *,
    index: int | None = None,
    temperature: float | None = None,
    transforms: list[dict] | None = None,
    theme: str = "light",
) -> go.Figure:
    """Above: the sorted law, both axes logarithmic. Below: the ranks that each sampler keeps of it, one bar each."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    meta = {"words": "Nothing here yet.", "height": 350, "follows": ["index", "temperature", "transforms"]}
    figure.update_layout(title="What does each sampler keep of this law?", showlegend=False, meta=meta)
    if not read.steps(trace, upto):
        return figure
    seen = seen_at(trace, upto, index, temperature)
    table = rows(trace, upto, index=index, temperature=temperature, transforms=transforms)
    _curve(figure, trace, seen, ink)
    head = f"Behind “{seen.before}” {seen.raw:.2f} nats raw"
    if seen.law is None:
        words = "this run keeps no whole laws, so no cut can be placed: the entropy page keeps them."
        return figure.update_layout(meta=meta | {"words": f"{head}; {words}"})
    _bars(figure, table[2:], samplers(_settings(trace, transforms)), ink)
    words = f"{table[1][5]:.2f} at temperature {seen.temperature:g}. Each sampler alone on that law; solid = turned on."
    shown = [[*row[:4], round(row[4], 4), round(row[5], 4)] for row in table]
    return figure.update_layout(meta=meta | {"words": f"{head}, {words}", "table": {"columns": list(COLUMNS), "rows": shown}})


def _curve(figure: go.Figure, trace: Trace, seen: Seen, ink: dict[str, str]) -> None:
    """The law, or what is known of it, from the likeliest down."""
    law = seen.top if seen.law is None else seen.law
    places = _places(len(law))
    names = [f"rank {place + 1}: {label(piece(trace, seen.order[place]), 18)}, {law[place]:.2g}" for place in places]
    figure.add_scatter(
        x=[place + 1 for place in places] + [len(law) + 1],
        y=[max(law[place], LOWEST / 10) for place in places] + [max(law[-1], LOWEST / 10)],
        hovertext=[*names, ""],
        hoverinfo="text",
        name="probability",
        mode="lines",
        line={"color": ink["edge"], "width": 1, "shape": "hv"},
        fill="tozeroy",
        fillcolor=ink["sunk"],
    )
    end = math.log10(max(trace.opening.vocabulary, len(law)) + 1)
    figure.update_layout(
        xaxis={"type": "log", "range": [0, end], "title": "rank of the token, the likeliest first", "dtick": 1},
        yaxis={"type": "log", "range": [math.log10(LOWEST), 0], "title": "probability", **TICKS},
    )


def _bars(figure: go.Figure, table: list[tuple], kept: list[Sampler], ink: dict[str, str]) -> None:
    """One bar a sampler from the first rank it keeps to the last, its cut line up through the law, and its figures beside it."""
    bars = list(zip(table, kept))[::-1]  # plotly draws the first bar at the bottom
    figure.add_bar(
        x=[row[3] for row, _ in bars],
        y=[row[0] for row, _ in bars],
        base=[row[1] for row, _ in bars],
        orientation="h",
        yaxis="y2",
        width=0.66,
        name="tokens kept",
        hovertext=[f"{row[0]}: ranks {row[1]} to {row[2]}, {row[4]:.1%} of the mass, {row[5]:.2f} nats" for row, _ in bars],
        hoverinfo="text",
        marker={
            "color": [ink["target"] if one.on else ink["target-tint"] for _, one in bars],
            "line": {"color": ink["target-edge"], "width": 1},
        },
    )
    for place, (row, _) in enumerate(bars):
        across = {"color": ink["ink-3"], "width": 1, "dash": "dot"}
        height = 0.5 * (place + 0.5) / len(bars)
        figure.add_shape(type="line", xref="x", yref="paper", x0=row[2] + 1, x1=row[2] + 1, y0=height, y1=1, line=across)
        said = f"{row[3]:,} kept · {row[4]:.0%} · {row[5]:.2f} nats"
        figure.add_annotation(text=said, xref="paper", x=1.01, yref="y2", y=row[0], xanchor="left", showarrow=False)
    figure.update_layout(
        margin={"l": 130, "r": 190},
        yaxis={"domain": [0.56, 1]},
        yaxis2={"domain": [0, 0.5], "showgrid": False},
        xaxis={"anchor": "y2"},
    )


def _places(size: int) -> list[int]:
    """Which ranks the curve shows, from 0."""
    found = list(range(min(size, WHOLE)))
    while found[-1] * 2 ** (1 / 16) < size - 1:
        found.append(max(found[-1] + 1, round(found[-1] * 2 ** (1 / 16))))
    return found

