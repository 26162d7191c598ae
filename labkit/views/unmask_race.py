"""Policies of masked diffusion: tokens a forward against what the text is worth."""

from __future__ import annotations

from statistics import mean
from string import ascii_uppercase as LETTERS

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import escaped

COLUMNS = ("policy", "texts", "tokens a forward", "with padding", "as one by one", "nats a token", "token entropy")
COLUMNS += ("parses", "judged")
SPANS = ((0, 0.36), (0.5, 0.66), (0.68, 0.84), (0.86, 1))  # of the panels; the policies' names stand before the second


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a policy: tokens a forward over all its texts, without and with padding; means of the four judgements (None where
    nothing was judged), and how many texts the parser judged."""
    shown = read.steps(trace, upto)
    found = []
    for result in shown[-1].notes["results"] if shown else ():
        runs = result["runs"]
        forwards = sum(run["forwards"] for run in runs)
        judged = [[run[name] for run in runs if run[name] is not None] for name in ("same", "nll", "entropy", "parses")]
        speeds = [sum(run[name] for run in runs) / forwards for name in ("tokens", "places")]
        found.append((result["name"], len(runs), *speeds, *(mean(one) if one else None for one in judged), len(judged[3])))
    return found


def better(table: list[tuple], rule: str) -> list[str]:
    """Policies that no text of `rule` beats: as many tokens a forward and as much agreement at least, and more of one."""
    base = next((row for row in table if row[0] == rule), None)
    if base is None:
        return []
    return [row[0] for row in table if row[2] >= base[2] and row[4] >= base[4] and (row[2], row[4]) != (base[2], base[4])]


def unmask_race(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: speed against agreement with the text written one by one. Right, by policy: padding, the judge's nats, parsing."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    table, words = rows(trace, upto), "No text yet."
    if table:
        notes = read.steps(trace, upto)[-1].notes
        make_subplots(1, 4, figure=figure)
        lettered = [f"{escaped(row[0])}  {LETTERS[number]}" for number, row in enumerate(table)]
        fill = [ink["target"] if row[0] == notes["rule"] else ink["draft"] for row in table]
        shape = ["diamond" if row[0] == notes["rule"] else "circle" for row in table]
        look = {"color": fill, "symbol": shape, "size": 11, "line": {"color": ink["ink"], "width": 1}}
        hover = [_said(row) for row in table]
        figure.add_scatter(
            x=[row[2] for row in table],
            y=[row[4] for row in table],
            mode="markers+text",
            text=_letters(table),
            textposition="top center",
            textfont={"size": 12, "color": ink["ink"]},
            marker=look,
            name="as one by one",
            showlegend=False,
            hovertext=hover,
            hoverinfo="text",
            cliponaxis=False,
            row=1,
            col=1,
        )
        small = {"mode": "markers", "hovertext": hover, "hoverinfo": "text", "y": lettered}
        filled = {"color": ink["draft"], "symbol": "circle", "size": 9, "line": {"color": ink["draft-ink"], "width": 1}}
        hollow = {"color": ink["target-edge"], "symbol": "diamond-open", "size": 10, "line": {"width": 2}}
        for column, panel, name, marker in (
            (2, 2, "the text", filled),
            (3, 2, "with padding", hollow),
            (5, 3, "judge's nats", filled),
            (6, 3, "token entropy", {**hollow, "symbol": "square-open", "color": ink["ink-2"]}),
            (7, 4, "parses", filled),
        ):
            shown = column in (3, 6)
            figure.add_scatter(
                x=[row[column] for row in table], name=name, marker=marker, showlegend=shown, row=1, col=panel, **small
            )
        figure.update_xaxes(title="tokens a forward", domain=SPANS[0], row=1, col=1)
        figure.update_yaxes(title="places as written one by one", tickformat=".0%", range=[-0.05, 1.12], row=1, col=1)
        titles = {2: "tokens a forward", 3: "nats", 4: "whole lines parse"}
        for panel, title in titles.items():
            figure.update_xaxes(title=title, rangemode="tozero", domain=SPANS[panel - 1], row=1, col=panel)
            figure.update_yaxes(autorange="reversed", showticklabels=panel == 2, row=1, col=panel)
        figure.update_xaxes(range=[-0.05, 1.05], tickformat=".0%", row=1, col=4)
        words = _words(table, notes["rule"])
    figure.update_layout(
        title="Who fills most places a forward, and is the text any good?",
        meta={"words": words, "height": 360},
        legend={"x": 1, "y": 1.02},
    )
    return figure


def _letters(table: list[tuple]) -> list[str]:
    """The letter written at each point; points that lie on each other share one list, at the first of them."""
    spots: dict[tuple, list[int]] = {}
    for number, row in enumerate(table):
        spots.setdefault((round(row[2], 1), round(row[4], 1)), []).append(number)
    firsts = {same[0]: " ".join(LETTERS[number] for number in same) for same in spots.values()}
    return [firsts.get(number, "") for number in range(len(table))]


def _said(row: tuple) -> str:
    nats = "no text" if row[5] is None else f"{row[5]:.2f} nats a token, token entropy {row[6]:.2f}"
    parses = "" if row[7] is None else f"; {row[7]:.0%} of {row[8]} parse"
    speed = f"{row[2]:.2f} tokens a forward, {row[3]:.2f} with padding"
    return f"{escaped(row[0])}: {speed}; {row[4]:.0%} as one by one; {nats}{parses}"


def _words(table: list[tuple], rule: str) -> str:
    texts = f"{table[0][1]} texts"
    if all(row[0] != rule for row in table):
        return f"{texts} so far; the {rule} rule has not run yet."
    names = [escaped(name) for name in better(table, rule)]
    if not names:
        return f"{texts}: no policy is at least as quick as the {rule} rule and as true to the text written one by one."
    return f"{texts}: at least as quick as the {rule} rule, and as true to the text written one by one: {', '.join(names)}."
