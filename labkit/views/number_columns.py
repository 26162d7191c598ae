"""One sum with its numbers cut into chunks, from the left and from the right, place under place."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

WAYS = {"l2r": "counted from the left", "r2l": "counted from the right"}
NAMES = {"a": "", "b": "+", "sum": "=", "said": "model"}
COLUMNS = ("counted", "row", "chunks", "from which place of the number")
HIGH = 0.8  # of a row


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a number and direction. Raises `KeyError` when the step has no such notes."""
    shown = read.steps(trace, upto)
    found = shown[-1].notes["shown"] if shown else {}
    return [
        (way, row, "|".join(chunks), " ".join(str(right) for right, _ in spans(chunks)))
        for way, numbers in found.items()
        for row, chunks in numbers.items()
    ]


def spans(chunks: list[str]) -> list[tuple[int, str]]:
    """Of every chunk the place of its last digit (0 = ones), and the chunk."""
    left = sum(map(len, chunks))
    found = []
    for chunk in chunks:
        left -= len(chunk)
        found.append((left, chunk))
    return found


def number_columns(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left and right the same sum; a box is a chunk, its tint says which chunk it is as the cutter counts."""
    ink, shown = themes.colours(theme), read.steps(trace, upto)
    titles = list(WAYS.values())
    figure = make_subplots(1, 2, horizontal_spacing=0.13, subplot_titles=titles, figure=go.Figure(layout={"template": {}}))
    figure.update_annotations(font={"size": 13, "color": ink["ink-2"]})
    figure.update_layout(title="Do the chunks stand in columns?", showlegend=False, barmode="overlay")
    found = shown[-1].notes["shown"] if shown else {}
    figure.update_layout(meta={"words": _words(found), "height": 280}, margin={"l": 48, "r": 8, "t": 66, "b": 8})
    for axis in ("xaxis", "xaxis2"):
        figure.update_layout({axis: {"showgrid": False, "showticklabels": False, "zeroline": False, "fixedrange": True}})
    for axis in ("yaxis", "yaxis2"):
        names = {"tickvals": list(range(len(NAMES))), "ticktext": list(NAMES.values()), "range": [len(NAMES) - 0.4, -0.6]}
        figure.update_layout({axis: {**names, "showgrid": False, "fixedrange": True, "tickfont": {"size": 14}}})
    if not found:
        return figure
    widest = max(len("".join(chunks)) for numbers in found.values() for chunks in numbers.values())
    for column, way in enumerate(WAYS, 1):
        for line, row in enumerate(NAMES):
            if row in found[way]:
                _number(figure, found[way][row], "".join(found[way]["sum"]) if row == "said" else None, way, line, column, ink)
        figure.update_layout({"xaxis" if column == 1 else "xaxis2": {"range": [widest + 0.1, -0.1]}})
    figure.add_hline(y=1.5, line={"color": ink["ink"], "width": 1.5})
    return figure


def _number(figure, chunks: list[str], due: str | None, way: str, line: int, column: int, ink: dict) -> None:
    """One number as boxes with digits; where `due` is given, digits that differ from it are hatched."""
    order = list(enumerate(spans(chunks) if way == "l2r" else spans(chunks)[::-1]))
    boxes = {"orientation": "h", "width": HIGH, "row": 1, "col": column, "hoverinfo": "text"}
    figure.add_bar(
        y=[line] * len(order),
        x=[len(chunk) - 0.08 for _, (_, chunk) in order],
        base=[right + 0.04 for _, (right, _) in order],
        marker={
            "color": [ink[("draft-tint", "target-tint", "sunk", "refuse-tint")[turn % 4]] for turn, _ in order],
            "line": {"color": ink["edge"], "width": 1},
        },
        hovertext=[f"{chunk}, ending at the place of {10**right:,}" for _, (right, chunk) in order],
        **boxes,
    )
    digits = "".join(chunks)
    if due is not None:
        aligned = zip(digits[::-1].ljust(len(due), " "), due[::-1].ljust(len(digits), " "))
        wrong = [place for place, (one, other) in enumerate(aligned) if one != other]
        if wrong:
            marker = themes.hatched(ink["refuse"], ink["paper"])
            said = [f"wrong: {digits[::-1][place] if place < len(digits) else 'nothing'}" for place in wrong]
            size = {"x": [0.84] * len(wrong), "base": [place + 0.08 for place in wrong]}
            figure.add_bar(y=[line] * len(wrong), marker=marker, hovertext=said, **size, **boxes)
    figure.add_scatter(
        x=[len(digits) - place - 0.5 for place in range(len(digits))],
        y=[line] * len(digits),
        text=[f"<b>{digit}</b>" for digit in digits],
        mode="text",
        textfont={"family": themes.CODE_FONT, "size": 17, "color": ink["ink"]},
        hoverinfo="skip",
        row=1,
        col=column,
    )


def _words(found: dict) -> str:
    if not found:
        return "The same sum twice; a box is a chunk, which a model reads as one token."
    lengths = [len("".join(found["l2r"][row])) for row in ("a", "b", "sum")]
    if lengths[2] > max(lengths[:2]):
        said = "the sum is a digit longer than its addends: counted from the left, all its chunks are shifted against theirs"
    else:
        said = "the sum is as long as the longer addend"
    verdicts = []
    for way, name in WAYS.items():
        if "said" in found[way]:
            verdicts.append(f"{'right' if found[way]['said'] == found[way]['sum'] else 'wrong'} {name}")
    return f"Here {said}. The answer is {', '.join(verdicts)}. Hatched: wrong digits."
