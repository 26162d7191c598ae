"""What a forward costs on this machine, and how many tokens it must bring to be worth that."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = (
    "",
    "tokens fed",
    "target ms",
    "draft ms",
    "tokens a target forward",
    "with a draft chain",
    "speedup by the table",
    "speedup by the clock",
)
LINES = ((1, "solid"), (2, "dash"), (3, "dot"))  # speedups whose lines are drawn


def known(trace: Trace, upto: int | None = None) -> tuple[list[dict], list[dict]]:
    """(forwards, methods) of the last frame shown."""
    frames = read.steps(trace, upto)
    return (frames[-1].notes["forwards"], frames[-1].notes["methods"]) if frames else ([], [])


def needed(forwards: list[dict], chain: bool = False) -> list[float]:
    """Tokens that a target forward of each size must bring to be as fast as plain decoding.

    Drafting costs nothing, or, as a chain, a draft forward for every token but the root.
    """
    found = []
    for one in forwards:
        spent = one["target_ms"][1]
        if chain:
            spent += (one["tokens"] - 1) * forwards[0]["draft_ms"][1]
        found.append(spent / forwards[0]["target_ms"][1])
    return found


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """A row a size: median ms, and the tokens a forward must bring to break even; a row a method: what it brought and gained."""
    forwards, methods = known(trace, upto)
    sizes = zip(forwards, needed(forwards), needed(forwards, chain=True))
    return [
        ("one forward", one["tokens"], one["target_ms"][1], one["draft_ms"][1], free, chain, 1.0, None)
        for one, free, chain in sizes
    ] + [
        (one["name"], one["fed"], None, one["draft_ms"], one["tokens"], None, one["predicted"], one["measured"])
        for one in methods
    ]


def latency(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Above: ms of a forward against the tokens it feeds, medians with quartiles. Below: tokens it must bring to gain."""
    ink = themes.colours(theme)
    forwards, methods = known(trace, upto)
    sizes = [one["tokens"] for one in forwards]
    figure = go.Figure(layout={"template": {}})
    for role, symbol, fill, edge in (
        ("target", "circle", ink["target"], ink["target-edge"]),
        ("draft", "square", ink["draft"], ink["draft"]),
    ):
        cuts = [one[f"{role}_ms"] for one in forwards]
        figure.add_scatter(
            x=sizes,
            y=[middle for _, middle, _ in cuts],
            name=f"{role} forward",
            mode="lines+markers",
            cliponaxis=False,
            line={"color": edge, "width": 2},
            marker={"symbol": symbol, "size": 8, "color": fill, "line": {"color": edge, "width": 1}},
            error_y=themes.whiskers(ink, cuts),
            hovertext=[f"{role}, {size} tokens: {cut[1]:.2f} ms" for size, cut in zip(sizes, cuts)],
            hoverinfo="text",
        )
    free, chain = needed(forwards), needed(forwards, chain=True)
    lines = [(f"{gain} × plain, drafts for nothing", [gain * tau for tau in free], ink["ink"], dash) for gain, dash in LINES]
    lines.append(("1 × plain, a draft chain", chain, ink["draft"], "solid"))
    for name, values, colour, dash in lines:
        figure.add_scatter(
            x=sizes,
            y=values,
            name=name,
            yaxis="y2",
            mode="lines",
            line={"color": colour, "width": 2, "dash": dash},
            hovertext=[f"{size} tokens fed: {value:.2f} tokens needed" for size, value in zip(sizes, values)],
            hoverinfo="text",
        )
    figure.add_scatter(
        x=[one["fed"] for one in methods],
        y=[one["tokens"] for one in methods],
        name="methods, × by the clock",
        yaxis="y2",
        mode="markers+text",
        text=[f"{one['name']} {one['measured']:.1f}" for one in methods],
        textposition="top center",
        textfont={"color": ink["ink"]},
        marker={
            "symbol": ["diamond" if one["predicted"] > 1 else "diamond-open" for one in methods],
            "size": 10,
            "color": ink["ink"],
            "line": {"color": ink["ink"], "width": 2},
        },
        hovertext=[
            f"{one['name']}: {one['tokens']:.2f} tokens a forward of {one['fed']:.1f}, {one['draft_ms']:.2f} ms drafting; "
            f"{one['predicted']:.2f} × by the table, {one['measured']:.2f} × by the clock"
            for one in methods
        ],
        hoverinfo="text",
    )
    most = max([4.0, *(1.15 * one["tokens"] for one in methods), *(1.15 * tau for tau in free)])
    figure.update_layout(
        title="What does a forward cost here, and what must it bring?",
        meta={
            "words": "Above a line a method gains that much if its drafts cost nothing; the number beside it is the clock's.",
            "height": 520,
        },
        xaxis={"type": "log", "title": "tokens fed in one forward", "tickvals": sizes, "anchor": "y2"},
        legend={"x": 0, "xanchor": "left", "y": -0.16, "yanchor": "top"},
        yaxis={"domain": [0.58, 1], "rangemode": "tozero", "title": "ms"},
        yaxis2={"domain": [0, 0.48], "range": [0, most], "title": "tokens a target forward"},
    )
    return figure
