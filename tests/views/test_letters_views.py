"""The charts of StochasTok and CharBench say what their traces say."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from labkit.run import run
from labkit.trace import Request, Trace
from labkit.views import charbench_words, view
from labkit.views.table import table

TEXT = '# The word "strawberry" is cut into pieces.'
THEMES = ("light", "dark")


def trace_of(pair, method, **knobs):
    events = run(pair, Request(method=method, prompt=TEXT, knobs=knobs, max_new_tokens=4))
    trace = Trace(next(events))
    for event in events:
        trace.add(event)
    return trace


@pytest.fixture(scope="module")
def cut(shipped32):
    return trace_of(shipped32, "stochastok", p=0.3, draws=9)


@pytest.fixture(scope="module")
def benched(shipped32):
    return trace_of(shipped32, "charbench", each=2, longest=6)


def named(figure, name):
    return next((part for part in figure.data if part.name == name), None)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("upto", [1, 4, 9])
def test_segmentations(cut, theme, upto):
    figure, notes = view("segmentations")(cut, upto, theme=theme), cut.steps[upto - 1].notes
    for number, row in enumerate([notes["plain"], *notes["rows"]]):
        boxes = sorted((left, wide) for part in figure.data for left, wide, y in zip(part.base, part.x, part.y) if y == number)
        assert [wide for _, wide in boxes] == row["sizes"] and boxes[-1][0] + boxes[-1][1] == len(TEXT)
    names, plain = figure.layout.yaxis.ticktext, notes["plain"]
    assert names[0] == f"{len(plain['ids'])}, {plain['nats']:.0f}" and len(names) == min(upto, 7) + 1
    assert {y for y in named(figure, "its own cut").y} >= {0} and 0 not in named(figure, "other tokens").y


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("upto", [1, 4, 9])
def test_places_and_scores(cut, theme, upto):
    notes = cut.steps[upto - 1].notes
    figure = view("cut_places")(cut, upto, theme=theme)
    bars = dict(pair for part in figure.data for pair in zip(part.x, part.y))
    assert bars == {place: count / upto for place, count in enumerate(notes["begins"])}
    assert set(named(figure, "the tokenizer cuts here").x) == set(notes["plain"]["starts"])
    assert set(named(figure, "the tokenizer cuts here").y) == {1.0}, "a split takes no boundary away"
    figure = view("segmentation_scores")(cut, upto, theme=theme)
    others = named(figure, "other cuts")
    assert list(zip(others.x, others.y)) == [tuple(row[:2]) for row in notes["scores"]]
    assert named(figure, "the tokenizer's own").y == (notes["plain"]["nats"],)
    assert sum(figure.data[-1].y) == upto
    assert {line.x0 for line in figure.layout.shapes} == {len(notes["plain"]["ids"]), notes["bound"]}


@pytest.mark.parametrize("theme", THEMES)
def test_games_are_those_that_were_played(shipped32, theme):
    trace = trace_of(shipped32, "language-games", rounds=3)
    for upto, step in enumerate(trace.steps, 1):
        figure = view("language_games")(trace, upto, theme=theme)
        for who, of in step.notes["games"].items():
            bars = named(figure, who)
            assert dict(zip(bars.x, bars.y)) == {game: right / upto for game, (right, _) in of.items()}
        for one in step.notes["trained"]:
            assert f"{one['arm']} {one['text']['after']:.3f}" in figure.layout.meta["words"]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("upto", [1, 5, 8])
def test_the_bench(benched, theme, upto):
    notes = benched.steps[upto - 1].notes
    figure = view("charbench_tasks")(benched, upto, theme=theme)
    for who, of in notes["accuracy"].items():
        bars = named(figure, who)
        assert dict(zip(bars.x, bars.y)) == {task: right / items for task, (right, items) in of.items()}
    lines = [shape.y0 for shape in figure.layout.shapes]
    assert lines == [notes["constant"][task] / items for task, (_, items) in notes["accuracy"]["plain"].items()]
    figure = view("charbench_buckets")(benched, upto, theme=theme)
    for name, of in notes["buckets"].items():
        curve = named(figure, name)
        assert list(zip(curve.x, curve.y)) == [(value, share) for value, share, *_ in of]
        assert list(curve.error_y.array) == pytest.approx([error for _, _, error, _ in of])
    figure = view("charbench_r")(benched, upto, theme=theme)
    assert [list(row) for row in figure.data[0].z] == [list(of.values()) for of in notes["r"].values()]
    figure = view("charbench_words")(benched, upto, theme=theme)
    shown = list(notes["latest"].values())
    assert sum(figure.data[0].x) + 0.08 * len(figure.data[0].x) == pytest.approx(sum(len(one["word"]) for one in shown))
    written = Counter(letter for part in figure.data if "letters" in part.name for letter in part.text)
    assert written == Counter("".join(one["word"] for one in shown))
    for text, one in zip(named(figure, "answers").text, shown):
        said = "no number" if one["answer"] is None else str(one["answer"])
        assert text == (f"✓ {said}" if one["answer"] == one["gold"] else f"✗ {said}, not {one['gold']}")
    assert len(table("charbench_words", benched, upto).rows) == len(shown)


def test_the_letters_that_are_lit():
    assert charbench_words.lit("count_char", "banana", "a", 3) == [1, 3, 5]
    assert charbench_words.lit("count_unique", "banana", "", 3) == [0, 1, 2]
    assert charbench_words.lit("find_last", "banana", "n", 4) == [4]


@pytest.mark.parametrize("name", ["stochastok", "charbench"])
def test_before_the_first_step(cut, benched, name):
    opening = (cut if name == "stochastok" else benched).opening
    for chart in opening.charts:
        figure = view(chart)(Trace(opening))
        assert figure.layout.title.text and figure.layout.meta["words"].endswith(".")
        assert not math.isnan(figure.layout.meta["height"])
