"""What the newest token looks at, one row a query head: densely, and with what a cache policy leaves."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import escaped, label, piece, shown

COLUMNS = ("layer", "head", "dense looks most at", "text there", "share there", "under the policy", "dense attention in sight")
DARKEST = 0.5  # of a head's attention in one cell; more is drawn alike


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a query head of the last step: the cell it looks at most, the share there, densely and under the policy."""
    steps = read.steps(trace, upto)
    if not steps:
        return []
    notes, found = steps[-1].notes, []
    texts = _texts(trace, notes)
    for layer, (dense, sparse, caught) in enumerate(zip(notes["dense"], notes["sparse"], notes["caught"])):
        for head, (mine, theirs, share) in enumerate(zip(dense, sparse, caught)):
            cell = max(range(len(mine)), key=mine.__getitem__)
            found.append((layer, head, _span(notes, cell), shown(texts[cell]), mine[cell] / 1000, theirs[cell] / 1000, share))
    return found


def _texts(trace: Trace, notes: dict) -> list[str]:
    """The text of each cell."""
    ids, width = [*trace.opening.prompt_ids, *notes["tokens"][0]], notes["width"]
    return ["".join(piece(trace, token) for token in ids[low : low + width]) for low in range(0, len(ids), width)]


def _span(notes: dict, cell: int) -> str:
    low = cell * notes["width"]
    high = min(low + notes["width"], notes["length"]) - 1
    return f"{low}" if low == high else f"{low}–{high}"


def heads_map(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Two heat maps of heads by positions, dense and under the policy, and how much of the dense one the policy could see."""
    ink, steps = themes.colours(theme), read.steps(trace, upto)
    shape = {"column_widths": [0.42, 0.42, 0.16], "horizontal_spacing": 0.03, "shared_yaxes": True}
    figure = make_subplots(1, 3, **shape, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(title="What does each head look at?", meta={"words": "No token has been read yet.", "height": 420})
    if not steps:
        return figure
    notes = steps[-1].notes
    texts, heads = _texts(trace, notes), len(notes["dense"][0])
    names = [f"layer {layer}, head {head}" for layer in range(len(notes["dense"])) for head in range(heads)]
    scale = [[(place / 6) ** 2, ink[f"e{place}"]] for place in range(7)]
    words = [f"{_span(notes, cell)} {label(text, 16)}" for cell, text in enumerate(texts)]
    for column, (key, name) in enumerate((("dense", "dense"), ("sparse", notes["policy"])), 1):
        figure.add_heatmap(
            z=[[count / 1000 for count in row] for layer in notes[key] for row in layer],
            x=words,
            y=names,
            name=name,
            zmin=0,
            zmax=DARKEST,
            colorscale=scale,
            showscale=False,
            hoverinfo="x+y+z",
            zhoverformat=".1%",
            row=1,
            col=column,
        )
        every = max(1, len(words) // 6)
        ticks = {"tickvals": words[::every], "ticktext": [str(cell * notes["width"]) for cell in range(0, len(words), every)]}
        figure.update_xaxes(title=f"{escaped(name)}: position", showgrid=False, tickangle=0, **ticks, row=1, col=column)
    caught = [share for layer in notes["caught"] for share in layer]
    figure.add_bar(
        x=caught,
        y=names,
        name="in sight",
        orientation="h",
        marker={"color": ink["draft-tint"], "line": {"color": ink["draft"], "width": 1}},
        hovertext=[f"{name}: {share:.0%} of its dense attention in sight" for name, share in zip(names, caught)],
        hoverinfo="text",
        showlegend=False,
        row=1,
        col=3,
    )
    figure.update_xaxes(title="in sight", range=[0, 1], tickvals=[0, 0.5, 1], tickformat=".0%", row=1, col=3)
    layers = [f"layer {layer}, head 0" for layer in range(len(notes["dense"]))]
    said = [f"layer {layer}" for layer in range(len(layers))]
    figure.update_yaxes(autorange="reversed", showgrid=False, tickvals=layers, ticktext=said)
    for edge in range(heads, len(names), heads):
        figure.add_hline(y=edge - 0.5, line={"color": ink["edge"], "width": 0.5})
    figure.layout.meta["words"] = _words(trace, notes, names, caught)
    return figure


def _words(trace: Trace, notes: dict, names: list[str], caught: list[float]) -> str:
    newest = (notes["tokens"][0] or trace.opening.prompt_ids)[-1]
    worst = min(range(len(caught)), key=caught.__getitem__)
    mean = sum(caught) / len(caught)
    read_by, before = (label(piece(trace, token)) for token in (newest, notes["tokens"][1][0]))
    return (
        f"Read by “{read_by}”, before “{before}”: {escaped(notes['policy'])} leaves {mean:.0%} of the dense attention in sight, "
        f"{names[worst]} only {caught[worst]:.0%}."
    )
