"""The newest question of each task: the word as its tokens, with the letter asked for lit."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label

COLUMNS = ("task", "word", "letter", "tokens", "right answer", "answer")


def lit(task: str, word: str, letter: str, gold: int) -> list[int]:
    """The places of the letters that a question is about."""
    if task == "count_unique":
        return [place for place, one in enumerate(word) if one not in word[:place]]
    return [gold] if task.startswith("find") else [place for place, one in enumerate(word) if one == letter]


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a task."""
    shown = read.steps(trace, upto)
    found = shown[-1].notes["latest"] if shown else {}
    return [
        (task, one["word"], one["letter"], "|".join(_pieces(one)), one["gold"], one["answer"]) for task, one in found.items()
    ]


def _pieces(one: dict) -> list[str]:
    pieces, at = [], 0
    for size in one["pieces"]:
        pieces.append(one["word"][at : at + size])
        at += size
    return pieces


def charbench_words(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A row of boxes a task, one a token; the letters that the answer hangs on are filled."""
    ink, shown = themes.colours(theme), read.steps(trace, upto)
    found = shown[-1].notes["latest"] if shown else {}
    figure = go.Figure(layout={"template": {}})
    tokens, letters, left, right = [], [], [], []
    for row, (task, one) in enumerate(found.items()):
        places = set(lit(task, one["word"], one["letter"], one["gold"]))
        letters += [(place, row, letter, place in places) for place, letter in enumerate(one["word"])]
        at = 0
        for size in one["pieces"]:
            tokens.append((at, row, size))
            at += size
        left.append(task + (f" “{label(one['letter'])}”" if one["letter"] else ""))
        said = "no number" if one["answer"] is None else one["answer"]
        right.append(f"✓ {said}" if one["answer"] == one["gold"] else f"✗ {said}, not {one['gold']}")
    if tokens:
        figure.add_bar(
            x=[size - 0.08 for _, _, size in tokens],
            y=[row for _, row, _ in tokens],
            base=[at + 0.04 for at, _, _ in tokens],
            orientation="h",
            width=0.72,
            name="tokens",
            marker={"color": ink["sunk"], "line": {"color": ink["edge"], "width": 1.5}},
            hoverinfo="skip",
        )
        bright = [one for one in letters if one[3]]
        figure.add_scatter(
            x=[place + 0.5 for place, *_ in bright],
            y=[row for _, row, *_ in bright],
            mode="markers",
            name="asked for",
            marker={"symbol": "square", "size": 20, "color": ink["target"], "line": {"color": ink["ink"], "width": 1}},
            hoverinfo="skip",
        )
        for lighted, colour in ((True, "on-target"), (False, "ink")):
            some = [one for one in letters if one[3] == lighted]
            figure.add_scatter(
                x=[place + 0.5 for place, *_ in some],
                y=[row for _, row, *_ in some],
                mode="text",
                name="lit letters" if lighted else "letters",
                text=[label(letter) for _, _, letter, _ in some],
                textfont={"family": themes.CODE_FONT, "size": 14, "color": ink[colour]},
                hoverinfo="skip",
            )
        words = themes.written(ink, right, "right", themes.UI_FONT)
        figure.add_scatter(x=[10.3] * len(right), y=list(range(len(right))), name="answers", **words)
    figure.update_layout(
        title="What was asked, and what does the model see?",
        showlegend=False,
        xaxis={"visible": False, "range": [0, 14.5]},
        yaxis={"tickvals": list(range(len(left))), "ticktext": left, "range": [3.6, -0.6], "showgrid": False},
        meta={"words": _words(shown[-1].notes if shown else {}), "height": 260},
    )
    return figure


def _words(notes: dict) -> str:
    if not notes:
        return "A box is a token: the model sees its number, not the letters in it."
    return f"The newest question of each task, answered by {notes['who']}. A box is a token: the model sees a number, no letters."
