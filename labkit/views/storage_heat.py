"""Two pictures of one head, tokens by channels: what was written last (P143: what stays; P049: before and after scaling)."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import escaped

COLUMNS = ("picture", "position", "magnitudes by channel, 0 to 9")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a picture and token: its magnitudes as digits, 0 for nothing and 9 for the picture's largest."""
    shown, (_, pictures) = read.steps(trace, upto), _last(trace, upto)
    if shown and not pictures:
        return [("nothing written yet", shown[-1].notes["fed"], "")]
    return [(one["name"], one["first"] + place, row) for one in pictures for place, row in enumerate(one["rows"])]


def _last(trace: Trace, upto: int | None) -> tuple[int, list[dict]]:
    """The last step that wrote something (from 1; 0 = none), and its pictures."""
    shown = read.steps(trace, upto)
    found = [(number, step.notes["pictures"]) for number, step in enumerate(shown, 1) if step.notes.get("pictures")]
    return found[-1] if found else (0, [])


def storage_heat(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Two heat maps of magnitudes, zeros left blank; rows are tokens, columns are channels."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.05, figure=go.Figure(layout={"template": {}}))
    shown, (step, pictures) = read.steps(trace, upto), _last(trace, upto)
    scale = [[place / 6, ink[f"e{place}"]] for place in range(7)]
    for column, picture in enumerate(pictures[:2], 1):
        first, name = picture["first"], escaped(picture["name"])
        figure.add_heatmap(
            z=[[int(digit) for digit in row] for row in picture["rows"]],
            y=list(range(first, first + len(picture["rows"]))),
            name=name,
            zmin=0,
            zmax=9,
            colorscale=scale,
            showscale=False,
            hoverinfo="x+y+z",
            row=1,
            col=column,
        )
        figure.update_xaxes(title=f"{name}: channel", row=1, col=column)
    figure.update_xaxes(showgrid=False, visible=bool(pictures))
    figure.update_yaxes(autorange="reversed", showgrid=False, visible=bool(pictures))
    figure.update_layout(
        title="What does one head look like?",
        meta={"words": "The magnitudes of one head's numbers, token by token; what is blank takes no room.", "height": 250},
    )
    figure.update_layout(yaxis={"title": "position in the text"})
    if not pictures:
        place = {"x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper", "font": {"size": 13, "color": ink["ink-2"]}}
        figure.add_annotation(text="nothing was written differently yet", showarrow=False, **place)
    if shown:
        held = f"{shown[-1].notes['fed']} tokens are held"
        words = f"{held}; none is old enough yet to be written differently."
        if pictures:
            words = f"{held}. The picture: layer {pictures[0]['layer']}, head 0, as written at step {step}; blank is zero."
        figure.layout.meta = {"words": words, "height": 250}
    return figure
