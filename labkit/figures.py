"""A saved trace into a picture file: what `labkit view` does. No model, no torch."""

from __future__ import annotations

from pathlib import Path

from labkit.errors import LabError
from labkit.trace import load
from labkit.views import VIEWS

FORMATS = (".html", ".png", ".svg")
WIDTH, HEIGHT = 1200, 640  # CSS pixels; a slide's width, and room for a legend
SHARPNESS = 2  # pixels of a PNG for one of those


def draw(trace: str | Path, name: str = "", step: int | None = None):
    """The view `name` ("" = the first) of a trace file up to `step`, as a plotly figure.

    Raises `TraceError` when the file is no trace, `LabError` when there is no such view or step.
    """
    shown = load(trace)
    name = name or next(iter(VIEWS))
    if name not in VIEWS:
        raise LabError(f"There is no view {name!r}: choose one of {', '.join(VIEWS)}.")
    if step is not None and not 0 <= step <= len(shown.steps):
        raise LabError(f"Step {step} is not in this trace: choose one from 0 to {len(shown.steps)}.")
    return VIEWS[name](shown, upto=step)


def save(figure, output: Path) -> None:
    """Write a plotly figure as HTML (opens with no network), PNG or SVG. Raises `LabError` when that cannot be done."""
    kind = output.suffix.lower()
    if kind not in FORMATS:
        raise LabError(f"{output.name!r} is no picture's name: choose one that ends in {', '.join(FORMATS)}.")
    try:
        if kind == ".html":
            figure.write_html(output, include_plotlyjs=True)
        else:
            figure.write_image(output, width=WIDTH, height=HEIGHT, scale=SHARPNESS if kind == ".png" else 1)
    except (ValueError, ImportError, RuntimeError) as missing:  # kaleido, or the browser that it draws with
        reason = next((line.strip(" .") for line in str(missing).splitlines() if line.strip()), "the exporter failed")
        raise LabError(f"No {kind[1:].upper()} can be drawn here ({reason}): write {output.stem}.html.") from None
    except OSError as refused:
        raise LabError(f"{str(output)!r} cannot be written ({refused.strerror}): choose another folder.") from None
