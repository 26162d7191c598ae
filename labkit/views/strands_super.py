"""Superposed drafts: what every mixed embedding was made of, and the drafts that came out."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece

COLUMNS = ("draft", "step", "token", "share in the next mix", "ln p, the model alone")
LETTERS = 9  # of a token in a cell
NARROW = 0.1  # a share below it has no room for its token
FILLS = (("draft", "on-draft"), ("target", "on-target"), ("e4", "on-e4"), ("ghost", "ink"))  # by rank, then the last again


def strands(notes: dict) -> list[list[int]]:
    """The drafts that are alive at the last step, best first: their tokens."""
    rows, steps = notes["tokens"][1:], notes["steps"]
    found = [[token] for token in rows[-1]]
    at = list(range(len(found)))
    for row, step in zip(rows[-2::-1], steps[:0:-1]):
        at = [step["parents"][place] for place in at]
        found = [[row[place], *strand] for place, strand in zip(at, found)]
    return found


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """A row a token of every draft that is alive at the end: its share is the whole draft's at the last step shown."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    notes = shown[-1].notes
    own = notes.get("logprobs")
    return [
        (number + 1, place + 1, piece(trace, token), share, own[number][place] if own else None)
        for number, (strand, share) in enumerate(zip(strands(notes), notes["steps"][-1]["weights"]))
        for place, token in enumerate(strand)
    ]


def strands_super(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Above: each step's shares as a stacked bar with the token that went into the mix. Below: the drafts, token by token."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    figure.update_layout(
        title="Which drafts were written at once?",
        meta={"words": "Above, the parts of every mixed embedding; below, the drafts.", "height": 430},
        barmode="stack",
        bargap=0.08,
        showlegend=False,
        xaxis={"title": "new token", "anchor": "y2", "showgrid": False, "dtick": 1},
        yaxis={"domain": [0.5, 1], "range": [0, 1], "title": "share in the mix", "tickformat": ".0%"},
        yaxis2={"domain": [0, 0.44], "range": [3.5, 0.5], "title": "drafts", "showgrid": False},
    )
    shown = read.steps(trace, upto)
    if not shown:
        return figure
    notes = shown[-1].notes
    _bars(figure, trace, notes, ink)
    _cells(figure, rows(trace, upto), notes["of"], ink)
    count, steps, calls = len(notes["steps"][-1]["weights"]), notes["done"], notes["forwards"]
    words = f"{calls} forwards with the prompt's for {count} drafts of {steps} tokens. "
    words += "Above: what each mixed embedding is made of, best draft at the bottom. Below: the drafts, best on top"
    words += "; the stronger a colour, the less likely the token to the model alone." if "logprobs" in notes else "."
    after = "".join(label(piece(trace, token), 40) for token in notes["tokens"][0])
    figure.update_layout(
        meta={"words": words, "height": 330 + 32 * count},
        xaxis={"range": [0.5, notes["of"] + 0.5], "title": f"new token, behind {after}"},
    )
    return figure


def _bars(figure: go.Figure, trace: Trace, notes: dict, ink: dict[str, str]) -> None:
    """One series a rank: the shares of the drafts that had it, step by step."""
    tokens = notes["tokens"][1:]
    for rank in range(max(len(row) for row in tokens)):
        steps = [step for step, row in enumerate(tokens) if rank < len(row)]
        texts = [label(piece(trace, tokens[step][rank]), LETTERS) for step in steps]
        shares = [notes["steps"][step]["weights"][rank] for step in steps]
        fill, on = FILLS[min(rank, len(FILLS) - 1)]
        figure.add_bar(
            x=[step + 1 for step in steps],
            y=shares,
            name=f"draft {rank + 1}",
            text=[text if share >= NARROW else "" for text, share in zip(texts, shares)],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            constraintext="none",
            textfont={"family": themes.CODE_FONT, "size": 12, "color": ink[on]},
            marker={"color": ink[fill], "line": {"color": ink["paper"], "width": 1.5}},
            hovertext=[
                f"token {step + 1} of draft {rank + 1}: {text}<br>{share:.1%} of the mix"
                for step, text, share in zip(steps, texts, shares)
            ],
            hoverinfo="text",
        )


def _cells(figure: go.Figure, table: list[tuple], width: int, ink: dict[str, str]) -> None:
    """A box a token, coloured by its surprise in nats once the drafts were read."""
    drafts = max(row[0] for row in table)
    shapes, classes = [], {}
    for row in table:
        draft, place, _, _, logprob = row
        level = 0 if logprob is None else themes.entropy_class(-logprob)
        classes.setdefault(level, []).append(row)
        box = {"x0": place - 0.47, "x1": place + 0.47, "y0": draft - 0.42, "y1": draft + 0.42}
        line = {"color": ink["line"], "width": 1}
        shapes.append({"type": "rect", "yref": "y2", **box, "fillcolor": ink[f"e{level}"], "line": line, "layer": "below"})
    for level, members in sorted(classes.items()):
        texts = [label(row[2], LETTERS) for row in members]
        said = ["" if row[4] is None else f": p = {math.exp(row[4]):.3f} to the model alone" for row in members]
        figure.add_scatter(
            x=[row[1] for row in members],
            y=[row[0] for row in members],
            yaxis="y2",
            text=texts,
            mode="text",
            name=f"surprise class {level}",
            textfont={"family": themes.CODE_FONT, "size": 12, "color": ink[f"on-e{level}"]},
            hovertext=[text + more for text, more in zip(texts, said)],
            hoverinfo="text",
        )
    figure.update_layout(shapes=shapes, yaxis2={"tickvals": list(range(1, drafts + 1)), "range": [drafts + 0.5, 0.5]})
