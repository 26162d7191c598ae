"""DEL against every fixed pair of exit layer and draft length: layers loaded for a token."""

from __future__ import annotations

from statistics import median

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes


def summary(notes: dict) -> dict:
    """Layers a token over all texts: of every pair ("fixed", [L - 1, d]), of DEL, of the pair with the fewest ("best").

    "afterwards": if every text had its own best pair, which nobody knows before it is written.
    """
    texts = notes["texts"]
    tokens = sum(text["tokens"] for text in texts)
    fixed = [[sum(cells) / tokens for cells in zip(*lines)] for lines in zip(*(text["fixed"] for text in texts))]
    costs = {(layer, length): cost for layer, line in enumerate(fixed, 1) for length, cost in enumerate(line, 1)}
    ours, best = sum(text["DEL"] for text in texts) / tokens, min(costs, key=costs.get)
    found = {"fixed": fixed, "DEL": ours, "best": best, "least": costs[best], "median": median(costs.values())}
    own_best = sum(min(map(min, text["fixed"])) for text in texts) / tokens
    return found | {"afterwards": own_best, "beaten": sum(cost > ours for cost in costs.values()), "pairs": len(costs)}


def exit_pairs(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: layers a token of every fixed pair, all texts together. Right: text by text, DEL against the best of the pairs."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, horizontal_spacing=0.16, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(
        title="Does a new choice every round beat a fixed one?",
        showlegend=False,
        meta={"words": "Layers loaded for every token written; fewer is better.", "height": 340},
        xaxis={"title": "tokens drafted, fixed", "showgrid": False, "dtick": 1},
        yaxis={"title": "exit layer, fixed", "autorange": "reversed", "showgrid": False, "dtick": 1},
        xaxis2={"title": "layers a token, best fixed pair"},
        yaxis2={"title": "layers a token, DEL"},
    )
    shown = read.steps(trace, upto)
    if not shown:
        return figure
    notes = shown[-1].notes
    found = summary(notes)
    layer, length = found["best"]
    figure.add_heatmap(
        x=list(range(1, len(found["fixed"][0]) + 1)),
        y=list(range(1, len(found["fixed"]) + 1)),
        z=found["fixed"],
        colorscale=[[step / 6, ink[f"e{step}"]] for step in range(7)],
        reversescale=True,
        colorbar={"title": {"text": "layers<br>a token", "side": "top"}, "thickness": 12, "outlinewidth": 0, "x": 0.43},
        xgap=1,
        ygap=1,
        name="fixed pairs",
        hovertext=[
            [
                f"{d} drafts from layer {l}: {cost:.2f} layers a token, "
                f"{(d * l + notes['layers']) / cost:.2f} tokens a target call"
                for d, cost in enumerate(line, 1)
            ]
            for l, line in enumerate(found["fixed"], 1)  # noqa: E741
        ],
        hoverinfo="text",
        row=1,
        col=1,
    )
    diamond = {"symbol": "diamond", "size": 13, "color": ink["paper"], "line": {"color": ink["here"], "width": 3}}
    figure.add_scatter(
        x=[length], y=[layer], mode="markers", name="best pair", marker=diamond, hoverinfo="skip", row=1, col=1
    )
    points = [(text["fixed"][layer - 1][length - 1] / text["tokens"], text["DEL"] / text["tokens"]) for text in notes["texts"]]
    ends = [min(map(min, points)) * 0.95, max(map(max, points)) * 1.05]
    figure.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        name="equal",
        line={"color": ink["edge"], "dash": "5px,3px", "width": 1.5},
        hoverinfo="skip",
        row=1,
        col=2,
    )
    figure.add_annotation(
        text="below: DEL is cheaper",
        x=ends[1],
        y=ends[0],
        xanchor="right",
        yanchor="bottom",
        showarrow=False,
        font={"size": 12, "color": ink["ink-3"]},
        row=1,
        col=2,
    )
    figure.add_scatter(
        x=[point[0] for point in points],
        y=[point[1] for point in points],
        mode="markers",
        name="texts",
        marker={"color": ink["draft"], "size": 9, "line": {"color": ink["paper"], "width": 1}},
        hovertext=[
            f"text {n}: best pair {a:.2f}, DEL {b:.2f} layers a token, {text['tokens'] / text['rounds']:.2f} tokens a target call"
            for n, ((a, b), text) in enumerate(zip(points, notes["texts"]), 1)
        ],
        hoverinfo="text",
        row=1,
        col=2,
    )
    figure.layout.meta["words"] = (
        f"Layers a token: DEL {found['DEL']:.2f}; the best fixed pair {found['least']:.2f} ({length} drafts from layer {layer}); "
        f"the median pair {found['median']:.2f}; plain decoding {notes['layers']}. DEL beats {found['beaten']} of "
        f"{found['pairs']} pairs. Each text's own best pair, known only afterwards, comes to {found['afterwards']:.2f}."
    )
    return figure
