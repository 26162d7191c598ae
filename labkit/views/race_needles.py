"""How many needles each cache policy finds, and how far its law is from dense attention's."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("policy", "needles", "found", "KL, nats", "same favourite", "attention lost", "held", "read")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a policy that has run: needles asked and found; means of KL, agreement, lost attention, and bytes held and read,
    dense being 1."""
    shown = read.steps(trace, upto)
    found = []
    for result in shown[-1].notes["results"] if shown else ():
        runs = result["runs"]
        if runs:
            means = [sum(run[name] for run in runs) / len(runs) for name in ("kl", "agrees", "lost", "held", "read")]
            found.append((result["name"], len(runs), sum(run["right"] for run in runs), *means))
    return found


def race_needles(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Bars: the share of needles found (left), and KL(dense || policy) over the tokens of the answers (right)."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, horizontal_spacing=0.09, shared_yaxes=True, figure=go.Figure(layout={"template": {}}))
    table = rows(trace, upto)[::-1]
    names = [row[0] for row in table]
    found = {"color": ink["draft"], "line": {"color": ink["draft-ink"], "width": 1}}
    hover = [f"{row[0]}: {row[2]} of {row[1]} needles" for row in table]
    text = [f"{row[2]} of {row[1]}" for row in table]
    shares = [row[2] / row[1] for row in table]
    style = {"orientation": "h", "showlegend": False, "hoverinfo": "text", "y": names, "textposition": "auto"}
    figure.add_bar(x=shares, marker=found, hovertext=hover, text=text, row=1, col=1, **style)
    spoiled = themes.hatched(ink["refuse"], ink["refuse-tint"])
    hover = [
        f"{row[0]}: KL {row[3]:.3f} nats, {row[4]:.0%} same favourite, {row[5]:.0%} of the attention lost"
        for row in table
    ]
    figure.add_bar(
        x=[row[3] for row in table],
        marker=spoiled,
        hovertext=hover,
        text=[f"{row[3]:.2f}" for row in table],
        row=1,
        col=2,
        **style,
    )
    figure.update_xaxes(title="needles found", range=[0, 1], tickformat=".0%", row=1, col=1)
    figure.update_xaxes(title="KL(dense || policy), nats", rangemode="tozero", row=1, col=2)
    words = "A needle is found when every token of the value is the favourite; the right answer is fed token by token."
    figure.update_layout(title="Who still finds what was said long ago?", meta={"words": words, "height": 330})
    return figure
