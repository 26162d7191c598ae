"""Alpha request by request: a draft that learns while it serves, beside the same draft frozen."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.turns import SMOOTH, mark_topics, running

COLUMNS = ("turn", "topic", "learning", "frozen", "learning, running mean", "frozen, running mean", "updated after it")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a turn: a request of a study, or a round of a single run.

    In a single run the frozen draft is measured at every update, over all places tested since the one before.

    Alpha is the mean chance of acceptance over the places tested in that turn (None where none was): the sum of min(p, q), at
    temperature 0 simply 1 or 0. The running means begin anew where the topic changes.
    """
    steps = read.steps(trace, upto)
    notes = steps[-1].notes if steps else {}
    if "learning alpha" in notes:
        topics = [notes["topics"][topic] for topic in notes["topic"]]
        mine, frozen = notes["learning alpha"], notes["frozen alpha"]
        updated = [loss is not None for loss in notes["loss"]]
    else:
        turns = [step.notes for step in steps if "agreements" in step.notes]
        mine = [sum(turn["agreements"]) / len(turn["agreements"]) if turn["agreements"] else None for turn in turns]
        topics, frozen = [""] * len(mine), [turn.get("frozen alpha") for turn in turns]
        updated = ["loss" in turn for turn in turns]
    means = running(mine, topics), running(frozen, topics)
    return list(zip(range(1, len(mine) + 1), topics, mine, frozen, *means, updated))


def running_alpha(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A dot a turn and the running mean; the frozen draft dashed, the change of topic as a line, updates as triangles."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    turns, topics = [row[0] for row in table], [row[1] for row in table]
    figure = go.Figure(layout={"template": {}})
    for name, dots, line, colour, dash in (
        ("frozen", 3, 5, ink["ink-3"], "6px,4px"),
        ("learning", 2, 4, ink["draft"], "solid"),
    ):
        if any(row[dots] is not None for row in table):
            hover = [f"turn {row[0]}: alpha {row[dots]:.3f}, {name}" if row[dots] is not None else "" for row in table]
            figure.add_scatter(
                x=turns,
                y=[row[dots] for row in table],
                mode="markers",
                marker={"color": colour, "size": 5, "opacity": 0.45},
                showlegend=False,
                hovertext=hover,
                hoverinfo="text",
            )
            figure.add_scatter(
                x=turns,
                y=[row[line] for row in table],
                mode="lines",
                name=f"{name}, mean of the last {SMOOTH}",
                line={"color": colour, "width": 2.5, "dash": dash},
                hoverinfo="skip",
            )
    if updated := [row[0] for row in table if row[6]]:
        figure.add_scatter(
            x=updated,
            y=[0.02] * len(updated),
            mode="markers",
            name="update",
            marker={"symbol": "triangle-up", "size": 7, "color": ink["ink-2"]},
            hovertext=[f"the draft learned after turn {turn}" for turn in updated],
            hoverinfo="text",
        )
    mark_topics(figure, topics, ink)
    figure.update_layout(
        title="Does the draft get better while it serves?",
        meta={"words": words(table), "height": 320},
        xaxis={"title": "request" if any(topics) else "round", "rangemode": "tozero"},
        yaxis={"title": "alpha", "range": [0, 1.02]},
    )
    return figure


def words(table: list[tuple]) -> str:
    """The sentence under the picture."""
    if not table or table[-1][4] is None:
        return "Alpha is the chance that a drafted token is accepted: the sum of min(p, q), at temperature 0 the share accepted."
    last, mine, frozen = table[-1][0], table[-1][4], table[-1][5]
    turns = "requests" if table[-1][1] else "rounds"
    beside = "" if frozen is None else f", {frozen:.2f} with the frozen one"
    return f"After {last} {turns}: alpha {mine:.2f} with the draft that learns{beside} (mean of the last {SMOOTH})."
