"""Where the bits of a cache go that stores its tokens differently, kind by kind (P143, P049)."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import escaped

COLUMNS = ("kind", "bytes", "bits a number", "share of a dense cache")
TOTALS = ("dense", "held")
NAMES = {"fresh": "fresh tokens", "numbers": "packed numbers"}


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a kind of the last step: bytes, bits for each number, share; first a dense cache and all that is held."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    notes = shown[-1].notes
    dense, numbers = notes["dense bytes"], notes["numbers"]
    sizes = {"dense": dense, "held": sum(notes["storage"].values()), **notes["storage"]}
    return [(NAMES.get(kind, kind), size, 8 * size / numbers, size / dense) for kind, size in sizes.items()]


def storage_bits(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Bars of bits for each number: a dense cache, what is held, and below that its kinds, each beginning where the last ends."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    table, steps = rows(trace, upto), read.steps(trace, upto)
    looks = {
        "dense": {"color": ink["ghost"], "line": {"color": ink["edge"], "width": 1}},
        "held": {"color": ink["draft"], "line": {"color": ink["draft-ink"], "width": 1}},
        "fresh tokens": {"color": ink["draft-tint"], "line": {"color": ink["draft-ink"], "width": 1}},
        "packed numbers": {"color": ink["draft-tint"], "line": {"color": ink["draft-ink"], "width": 1}},
    }
    start = 0.0
    for kind, size, bits, share in table:
        figure.add_bar(
            x=[bits],
            y=[escaped(kind)],
            base=[0 if kind in TOTALS else start],
            orientation="h",
            name=escaped(kind),
            marker=looks.get(kind, themes.hatched(ink["target-edge"], ink["target-tint"])),
            text=f"{bits:.2f}" if 0 < bits < 0.95 else f"{bits:.1f}",
            textposition="outside",
            cliponaxis=False,
            hovertext=f"{escaped(kind)}: {size / 1000:,.1f} kB, {share:.1%} of a dense cache",
            hoverinfo="text",
        )
        start += 0 if kind in TOTALS else bits
    figure.update_layout(
        title="Where do the bits go?",
        meta={"words": _words(table, steps[-1].notes if steps else {}), "height": 250},
        xaxis={"title": "bits for each number of the cache", "range": [0, 1.12 * max((row[2] for row in table), default=1)]},
        yaxis={"autorange": "reversed", "showgrid": False},
        barmode="overlay",
        bargap=0.25,
        showlegend=False,
    )
    return figure


def _words(table: list[tuple], notes: dict) -> str:
    if not table:
        return "What a cache holds for each of its numbers, and what for: the numbers themselves, and what it takes to read them."
    dense, held = table[:2]
    said = f"{held[2]:.1f} bits for each number, a dense cache has {dense[2]:.0f}: {held[3]:.0%}. Hatched: what is no number."
    return f"{said} KL(dense || policy) {notes['kl']:.2f} nats." if "kl" in notes else said
