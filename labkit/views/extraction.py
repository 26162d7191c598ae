"""How often exact extraction and greedy decoding are right, by the number of examples in the prompt."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.acceptance import wilson

COLUMNS = ("decoder", "form", "examples", "questions", "right", "low (95 % Wilson)", "high (95 % Wilson)", "mean F1")
FORMS = {"value": "a form it was trained on: “assert name ==”", "import": "a form it was not: “from module import”"}
LOOKS = (("draft", "circle", "solid", -0.08), ("target-edge", "square", "dash", 0.0), ("refuse", "x", "dot", 0.08))


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a decoder, form and number of examples: questions, how many right, the share's interval, mean F1."""
    notes = _notes(trace, upto)
    return [
        (name, result["kind"], result["examples"], asked, right, *wilson(right, asked), result[f"F1 {number}"] / asked)
        for number, name in enumerate(notes.get("decoders", []))
        for result in notes["results"]
        if (asked := result.get("questions", 0))
        for right in (result[f"right {number}"],)
    ]


def extraction(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """The share of right answers against the examples shown; left the form that the model knows, right the other."""
    ink = themes.colours(theme)
    figure = make_subplots(1, 2, horizontal_spacing=0.06, shared_yaxes=True, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(title="How optimal is greedy decoding?", meta={"words": _words(trace, upto), "height": 330})
    figure.update_layout(yaxis={"title": "share right", "range": [0, 1.02]}, yaxis2={"range": [0, 1.02]})
    for axis, words in zip(("xaxis", "xaxis2"), FORMS.values()):
        title = f"examples in the prompt; {words}"
        figure.update_layout({axis: {"title": title, "tickvals": [0, 1, 2, 4], "range": [-0.4, 4.4]}})
    table = rows(trace, upto)
    for column, form in enumerate(FORMS, 1):
        for name, (colour, symbol, dash, aside) in zip(dict.fromkeys(row[0] for row in table), LOOKS):
            shown = [row for row in table if row[:2] == (name, form)]
            shares = [right / asked for _, _, _, asked, right, *_ in shown]
            figure.add_scatter(
                x=[row[2] + aside for row in shown],
                y=shares,
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [row[6] - share for row, share in zip(shown, shares)],
                    "arrayminus": [share - row[5] for row, share in zip(shown, shares)],
                    "color": ink[colour],
                    "thickness": 1.5,
                    "width": 4,
                },
                mode="lines+markers",
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                line={"color": ink[colour], "dash": dash, "width": 2},
                marker={"color": ink[colour], "symbol": symbol, "size": 10},
                hovertext=[f"{name}, {row[2]} examples: {row[4]} of {row[3]} right, F1 {row[7]:.2f}" for row in shown],
                hoverinfo="text",
                row=1,
                col=column,
            )
    return figure


def _notes(trace: Trace, upto: int | None) -> dict:
    shown = read.steps(trace, upto)
    return shown[-1].notes if shown else {}


def _words(trace: Trace, upto: int | None) -> str:
    """How many are right without examples, and how often free greedy wrote a span at all."""
    notes = _notes(trace, upto)
    plain = [result for result in notes.get("results", []) if result["examples"] == 0 and result.get("questions")]
    if not plain:
        return "Whiskers: 95 % Wilson."
    asked = sum(result["questions"] for result in plain)
    right = [f"{name} {sum(result[f'right {n}'] for result in plain)}" for n, name in enumerate(notes["decoders"])]
    spans, best = (sum(result[key] for result in plain) for key in ("spans", "best"))
    said = f"its answer was a span {spans} times, the most probable one {best} times"
    return f"Without examples, right of {asked}: {', '.join(right)}. Free greedy: {said}. Whiskers: 95 % Wilson."
