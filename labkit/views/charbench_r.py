"""Which property of a word goes along with a right answer: Pearson's r, a task a row."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("task", "property", "r")
STRONG = 0.6  # |r| from which on the colour does not change
MEANS = {
    "WL": "letters",
    "GT": "right answer",
    "GT/WL": "answer by letters",
    "NT": "tokens",
    "CR": "letters a token",
    "TTL": "letters in the hiding token",
}


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a task and property; r is None where one of the two does not vary."""
    shown = read.steps(trace, upto)
    found = shown[-1].notes["r"] if shown else {}
    return [(task, name, r) for task, of in found.items() for name, r in of.items()]


def charbench_r(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A heat map: below zero = more of it, fewer right answers."""
    ink, shown = themes.colours(theme), read.steps(trace, upto)
    notes = shown[-1].notes if shown else {}
    figure = go.Figure(layout={"template": {}})
    figure.update_layout(title="What goes along with a right answer?", meta={"words": _words(notes), "height": 280})
    if not notes:
        return figure
    tasks, names = list(notes["r"]), notes["properties"]
    grid = [[notes["r"][task][name] for name in names] for task in tasks]
    said = [["not asked, or never varies" if r is None else f"r = {r:.3f}" for r in of] for of in grid]
    hover = [[f"{task}, {MEANS[name]}: {r}" for name, r in zip(names, of)] for task, of in zip(tasks, said)]
    figure.add_heatmap(
        x=names,
        y=tasks,
        z=grid,
        zmin=-STRONG,
        zmax=STRONG,
        colorscale=[[0, ink["refuse"]], [0.5, ink["paper"]], [1, ink["draft"]]],
        colorbar={"title": {"text": "r", "side": "top"}, "thickness": 12, "outlinewidth": 0},
        xgap=2,
        ygap=2,
        hoverongaps=False,
        hovertext=hover,
        hoverinfo="text",
        text=[["" if r is None else f"{r:+.2f}" for r in of] for of in grid],
        texttemplate="%{text}",
        textfont={"color": ink["ink"], "size": 13},
        name="r",
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(showgrid=False, tickangle=0)
    return figure


def _words(notes: dict) -> str:
    if not notes:
        return "Pearson's r of being right with a property of the word."
    items, exam = len(notes["table"]), notes["exam"]
    named = ", ".join(f"{name} {MEANS[name]}" for name in notes["properties"])
    known = ", ".join(f"{name} {exam['r'][name]:+.2f}" for name in ("WL", "NT", "TTL") if exam and exam["r"][name] is not None)
    measured = f" Measured once over {exam['items']:,} items of {notes['task']}: {known}." if known else ""
    return (
        f"{named}. {notes['who']}, {items} items a task so far: r within ±{2 / max(items, 1) ** 0.5:.2f} may be chance."
        f"{measured} The paper's large models: WL −0.19 to −0.38, NT about 0, TTL about −0.25 for the best one where a place is "
        f"asked for."
    )
