"""Settings of batched speculation compared: rounds by kind, time by kind, and how many texts are right."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("setting", "rounds grouped", "rounds realigned", "time realigning", "time stacking", "texts right")
COLUMNS += ("tokens a target call", "tokens a second")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a setting: shares of its rounds, of its time and of its finished texts (None: none finished), and its pace."""
    shown, found = read.steps(trace, upto), []
    for result in shown[-1].notes["results"] if shown else []:
        kinds, seconds, verdicts = result["kinds"], result["seconds"], result["verdicts"]
        rounds, whole, texts = sum(kinds.values()), sum(seconds.values()), sum(verdicts.values())
        shares = [kinds.get(kind, 0) / rounds for kind in ("grouped", "realigned")]
        shares += [seconds.get(kind, 0.0) / whole for kind in ("realign", "stack")]
        right = (texts - verdicts.get("different", 0)) / texts if texts else None
        found.append((result["name"], *shares, right, result["tokens"] / result["calls"], result["tokens"] / whole))
    return found


def batch_sweep(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Three charts side by side, a bar a setting: shares of the rounds, of the time, and of the texts that are right."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    figure = make_subplots(1, 3, shared_yaxes=True, horizontal_spacing=0.05, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(title="What do batch and window change?")
    figure.update_layout(meta={"words": _words(table), "height": 130 + 30 * max(len(table), 4)})
    realign = themes.hatched(ink["refuse"], ink["refuse-tint"])
    looks = (
        (1, 1, "grouped by length", {"color": ink["e4"]}),
        (1, 2, "realigned", realign),
        (2, 3, "realigning", realign),
        (2, 4, "stacking equal rows", themes.hatched(ink["here"], ink["paper"], ".")),
        (3, 5, "right", {"color": ink["e4"]}),
    )
    for side, column, name, marker in looks:
        figure.add_bar(
            orientation="h",
            y=[row[0] for row in table],
            x=[row[column] for row in table],
            name=name,
            showlegend=column in (1, 2, 4),
            marker=marker,
            text=["" if row[column] is None or side == 2 else f"{row[column]:.0%}" for row in table],
            textposition="outside" if side == 3 else "inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"size": 12, "color": ink["ink" if column in (2, 5) else "on-e4"]},
            cliponaxis=False,
            hovertext=[
                f"{row[0]}: {name} {row[column] or 0:.1%}; {row[6]:.1f} tokens a call, {row[7]:.0f} a second" for row in table
            ],
            hoverinfo="text",
            row=1,
            col=side,
        )
    heads = ("share of rounds", "share of the time", "texts equal to their own")
    for number, (head, most) in enumerate(zip(heads, (1.02, None, 1.2)), 1):
        axis = {"title": head, "tickformat": ".0%", "rangemode": "tozero", "range": [0, most] if most else None}
        figure.update_layout({f"xaxis{number}": axis, f"yaxis{number}": {"autorange": "reversed", "showgrid": False}})
    return figure.update_layout(barmode="stack")


def _words(table: list[tuple]) -> str:
    if not table:
        return "Nothing is measured yet."
    name, *_, calls, pace = max(table, key=lambda row: row[6])
    return f"Most tokens a target call: {name} with {calls:.1f} ({pace:.0f} tokens a second here, all work counted)."
