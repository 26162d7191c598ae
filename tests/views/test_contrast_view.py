"""The contrast chart says what the trace says: three laws aligned, and the gate along the text."""

from __future__ import annotations

import pytest

from labkit.run import run
from labkit.tasks import kit
from labkit.trace import Request, Trace
from labkit.views import contrast, view


@pytest.fixture(scope="module")
def traced(shipped32):
    events = run(shipped32, Request(method="uscd", prompt=kit("whole")[3].prompt, max_new_tokens=16))
    trace = Trace(next(events))
    for event in events:
        trace.add(event)
    assert {step.notes["open"] for step in trace.steps} == {True, False}
    return trace


def drawn(figure, name):
    return next((part for part in figure.data if part.name == name), None)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_says_what_the_trace_says(traced, theme):
    for upto, step in enumerate(traced.steps, 1):
        figure = view("contrast")(traced, upto, theme=theme)
        shown = drawn(figure, "result").x
        assert list(shown[:8]) == step.notes["result"][:8]
        assert list(drawn(figure, "P: with the examples").x[:8]) == step.notes["P"][:8]
        other = drawn(figure, "P': without them")
        assert (other is not None) == step.notes["open"]
        if other:
            assert list(other.x[:8]) == step.notes["P'"][:8]
        assert sum(name.startswith("▸") for name in figure.layout.yaxis.ticktext) == 1
        opened = [number for number, past in enumerate(traced.steps[:upto], 1) if past.notes["open"]]
        assert list(drawn(figure, "gate open").x) == opened
        assert list(drawn(figure, "gate open").y) == [traced.steps[number - 1].notes["peaked"] for number in opened]
        assert len(drawn(figure, "gate shut").x) == upto - len(opened)
        assert f"opened at {len(opened)} of {upto} steps" in figure.layout.meta["words"]
        assert len(contrast.rows(traced, upto)) == len(step.notes["P"])


def test_before_the_first_step(traced):
    figure = view("contrast")(Trace(traced.opening))
    assert figure.layout.title.text and figure.layout.meta["words"].endswith(".") and contrast.rows(traced, 0) == []
