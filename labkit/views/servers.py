"""What the charts of serving share: the looks of the three schedulers, and the notes of the last step shown."""

from __future__ import annotations

from typing import Any

from labkit.trace import Trace
from labkit.views import read

LINES = {  # told by dash and marker too
    "request-level": ("ink-3", "dash", "square"),
    "prefill first": ("refuse", "dot", "diamond"),
    "SARATHI": ("draft", "solid", "circle"),
}


def last(trace: Trace, upto: int | None) -> dict[str, Any]:
    """The notes of the last step shown; {} before the first."""
    shown = read.steps(trace, upto)
    return shown[-1].notes if shown else {}


def line(ink: dict[str, str], policy: str) -> dict[str, Any]:
    """How the curve of a scheduler is drawn."""
    colour, dash, marker = LINES[policy]
    look = {"color": ink[colour], "symbol": marker, "size": 8}
    return {"line": {"color": ink[colour], "dash": dash, "width": 2.5}, "marker": look}


def yet(notes: dict[str, Any]) -> str:
    """What is said while there is nothing to draw."""
    if "doing" in notes:
        return f"{notes['doing'].capitalize()}: {notes['done']} of {notes['of']} sizes of a batch."
    return "Nothing has happened yet."
