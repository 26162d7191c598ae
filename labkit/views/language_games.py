"""The language games as they are played, by drafts that read their training text in three ways."""

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
    played = shown[-1].notes["games"] if shown else {}
    return [
        (who, game, right / items, *wilson(right, items), items)
        for who, of in played.items()
        for game, (right, items) in of.items()
    ]


def shares(ink: dict[str, str], table: list[tuple], noun: str = "") -> go.Figure:
    """Groups of bars, one bar a kind of training text; rows: (kind, group, share, low, high, how many, ...)."""
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
                hovertext=[f"{name}, {row[1]}: {row[2]:.0%} of {row[5]} {noun}".strip() for row in some],
                hoverinfo="text",
            )
    figure.update_layout(
        barmode="group",
        xaxis={"showgrid": False},
        yaxis={"title": "share right", "range": [0, 1.02], "tickformat": ".0%"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
    )
    return figure


def language_games(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Groups of bars, one a game, with the line of guessing."""
    ink, table, shown = themes.colours(theme), rows(trace, upto), read.steps(trace, upto)
    figure = shares(ink, table, "games")
    figure.add_hline(y=GUESSED, line={"color": ink["edge"], "width": 1.5, "dash": "dash"})
    figure.update_layout(
        title="Did the splits teach letters?",
        xaxis={"title": "which of four words …"},
        meta={"words": _words(shown[-1].notes["trained"] if shown else []), "height": 320},
    )
    return figure


def _words(trained: list[dict]) -> str:
    if not trained:
        return "Every step is a round of six games, about words that no lesson asked about; the dashed line is guessing."
    games = ", ".join(f"{one['arm']} {_mean(one):.1%}" for one in trained)
    price = ", ".join(f"{one['arm']} {one['text']['after']:.3f}" for one in trained)
    moved = ", ".join(f"{one['arm']} {one['moved']['after']:.2f}" for one in trained)
    many = sum(items for _, items in trained[0]["games"].values())
    return (
        f"Bars: the games played so far; dashed: guessing. Measured once over {many:,} games: {games}. Before the lessons plain "
        f"text cost {price} bits a byte (at first {trained[0]['text']['before']:.3f}), and another cut of a word moved the law "
        f"behind it by {moved} (at first {trained[0]['moved']['before']:.2f})."
    )


def _mean(one: dict) -> float:
    return sum(right for right, _ in one["games"].values()) / sum(items for _, items in one["games"].values())
