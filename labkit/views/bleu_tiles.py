"""What BLEU counts: the n-grams of what the model wrote, and of what the file says, found in each other or not."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece

COLUMNS = ("order", "n-grams of the model's text", "that are in the file's", "precision")
TILE, HEAD, GAP = 0.84, 2.6, 0.4  # in rows: a tile, the tokens above, the room between the two texts


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row an order. Raises `KeyError` when the step has no such notes."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    notes = shown[-1].notes
    pairs = enumerate(zip(notes["windows"], notes["matches"]), 1)
    return [(n, windows, matches, matches / windows if windows else 0.0) for n, (windows, matches) in pairs]


def bleu_tiles(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Two rows of tokens; under each a tile for every n-gram, where it begins: filled when the other text has it too."""
    ink = themes.colours(theme)
    table, shown = rows(trace, upto), read.steps(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "Which n-grams does BLEU count?"})
    figure.update_layout(meta={"words": _words(shown[-1].notes if shown else {}), "height": 400}, showlegend=False)
    figure.update_layout(barmode="overlay", margin={"l": 96, "r": 8, "t": 40, "b": 8})
    hidden = {"showgrid": False, "zeroline": False, "showticklabels": False, "fixedrange": True}
    figure.update_layout(xaxis=hidden, yaxis={**hidden, "showticklabels": True, "autorange": "reversed"})
    if not table:
        return figure
    notes, top, ticks = shown[-1].notes, 0.0, {}
    blocks = [("model", notes["candidate"], notes["hits"], ink["draft"])]
    blocks += [("file", notes["reference"], notes["found"], ink["target"])]
    for who, tokens, grid, fill in blocks:
        texts = [piece(trace, token) for token in tokens]
        ticks[top + HEAD / 2] = f"<b>{who}</b>"
        for n, hits in enumerate(grid):
            ticks[top + HEAD + n + 0.5] = f"{n + 1}-grams {sum(hits)}/{len(hits)}"
        for place, text in enumerate(texts):
            font = {"family": themes.CODE_FONT, "size": 12, "color": ink["ink"]}
            where = {"x": place + 0.5, "y": top + HEAD, "xanchor": "center", "yanchor": "bottom", "textangle": -90}
            figure.add_annotation(text=label(text, 8), hovertext=label(text), showarrow=False, font=font, **where)
        for hit in (True, False):
            cells = [(n, place) for n, hits in enumerate(grid) for place, found in enumerate(hits) if found == hit]
            plain = {"color": fill, "line": {"color": ink["edge"], "width": 1}}
            figure.add_bar(
                x=[place + 0.5 for _, place in cells],
                y=[TILE] * len(cells),
                base=[top + HEAD + n + (1 - TILE) / 2 for n, _ in cells],
                width=TILE,
                marker=plain if hit else themes.hatched(ink["refuse"], ink["paper"]),
                hovertext=[f"{label(''.join(texts[place : place + n + 1]), 60)}: {_verdict(hit)}" for n, place in cells],
                hoverinfo="text",
            )
        top += HEAD + len(grid) + GAP
    figure.update_layout(yaxis={"tickvals": list(ticks), "ticktext": list(ticks.values()), "range": [top - GAP, 0]})
    return figure


def _verdict(hit: bool) -> str:
    return "the other text has it too" if hit else "not there, or not so often"


def _words(notes: dict) -> str:
    if not notes:
        return "A tile for every n-gram, where it begins; filled when the other text has it too."
    scores = notes["scores"]
    mean = sum(scores) / len(scores)
    return (
        "A tile for every n-gram, where it begins; filled when the other text has it too. BLEU of this pair "
        f"{notes['score']:.3f}, of {len(scores)} so far {mean:.3f} on average (smoothing: {notes['smoothing']})."
    )
