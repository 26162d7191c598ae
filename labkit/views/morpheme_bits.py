"""Do tokens that mean something make a text easier to write? Bits a byte of a small model against %valid and %pure."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("segmenter", "vocabulary", "valid", "pure", "bits a byte")
KINDS = ("valid", "pure")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a segmenter whose vocabulary is known. Raises `KeyError` when the steps have no such notes."""
    return [(one["name"], one["size"], one["valid"], one["pure"], one["bits"]) for one in _points(trace, upto)]


def morpheme_bits(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: bits a byte by %valid; right: by %pure. The line joins the sizes of the trained BPE."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.05, figure=go.Figure(layout={"template": {}}))
    points = _points(trace, upto)
    for side, kind in enumerate(KINDS, 1):
        for sweep in (True, False):
            own = [one for one in points if (one["name"] == "BPE") == sweep]
            marker = {
                "symbol": "circle" if sweep else "diamond",
                "size": 10,
                "color": ink["draft"] if sweep else ink["target"],
            }
            marker["line"] = {"color": ink["draft"] if sweep else ink["target-edge"], "width": 1.5}
            figure.add_scatter(
                x=[one[kind] for one in own],
                y=[one["bits"] for one in own],
                mode="lines+markers" if sweep else "markers+text",
                line={"color": ink["draft"], "width": 1.5, "dash": "2px,3px"},
                marker=marker,
                text=[one["name"] for one in own],
                textposition=_sides(own, kind),
                textfont={"size": 12, "color": ink["ink-2"]},
                name="BPE of one size" if sweep else "others",
                hovertext=[
                    f"{one['name']}, {one['size']:,} entries: {one[kind]:.1%}, {one['bits']:.3f} bits" for one in own
                ],
                hoverinfo="text",
                showlegend=False,
                row=1,
                col=side,
            )
        figure.update_layout(
            {f"xaxis{side if side > 1 else ''}": {"title": kind, "range": [0, 1.06], "tickformat": ".0%"}}
        )
    figure.update_layout(
        title="Do such tokens help a model?",
        meta={"words": _words(trace, upto), "height": 320},
        yaxis={"title": "bits a byte (less is better)"},
    )
    return figure


def _points(trace: Trace, upto: int | None) -> list[dict]:
    steps = read.steps(trace, upto)
    return [one for one in steps[-1].notes["points"] if one["bits"] is not None] if steps else []


def _sides(points: list[dict], kind: str) -> list[str]:
    """Where names are written: neighbours in height on different sides of their marks, all of them inside the picture."""
    order = sorted(range(len(points)), key=lambda place: points[place]["bits"])
    upper = {place: rank % 2 for rank, place in enumerate(order)}
    ends = ["left" if one[kind] > 0.5 else "right" for one in points]
    return [f"{'top' if upper[place] else 'bottom'} {end}" for place, end in enumerate(ends)]


def _words(trace: Trace, upto: int | None) -> str:
    points, steps = _points(trace, upto), read.steps(trace, upto)
    found = steps[-1].notes["r"] if steps else {}
    said = [
        f"r with %{kind} {r[1]:+.2f} (95 %: {r[0]:+.2f} to {r[2]:+.2f})" for kind in KINDS if (r := found.get(kind))
    ]
    if not said:
        return "A trigram model over the tokens, trained on one half of the text, writes the other half."
    return (
        f"Over {len(points)} points {', '.join(said)}: too few, and too much alike, to prove anything. "
        "The paper found %valid closer to exam scores than %pure."
    )
