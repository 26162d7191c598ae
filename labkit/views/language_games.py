"""What training on other cuts was worth: the language games, by the shipped drafts that were trained in three ways."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.acceptance import wilson

COLUMNS = ("training text", "game", "share right", "low (95 % Wilson)", "high (95 % Wilson)", "items")
GUESSED = 1 / 4  # one word of four


def arms(ink: dict[str, str]) -> dict[str, dict]:
    """A bar's marker for each kind of training text, told by more than colour."""
    return {
        "plain": {"color": ink["ghost"], "line": {"color": ink["edge"], "width": 1}},
        "dropout": themes.hatched(ink["target-edge"], ink["target-tint"]) | {"line": {"color": ink["target-edge"], "width": 1}},
        "stochastok": {"color": ink["draft"], "line": {"color": ink["draft"], "width": 1}},
        "chosen model": themes.hatched(ink["here"], ink["paper"], "."),
    }


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a kind of training text and game."""
    shown = read.steps(trace, upto)
    trained = shown[-1].notes["trained"] if shown else []
    return [
        (one["arm"], game, right / items, *wilson(right, items), items)
        for one in trained
        for game, (right, items) in one["games"].items()
    ]


def language_games(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Groups of bars, one a game, with the line of guessing."""
    ink, table, shown = themes.colours(theme), rows(trace, upto), read.steps(trace, upto)
    figure = go.Figure(layout={"template": {}})
    for name, marker in arms(ink).items():
        some = [row for row in table if row[0] == name]
        if some:
            figure.add_bar(
                x=[row[1] for row in some],
                y=[row[2] for row in some],
                name=name,
                marker=marker,
                error_y=themes.whiskers(ink, ((row[3], row[2], row[4]) for row in some)),
                hovertext=[f"{name}, {row[1]}: {row[2]:.0%} of {row[5]} games" for row in some],
                hoverinfo="text",
            )
    figure.add_hline(y=GUESSED, line={"color": ink["edge"], "width": 1.5, "dash": "dash"})
    figure.update_layout(
        title="Did the splits teach letters?",
        barmode="group",
        xaxis={"title": "which of four words …", "showgrid": False},
        yaxis={"title": "share right", "range": [0, 1.02], "tickformat": ".0%"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        meta={"words": _words(shown[-1].notes["trained"] if shown else []), "height": 320},
    )
    return figure


def _words(trained: list[dict]) -> str:
    if not trained:
        return "Measured once by `labkit train letters`, on words that training never asked about; the dashed line is guessing."
    games = ", ".join(f"{one['arm']} {_mean(one):.0%}" for one in trained)
    price = ", ".join(f"{one['arm']} {one['text']['after']:.3f}" for one in trained)
    moved = ", ".join(f"{one['arm']} {one['moved']['after']:.2f}" for one in trained)
    return (
        f"Shipped drafts after three kinds of training text and the same lessons; words never asked about. All games: {games}. "
        f"Plain text costs {price} bits a byte (before {trained[0]['text']['before']:.3f}); another cut of a word moves the law "
        f"behind it by {moved} (before {trained[0]['moved']['before']:.2f})."
    )


def _mean(one: dict) -> float:
    return sum(right for right, _ in one["games"].values()) / sum(items for _, items in one["games"].values())
