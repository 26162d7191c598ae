"""The cover of a text that may end inside a token: the ways to cut it, and what each is worth (P045)."""

from __future__ import annotations

from itertools import accumulate

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece, shown

COLUMNS = ("cut so", "share")
FAR = 14  # letters behind the cursor that are drawn


def last_noted(trace: Trace, upto: int | None, name: str) -> dict:
    """The notes of the last step shown that speaks of `name`; {} where none does."""
    found = (step.notes for step in reversed(read.steps(trace, upto)) if name in step.notes)
    return next(found, {})


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a sequence, the likeliest first: its tokens, and its share of the text's probability."""
    cover = last_noted(trace, upto, "cover").get("cover", [])
    return [(" | ".join(shown(piece(trace, token)) for token in tokens), share) for tokens, share in cover]


def byte_cover(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left, one line a sequence of tokens, laid over the text's letters; the cursor stands at 0. Right, its share."""
    ink = themes.colours(theme)
    notes = last_noted(trace, upto, "cover")
    figure = go.Figure(layout={"template": {}})
    figure = make_subplots(1, 2, column_widths=[0.7, 0.3], horizontal_spacing=0.03, shared_yaxes=True, figure=figure)
    figure.update_layout(title="How could the text be cut?", showlegend=False, bargap=0.2)
    figure.update_layout(meta={"words": _words(notes), "height": 226})
    cover = notes.get("cover", [])
    start = -len(notes.get("open", ""))
    boxes = []
    for row, (tokens, _) in enumerate(cover):
        texts = [piece(trace, token) for token in tokens]
        ends = list(accumulate(map(len, texts), initial=start))
        boxes += [(row, text, low, min(high, FAR)) for text, low, high in zip(texts, ends, ends[1:])]
    figure.add_bar(
        orientation="h",
        y=[row for row, *_ in boxes],
        base=[low for _, _, low, _ in boxes],
        x=[high - low for _, _, low, high in boxes],
        text=[label(text, max(2, high - low)) for _, text, low, high in boxes],
        textposition="inside",
        insidetextanchor="middle",
        constraintext="none",
        textfont={"family": themes.CODE_FONT, "size": 12, "color": [_letters(high, ink) for *_, high in boxes]},
        marker={
            "color": [ink["target"] if high > 0 else ink["sunk"] for *_, high in boxes],
            "line": {"color": ink["edge"], "width": 1},
        },
        hovertext=[f"{label(text)}" + (": reaches beyond the end" if high > 0 else "") for _, text, _, high in boxes],
        hoverinfo="text",
        row=1,
        col=1,
    )
    figure.add_bar(
        orientation="h",
        y=list(range(len(cover))),
        x=[share for _, share in cover],
        text=[_share(share) for _, share in cover],
        textposition="outside",
        cliponaxis=False,
        marker={"color": ink["draft"], "line": {"color": ink["draft"], "width": 1}},
        hovertext=[f"{share:.2g} of the text's probability" for _, share in cover],
        hoverinfo="text",
        row=1,
        col=2,
    )
    figure.add_vline(x=0, line={"color": ink["here"], "width": 2.5}, row=1, col=1)
    figure.update_layout(xaxis={"title": "letters before and behind the cursor", "range": [start - 0.3, FAR + 0.3]})
    figure.update_layout(xaxis2={"title": "share of the probability", "range": [0, 1.7], "tickvals": [0, 0.5, 1]})
    figure.update_yaxes(visible=False, range=[max(len(cover), 5) - 0.4, -0.6])
    return figure


def _letters(high: int, ink: dict[str, str]) -> str:
    return ink["on-target"] if high > 0 else ink["ink"]


def _share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "&lt; 0.1%"


def _words(notes: dict) -> str:
    if not notes:
        return "Every way to cut the text into tokens whose last one may reach beyond its end."
    count = notes["sequences"]
    if count == 1:
        return "Only one way to cut this text: its end is surely the end of a token."
    best = notes["cover"][0][1]
    return f"{count:,} sequences of tokens spell this text or go beyond it; the likeliest holds {best:.1%} of its probability."
