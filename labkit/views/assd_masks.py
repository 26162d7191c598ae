"""The two masks of ASSD as grids: who sees whom while it drafts, and while it checks."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Step, Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import cut, label

COLUMNS = ("pass", "row", "place", "token", "sees places")
IDLE, BLIND, KNOWN, DRAFTED = 0, 1, 2, 3  # a row nobody reads; a place that is not seen; seen and decided; seen and drafted
MEANING = ("not computed: nobody reads this row", "not seen", "seen: decided", "seen: drafted in this round")
PASSES = ("draft", "check")


def cells(ranks: list[int], known: int, asked: int, checking: bool) -> list[list[int]]:
    """The mask between the places with these `ranks`: rows are their tokens, then their questions; columns their tokens.

    Up to rank `known` all is decided, the next `asked` are drafted. While drafting, nobody sees what is not decided.
    """
    last = known + asked
    fed = last - 1 if checking else known  # the highest rank whose token somebody sees

    def row(rank: int, question: bool) -> list[int]:
        if not (known < rank <= last if question else rank <= fed):
            return [IDLE] * len(ranks)
        bound = min(rank - question, fed)
        return [BLIND if other > bound else KNOWN if other <= known else DRAFTED for other in ranks]

    return [row(rank, False) for rank in ranks] + [row(rank, True) for rank in ranks]


def _round(trace: Trace, upto: int | None) -> tuple[Step, dict[int, str]] | None:
    """The last round that was checked (or the last step), and the text standing at each place while it was."""
    shown = read.steps(trace, upto)
    if not shown:
        return None
    number = max((n for n, step in enumerate(shown) if step.tree), default=len(shown) - 1)
    step, pieces = shown[number], trace.pieces
    prompt = trace.opening.prompt_ids
    ids = {place - len(prompt): token for place, token in enumerate(prompt)}
    for earlier in shown[:number]:
        ids |= dict(zip(earlier.at or [], earlier.emitted))
    window = step.notes["window"]
    drafts = step.tree.tokens if step.tree else []
    ranks = {rank: place for place, rank in zip(window["places"], window["ranks"])}
    ids |= {ranks[rank]: token for rank, token in enumerate(drafts, step.notes["known"] + 1) if rank in ranks}
    return step, {place: pieces.get(ids[place], "") if place in ids else "" for place in window["places"]}


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a token and one a question, of either pass: where it stands and which places it sees."""
    found = _round(trace, upto)
    if found is None:
        return []
    step, texts = found
    places, table = step.notes["window"]["places"], []
    for name, grid in zip(PASSES, _grids(step)):
        for number, row in enumerate(grid):
            place = places[number % len(places)]
            kind = "token" if number < len(places) else "question"
            sees = [str(other) for other, cell in zip(places, row) if cell in (KNOWN, DRAFTED)]
            table.append((name, kind, place, texts[place], " ".join(sees)))
    return table


def _grids(step: Step) -> list[list[list[int]]]:
    window, notes = step.notes["window"], step.notes
    return [cells(window["ranks"], notes["known"], notes["asked"], checking) for checking in (False, True)]


def assd_masks(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Two grids over the places around the last checked round: rows see columns."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, horizontal_spacing=0.05, figure=go.Figure(layout={"template": {}}))
    words = "Rows: above the tokens, below the questions. Columns: the tokens they see. Every question also sees itself."
    found = _round(trace, upto)
    if found:
        step, texts = found
        places = step.notes["window"]["places"]
        fills = [ink["sunk"], ink["paper"], ink["draft"], ink["target"]]
        scale = [[edge / 4, fill] for number, fill in enumerate(fills) for edge in (number, number + 1)]
        names = [cut(texts[place], 8) if texts[place] else "?" for place in places]
        for column, (name, grid) in enumerate(zip(PASSES, _grids(step)), 1):
            hover = []
            for number, row in enumerate(grid):
                kind = "token" if number < len(places) else "question"
                who = f"{name}: {kind} at place {places[number % len(places)]}"
                hover.append([f"{who}, {label(texts[at] or '?')} at {at}<br>{MEANING[cell]}" for at, cell in zip(places, row)])
            style = {"zmin": -0.5, "zmax": 3.5, "colorscale": scale, "showscale": False, "xgap": 1, "ygap": 1}
            figure.add_heatmap(z=grid, hovertext=hover, hoverinfo="text", name=name, row=1, col=column, **style)
            axis = {"title": f"{name} pass: tokens seen", "tickvals": list(range(len(places)))}
            axis |= {"ticktext": [label(text) for text in names], "tickangle": -60, "tickfont": {"size": 10}}
            axis["showgrid"] = False
            figure.update_xaxes(axis, row=1, col=column)
            halves = {"tickvals": [len(places) / 2 - 0.5, 1.5 * len(places) - 0.5], "ticktext": ["tokens", "questions"]}
            side = {"autorange": "reversed", "tickangle": -90, "showgrid": False, "showticklabels": column == 1}
            figure.update_yaxes({**halves, **side}, row=1, col=column)
            middle = {"color": ink["ink"], "width": 1.5}
            across = {"x0": -0.5, "x1": len(places) - 0.5, "y0": len(places) - 0.5, "y1": len(places) - 0.5}
            figure.add_shape(type="line", line=middle, row=1, col=column, **across)
        words = "Rows see columns. Blue: decided. Orange: drafted in this round, seen only while checking. Grey: not computed."
    figure.update_layout(title="One network, two masks: guess, then check", meta={"words": words, "height": 330})
    return figure
