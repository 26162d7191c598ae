"""How much of p each draft covers, and what is left for the target to draw itself."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read, text
from labkit.views import theme as themes

COLUMNS = ("panel", "group", "token", "covered by", "mass")
TARGET, MISSING = "the target's own draw", "below zero: impossible"
NOTHING = 1e-6  # a residual this little below zero is rounding


def panels(trace: Trace, upto: int | None) -> list[dict]:
    """The notes "cover" of the last step shown: panels of bars, each with parts for every draft and for the residual."""
    shown = read.steps(trace, upto)
    return shown[-1].notes["cover"] if shown else []


def parts(bar: dict) -> list[tuple[str, float]]:
    """(who covers, mass) of one bar; a negative residual is named apart."""
    *drafts, rest = bar["parts"]
    names = [f"draft {place}" for place in range(1, len(drafts) + 1)]
    if bar["group"] == "best possible":
        names = ["all together"]
    return [*zip(names, drafts), (TARGET if rest >= -NOTHING else MISSING, rest)]


def name(trace: Trace, bar: dict) -> str:
    """The token of a bar as it is in the text, or its label."""
    return bar["label"] if bar["token"] is None else text.piece(trace, bar["token"])


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row for every part of every bar."""
    return [
        (panel["title"], bar["group"], name(trace, bar), who, mass)
        for panel in panels(trace, upto)
        for bar in panel["bars"]
        for who, mass in parts(bar)
    ]


def cover(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Stacked bars: blue what the first, second, ... draft covers, amber the residual; below zero what no law can give."""
    ink = themes.colours(theme)
    found = panels(trace, upto)
    widths = [len(panel["bars"]) + 6 for panel in found] or [1]
    figure = go.Figure(layout={"template": {}})
    figure = make_subplots(1, len(widths), column_widths=widths, horizontal_spacing=0.07, figure=figure)
    words = "Blue: what each draft takes over, the first strongest; amber: what the target draws when all are refused."
    figure.update_layout(title="What does each draft cover?", meta={"words": words, "height": 360})
    figure.update_layout(barmode="relative", bargap=0.15, legend={"traceorder": "normal"})
    named: set[str] = set()
    ticks: dict[float, str] = {}  # places are numbered through, so that a table of the figure can name them all
    place = 0.0
    for column, panel in enumerate(found, 1):
        bars = panel["bars"]
        places = []
        for before, bar in zip([bars[0], *bars], bars):
            place += 1.0 if bar["group"] == before["group"] else 2.0
            places.append(place)
        labels = [tick(trace, bar) for bar in bars]
        ticks |= dict(zip(places, labels))
        split = [parts(bar) for bar in bars]
        for who in sorted({who for bar in split for who, _ in bar}, key=order):
            chosen = [(x, label, mass) for x, label, bar in zip(places, labels, split) for one, mass in bar if one == who]
            figure.add_bar(
                x=[x for x, _, _ in chosen],
                y=[mass for _, _, mass in chosen],
                name=who,
                legendgroup=who,
                showlegend=who not in named,
                marker=look(who, ink),
                hovertext=[f"{label}: {who} {mass:.3f}" for _, label, mass in chosen],
                hoverinfo="text",
                row=1,
                col=column,
            )
            named.add(who)
        angle = 0 if max(map(len, labels)) < 3 else -45
        groups = list(filter(None, dict.fromkeys(bar["group"] for bar in bars)))
        figure.update_xaxes(range=[places[0] - 0.7, places[-1] + 0.7], tickangle=angle, title=panel["title"], row=1, col=column)
        tall = max(sum(mass for _, mass in bar if mass > 0) for bar in split)
        low = min(mass for bar in split for _, mass in bar)
        figure.update_yaxes(range=[1.1 * min(low, 0), 1.25 * tall], zeroline=True, row=1, col=column)
        for group in groups:
            mine = [x for x, bar in zip(places, bars) if bar["group"] == group]
            spot = {"x": sum(mine) / len(mine), "y": 1.24 * tall, "row": 1, "col": column}
            words = text.escaped(group).replace(" ", "<br>" if len(groups) > 2 else " ", 1)  # many stand close together
            figure.add_annotation(text=words, showarrow=False, yanchor="top", font={"color": ink["ink-2"]}, **spot)
    figure.update_xaxes(tickvals=list(ticks), ticktext=list(ticks.values()), showgrid=False)
    figure.update_yaxes(title="probability", col=1)
    return figure


def tick(trace: Trace, bar: dict) -> str:
    """What stands under a bar: a token's text, or its label."""
    if bar["token"] is None:
        return text.escaped(bar["label"])
    return text.label(text.piece(trace, bar["token"]), 10)


def order(who: str) -> tuple[bool, bool, bool, str]:
    """Drafts first, then the target."""
    return who == MISSING, who == TARGET, not who.startswith("draft"), who


def look(who: str, ink: dict[str, str]) -> dict:
    """The marker of a part: drafts in blue, the later the paler; the target in amber; the impossible hatched."""
    if who == TARGET:
        return {"color": ink["target"], "line": {"color": ink["target-edge"], "width": 1}}
    if who == MISSING:
        pattern = {"shape": "/", "fgcolor": ink["refuse"], "bgcolor": ink["refuse-tint"], "size": 6}
        return {"color": ink["refuse"], "pattern": pattern, "line": {"color": ink["refuse"], "width": 1}}
    place = int(who.split()[1]) if who[-1].isdigit() else 1
    return {"color": mixed(ink["draft"], ink["paper"], 0.72 ** (place - 1)), "line": {"color": ink["draft"], "width": 1}}


def mixed(colour: str, other: str, share: float) -> str:
    """`share` of one colour and the rest of the other, as #rrggbb."""
    pairs = zip(bytes.fromhex(colour[1:]), bytes.fromhex(other[1:]))
    return "#" + bytes(round(share * mine + (1 - share) * theirs) for mine, theirs in pairs).hex()
