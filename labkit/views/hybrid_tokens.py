"""What tokens with meaning cost: how many there are, of which kind, beside a BPE of the same size; and what they mean."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("segmenter", "what", "value")
PAPER = 707 / 434  # thousand tokens of P101 and of the large model's tokenizer that it compares with
KINDS = {"root": "roots", "affix": "affixes", "piece": "pieces", "space": "spaces", "mark": "marks"}


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """Tokens a word, by kind for roots and affixes; then both shares of each. Raises `KeyError` on other notes."""
    steps = read.steps(trace, upto)
    if not steps:
        return []
    notes = steps[-1].notes
    words, figures = max(notes["read"], 1), notes["figures"]
    found = [
        ("roots and affixes", f"{many} a word", notes["kinds"].get(kind, 0) / words) for kind, many in KINDS.items()
    ]
    found += [(name, "tokens a word", one["tokens"] / words) for name, one in figures.items()]
    return found + [(name, kind, one[kind]) for name, one in figures.items() for kind in ("valid", "pure")]


def hybrid_tokens(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: tokens a word, those of roots and affixes by kind. Right: the shares that are valid and pure."""
    ink = themes.colours(theme)
    figure = make_subplots(
        1, 2, column_widths=[0.6, 0.4], horizontal_spacing=0.12, figure=go.Figure(layout={"template": {}})
    )
    table = rows(trace, upto)
    values = {(name, what): value for name, what, value in table}
    looks = {
        "root": {"color": ink["draft"]},
        "affix": {"color": ink["draft-tint"], "line": {"color": ink["draft"], "width": 1}},
        "piece": themes.hatched(ink["refuse"], ink["refuse-tint"]),
        "space": {"color": ink["sunk"], "line": {"color": ink["edge"], "width": 1}},
        "mark": themes.hatched(ink["edge"], ink["sunk"], "."),
    }
    names = ["roots and affixes", "BPE"]
    bar = {"orientation": "h", "hoverinfo": "text", "row": 1, "col": 1}
    for kind, many in KINDS.items() if table else ():
        value = values[names[0], f"{many} a word"]
        figure.add_bar(
            x=[value], y=names[:1], name=many, marker=looks[kind], hovertext=f"{value:.2f} {many} a word", **bar
        )
    if table:
        value = values["BPE", "tokens a word"]
        marker = {"color": ink["target"], "line": {"color": ink["target-edge"], "width": 1}}
        figure.add_bar(x=[value], y=names[1:], name="BPE", marker=marker, hovertext=f"{value:.2f} tokens a word", **bar)
    for name, marker in zip(names, ({"color": ink["draft"]}, {"color": ink["target"]})) if table else ():
        shares = [values[name, kind] for kind in ("valid", "pure")]
        line = {"color": ink["draft"] if name != "BPE" else ink["target-edge"], "width": 1}
        figure.add_bar(
            x=["valid", "pure"],
            y=shares,
            name=name,
            marker={**marker, "line": line},
            text=[f"{share:.0%}" for share in shares],
            textposition="outside",
            hovertext=[f"{name}: {share:.1%}" for share in shares],
            hoverinfo="text",
            showlegend=False,
            offsetgroup=name,
            row=1,
            col=2,
        )
    figure.update_layout(
        title="What do they cost, and what do they bring?",
        barmode="relative",
        meta={"words": _words(trace, upto, values), "height": 290},
        xaxis={"title": "tokens a word", "rangemode": "tozero"},
        yaxis={"type": "category", "autorange": "reversed"},
        yaxis2={"range": [0, 1.12], "tickformat": ".0%", "title": "share of unique tokens"},
    )
    return figure


def _words(trace: Trace, upto: int | None, values: dict[tuple[str, str], float]) -> str:
    if not values:
        return "Spaces and capitals are tokens of their own here."
    notes = read.steps(trace, upto)[-1].notes
    mine, bpe = (values[name, "tokens a word"] for name in ("roots and affixes", "BPE"))
    said = f"{mine / bpe:.2f} times the tokens of a BPE of {notes['sizes']['BPE']:,} entries (the paper: {PAPER:.2f} times)"
    gold = f"; the cuts agree with the true ones at F1 {notes['f1']:.3f}" if "f1" in notes else ""
    return f"{said}, with {notes['sizes']['roots and affixes']:,} entries of its own{gold}."
