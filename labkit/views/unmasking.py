"""What the pictures of masked diffusion share: the text filled so far, where it ends, and a mark for each reason."""

from __future__ import annotations

from typing import Any

from labkit.trace import Trace
from labkit.views import read
from labkit.views.text import label, piece

# why a place became final: the mark's shape, its colour, and what the legend says
REASONS = {
    "sure": ("circle", "draft", "sure"),
    "best": ("diamond", "target", "best of the unsure"),
    "near an anchor": ("triangle-up", "here", "near an anchor"),
    "settled": ("square", "refuse", "all settled"),
    "checked": ("star", "draft", "checked ahead"),
}


def final(trace: Trace, upto: int | None = None) -> dict[int, int]:
    """Tokens by place (from 0, behind the prompt) that are final after `upto` rounds."""
    return {place: token for step in read.steps(trace, upto) for place, token in zip(step.at or (), step.emitted)}


def room(trace: Trace) -> int:
    """Places there are to fill."""
    return trace.opening.request.max_new_tokens


def ending(trace: Trace, upto: int | None = None) -> int | None:
    """The first place known to be an end of text."""
    shown = read.steps(trace, upto)
    if not shown:
        return None
    end = shown[-1].notes["end"]
    return min((place for place, token in final(trace, upto).items() if token == end), default=None)


def names(trace: Trace, tokens: list[int], room: int = 16) -> list[str]:
    """The tokens' texts, safe to draw."""
    return [label(piece(trace, token), room) for token in tokens]


def mark(ink: dict[str, str], reason: str, size: float) -> dict[str, Any]:
    """The plotly marker of a reason."""
    shape, colour, _ = REASONS[reason]
    return {"symbol": shape, "color": ink[colour], "size": size, "line": {"color": ink["paper"], "width": 1}}
