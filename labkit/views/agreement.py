"""How much draft and target agree, by temperature and by how sure the target is."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes


def agreement(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """alpha against temperature (left), and at temperature 1 by the entropy of the target's law (right)."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, horizontal_spacing=0.1, figure=go.Figure(layout={"template": {}}))
    words = "Left: all places. Right: at the chosen temperature, by how unsure the target is there; % = share of the places."
    figure.update_layout(title="Where does the draft agree with the target?", showlegend=False)
    figure.update_layout(meta={"words": words, "height": 300})
    shown = read.steps(trace, upto)
    notes = shown[-1].notes if shown else {}
    for axis, words in (("xaxis", "temperature"), ("xaxis2", "target's entropy, nats")):
        figure.update_layout({axis: {"title": words}})
    for axis in ("yaxis", "yaxis2"):
        figure.update_layout({axis: {"range": [0, 1], "title": "chance to be accepted" if axis == "yaxis" else ""}})
    if not notes:
        return figure
    line = {"color": ink["draft"], "width": 3}
    hover = [f"temperature {t:g}: {alpha:.3f}" for t, alpha in zip(notes["temperatures"], notes["alpha"])]
    style = {"mode": "lines+markers", "line": line, "hoverinfo": "text", "name": "alpha"}
    figure.add_scatter(x=notes["temperatures"], y=notes["alpha"], hovertext=hover, row=1, col=1, **style)
    lows = [0, *notes["edges"]]
    names = [f"{low:g}–{high:g}" for low, high in zip(lows, notes["edges"])] + [f"{lows[-1]:g}+"]
    rows = list(zip(names, notes["by_entropy"], notes["share"]))
    hover = [f"{name} nats: {alpha:.3f}, {share:.0%} of places" for name, alpha, share in rows]
    text = [f"{share:.0%}" for share in notes["share"]]
    marker = {"color": [ink[f"e{level}"] for level in range(len(names))], "line": {"color": ink["edge"], "width": 1}}
    bars = {"marker": marker, "text": text, "textposition": "outside", "hovertext": hover, "hoverinfo": "text", "name": "alpha"}
    figure.add_bar(x=names, y=notes["by_entropy"], row=1, col=2, **bars)
    return figure
