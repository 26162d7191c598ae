"""Acceptance against the number of drafts, for every verifier."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("laws", "verifier", "drafts", "acceptance")
LOOKS = {  # colour, dash, marker; never told apart by colour alone
    "V1 match": ("e4", "dot", "circle-open"),
    "V2 residual": ("e5", "dash", "square"),
    "V2 no repeats": ("here", "dashdot", "triangle-up"),
    "V3 k-SEQ": ("ink", "solid", "diamond"),
    "best possible": ("ink-3", "longdash", "line-ew-open"),
}


def style(verifier: str, ink: dict[str, str]) -> dict:
    """How the line of a verifier is drawn."""
    colour, dash, symbol = LOOKS[verifier]
    line = {"color": ink[colour], "width": 3 if dash == "solid" else 2, "dash": dash}
    return {"mode": "lines+markers", "line": line, "marker": {"symbol": symbol, "size": 9, "color": ink[colour]}}


def parts(trace: Trace, upto: int | None) -> list[tuple[str, list[int], dict[str, list[float]]]]:
    """(which laws, numbers of drafts, acceptances by verifier) of what the last step shown knows."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    notes = shown[-1].notes
    found = [("toy laws", notes["drafts"], notes["toy"]["acceptance"])]
    if "places" in notes:
        found.append((f"mean of {notes['places']['count']} places", notes["drafts"], notes["places"]["acceptance"]))
    return found


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row for every point of every line."""
    found = parts(trace, upto)
    return [(laws, name, k, y) for laws, drafts, lines in found for name in LOOKS for k, y in zip(drafts, lines[name])]


def acceptance_by_drafts(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """The chance that one of k drafts is kept: on the toy laws (left) and at places of held-out texts (right)."""
    ink = themes.colours(theme)
    found = parts(trace, upto)
    figure = go.Figure(layout={"template": {}})
    figure = make_subplots(1, max(1, len(found)), horizontal_spacing=0.08, figure=figure)
    words = "The grey line is the best that any verifier of independent drafts can do; drafts without repeats may pass it."
    figure.update_layout(title="What does one more draft bring?", meta={"words": words, "height": 340})
    for column, (laws, drafts, lines) in enumerate(found, 1):
        for verifier in LOOKS:
            figure.add_scatter(
                x=drafts, y=lines[verifier], name=verifier, legendgroup=verifier, showlegend=column == 1,
                hovertext=[f"{verifier}, {k} drafts, {laws}: {y:.4f}" for k, y in zip(drafts, lines[verifier])],
                hoverinfo="text", row=1, col=column, **style(verifier, ink),
            )  # fmt: skip
        figure.update_xaxes(title=f"drafts ({laws})", dtick=1, row=1, col=column)
    figure.update_yaxes(range=[0, 1.03])
    figure.update_yaxes(title="chance that one is kept", col=1)
    return figure
