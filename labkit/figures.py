"""A saved trace into a figure: what `labkit view` draws. No model, no torch."""

from __future__ import annotations

from pathlib import Path

from labkit.errors import LabError
from labkit.trace import load
from labkit.views import careful, view


def draw(trace: str | Path, name: str = "", step: int | None = None):
    """The view `name` of a trace file up to `step`, as a plotly figure; "" = the strip, or a study's own first chart.

    Raises `TraceError` when the file is no trace, `LabError` when there is no such view or step.
    """
    shown = load(trace)
    name = name or ("strip" if shown.ids or not shown.opening.charts else shown.opening.charts[0])
    picture = view(name)
    if step is not None and not 0 <= step <= len(shown.steps):
        raise LabError(f"Step {step} is not in this trace: choose one from 0 to {len(shown.steps)}.")
    with careful(name):
        return picture(shown, upto=step)
