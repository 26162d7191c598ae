"""The views of early exits say what their traces say."""

from __future__ import annotations

import re
from statistics import median

import pytest

from labkit import views
from labkit.models import load
from labkit.trace import Trace
from labkit.views import table, theme
from labkit.views.lens import LETTERS, PLACES
from labkit.views.text import label

PROMPT = '"""Queues for <b>tasks</b> & $more$."""\n\n\nclass Queue:\n    def __init__(self, items=None):\n'


@pytest.fixture(scope="module")
def run(traced):
    pair = load("lab-exits", "none", "cpu", "float32")
    return traced(pair, "del", prompt=PROMPT, max_new_tokens=40)


@pytest.fixture(scope="module")
def study(traced, shipped32):
    return traced(shipped32, "exits", prompt="x", knobs={"texts": 3, "tokens": 16, "longest": 4})


def named(figure):
    return {trace.name: trace for trace in figure.data}


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("upto", [None, 4])
def test_the_lens(run, look, upto):
    steps = run.steps[:upto]
    places = [
        (token, [row[slot] for row in step.notes["tokens"]], step.notes["exit"] if slot < len(step.tree.tokens) else None)
        for step in steps
        for slot, token in enumerate(step.emitted)
    ]
    first = max(0, len(places) - PLACES) + 1
    figure = views.VIEWS["lens"](run, upto, theme=look)
    same = named(figure)["the same token"]
    assert list(same.x) == list(range(first, len(places) + 1)) and list(same.y) == list(range(1, 9))
    for layer, line in enumerate(same.z):
        assert list(line) == [int(said[layer] == token) for token, said, _ in places[-PLACES:]]
    assert set(same.z[7]) == {1}, "at temperature 0 the last layer's token is the text's own"
    ink = theme.colours(look)
    assert same.colorscale[1][1] == ink["draft"]
    cells = [named(figure)[name] for name in ("right", "another")]
    written = {(x, y): text for cell in cells for x, y, text in zip(cell.x, cell.y, cell.text)}
    assert written == {
        (place, layer): label(run.pieces[shadow], LETTERS)
        for place, (_, said, _) in list(enumerate(places, 1))[-PLACES:]
        for layer, shadow in enumerate(said, 1)
    }
    frames = {((shape.x0 + shape.x1) / 2, (shape.y0 + shape.y1) / 2) for shape in figure.layout.shapes}
    drafted = {(place, exit) for place, (_, _, exit) in enumerate(places, 1) if exit and place >= first}
    assert {(round(x), round(y)) for x, y in frames} == drafted
    assert upto or drafted
    assert list(figure.layout.xaxis.ticktext) == [label(run.pieces[token], LETTERS) for token, _, _ in places[-PLACES:]]


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("upto", [None, 1, 5])
def test_the_choice(run, look, upto):
    notes = run.steps[:upto][-1].notes
    figure = views.VIEWS["exit_choice"](run, upto, theme=look)
    parts = named(figure)
    assert list(parts["acceptance"].x) == notes["acceptance"] and list(parts["acceptance"].y) == list(range(1, 9))
    assert [list(line) for line in parts["tokens per layer"].z] == notes["tpl"]
    assert (parts["chosen"].x[0], parts["chosen"].y[0]) == (notes["length"], notes["exit"])
    best = max(value for line in notes["tpl"] for value in line)
    words = figure.layout.meta["words"]
    assert (f"{best:.3f}" in words) if notes["length"] else ("no draft" in words)
    chosen = [row for row in table.table("exit_choice", run, upto).rows if row[4]]
    assert [(row[0], row[2], row[3]) for row in chosen] == [(notes["exit"], notes["length"], best)]


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("upto", [None, 1])
def test_the_pairs(study, look, upto):
    texts = study.steps[:upto][-1].notes["texts"]
    assert len(texts) == (upto or 3)
    tokens = sum(text["tokens"] for text in texts)
    costs = {
        (layer, length): sum(text["fixed"][layer - 1][length - 1] for text in texts) / tokens
        for layer in range(1, 8)
        for length in range(1, 5)
    }
    figure = views.VIEWS["exit_pairs"](study, upto, theme=look)
    parts = named(figure)
    assert [list(line) for line in parts["fixed pairs"].z] == [[costs[l, d] for d in range(1, 5)] for l in range(1, 8)]  # noqa: E741
    best = parts["best pair"].y[0], parts["best pair"].x[0]
    assert costs[best] == min(costs.values())
    layer, length = best
    assert list(parts["texts"].x) == [text["fixed"][layer - 1][length - 1] / text["tokens"] for text in texts]
    assert list(parts["texts"].y) == [text["DEL"] / text["tokens"] for text in texts]
    ours = sum(text["DEL"] for text in texts) / tokens
    beaten = sum(cost > ours for cost in costs.values())
    words = figure.layout.meta["words"]
    numbers = [ours, min(costs.values()), median(costs.values())]
    assert re.findall(r"\d+\.\d\d", words)[:3] == [f"{number:.2f}" for number in numbers]
    assert f"DEL beats {beaten} of 28 pairs" in words
    hover = parts["fixed pairs"].hovertext[layer - 1][length - 1]
    calls = sum(text["fixed"][layer - 1][length - 1] for text in texts) / (layer * length + 8)
    assert hover.endswith(f"{costs[best]:.2f} layers a token, {tokens / calls:.2f} tokens a target call")
    assert f"{texts[0]['tokens'] / texts[0]['rounds']:.2f} tokens a target call" in parts["texts"].hovertext[0]
    afterwards = sum(min(min(line) for line in text["fixed"]) for text in texts) / tokens
    assert words.endswith(f"comes to {afterwards:.2f}.")


@pytest.mark.parametrize("name", ["lens", "exit_choice", "exit_pairs"])
def test_before_the_first_step(run, name):
    figure = views.VIEWS[name](Trace(run.opening))
    assert figure.layout.title.text and not figure.data
    assert not table.table(name, Trace(run.opening)).rows
