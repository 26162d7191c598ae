"""The next byte three ways: with a new token, with token healing, and exact (P045)."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import theme as themes
from labkit.views.byte_cover import last_noted
from labkit.views.text import cut, label

COLUMNS = ("law", "byte", "p")
END = 256


def byte_name(byte: int) -> str:
    """What stands under the bar of a byte."""
    if byte == END:
        return "end"
    return label(chr(byte)) if byte < 0x80 else f"\\x{byte:02x}"


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a law and byte."""
    notes = last_noted(trace, upto, "laws")
    laws = notes.get("laws", {})
    return [(name, byte_name(byte), p) for name, law in laws.items() for byte, p in zip(notes["bytes"], law)]


def byte_laws(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Three bars a byte, for the likeliest bytes of all three laws."""
    ink = themes.colours(theme)
    notes = last_noted(trace, upto, "laws")
    figure = go.Figure(layout={"template": {}, "title": "Which byte comes next?"})
    figure.update_layout(meta={"words": _words(notes), "height": 226}, bargap=0.25, barmode="group")
    looks = themes.hatched(ink["refuse"], ink["refuse-tint"]), themes.hatched(ink["draft"], ink["draft-tint"], "x")
    looks += ({"color": ink["target"], "line": {"color": ink["target-edge"], "width": 1}},)
    names = [byte_name(byte) for byte in notes.get("bytes", [])]
    places = list(range(len(names)))
    for (name, law), look in zip(notes.get("laws", {}).items(), looks):
        hover = [f"{one}: {p:.4f} ({name})" for one, p in zip(names, law)]
        figure.add_bar(x=places, y=law, name=name, marker=look, hovertext=hover, hoverinfo="text")
    ticks = {"tickvals": places, "ticktext": names, "tickfont": {"family": themes.CODE_FONT, "size": 14}, "tickangle": 0}
    figure.update_layout(xaxis={"title": "next byte", "showgrid": False, **ticks})
    figure.update_layout(yaxis={"title": "probability", "range": [0, 1]})
    return figure


def _words(notes: dict) -> str:
    if not notes:
        return "The law of the next byte: naive, with token healing, and exact."
    naive, healed, _ = notes["tv"].values()
    said = f"Total variation distance from the exact law: naive {naive:.3f}, token healing {healed:.3f}"
    if written := notes.get("goes_on"):
        said += ". Greedy goes on: " + ", ".join(f"{name} “{cut(text, 20)}”" for name, text in written.items())
    return said + "."
