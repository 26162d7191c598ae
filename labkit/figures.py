"""A saved trace into a figure: what `labkit view` draws. No model, no torch."""

from __future__ import annotations

from pathlib import Path

from labkit.errors import LabError
from labkit.trace import load
from labkit.views import VIEWS, view


def draw(trace: str | Path, name: str = "", step: int | None = None):
    """The view `name` ("" = the first) of a trace file up to `step`, as a plotly figure.

    Raises `TraceError` when the file is no trace, `LabError` when there is no such view or step.
    """
    shown = load(trace)
    picture = view(name or next(iter(VIEWS)))
    if step is not None and not 0 <= step <= len(shown.steps):
        raise LabError(f"Step {step} is not in this trace: choose one from 0 to {len(shown.steps)}.")
    return picture(shown, upto=step)
