"""What each cache policy pays: the bytes its cache holds, and the bytes a step reads."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import theme as themes
from labkit.views.race_needles import COLUMNS, rows

__all__ = ["COLUMNS", "race_bytes", "rows"]


def race_bytes(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Two bars a policy: bytes held and bytes read a step, dense attention's being 100%."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    table = rows(trace, upto)[::-1]
    held = {"color": ink["draft"], "line": {"color": ink["draft-ink"], "width": 1}}
    read = themes.hatched(ink["target-edge"], ink["target-tint"])
    for name, place, marker in (("read a step", 7, read), ("held", 6, held)):
        figure.add_bar(
            x=[row[place] for row in table],
            y=[row[0] for row in table],
            orientation="h",
            name=name,
            marker=marker,
            hovertext=[f"{row[0]}: {row[place]:.0%} of dense bytes {name}, KL {row[3]:.3f} nats" for row in table],
            hoverinfo="text",
        )
    words = "Blue: what the cache holds. Hatched: what one step reads. Dense attention is 100% of both."
    figure.update_layout(
        title="Evicting saves memory, selecting saves reading",
        meta={"words": words, "height": 330},
        xaxis={"title": "bytes, dense = 100%", "tickformat": ".0%", "rangemode": "tozero"},
        legend={"traceorder": "reversed"},
        bargap=0.25,
    )
    return figure
