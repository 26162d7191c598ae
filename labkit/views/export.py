"""Figures as files: a page that needs no network, or a picture."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go
import plotly.io

from labkit import chromium
from labkit.errors import LabError
from labkit.views import theme as themes

KINDS = (".html", ".png", ".svg")
SIZE = (1000, 420)  # pixels, for figures that name no size of their own


def write(figure: go.Figure, path: str | Path, theme: str = "light") -> Path:
    """Write `figure` to `path`: .html (whole, plotly.js inside), .png (twice the pixels) or .svg. Returns the path.

    Raises `LabError`: another ending, no browser to draw a picture with, or a folder that cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise LabError(f"{path.name!r} ends in {kind or 'nothing'}: choose a name that ends in {', '.join(KINDS)}.")
    dressed = go.Figure(figure).update_layout(template=themes.template(theme))
    try:
        if kind == ".html":
            path.write_text(_page(dressed, theme), encoding="utf-8")
        else:
            path.write_bytes(_picture(dressed, kind[1:]))
    except OSError as problem:
        raise LabError(f"{str(path)!r} cannot be written ({problem.strerror}): choose another place.") from None
    return path


def _page(figure: go.Figure, theme: str) -> str:
    ink = themes.colours(theme)
    body = plotly.io.to_html(
        figure, include_plotlyjs=True, include_mathjax=False, full_html=False, config={"displaylogo": False}
    )
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Token Lab</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"></head>'
        f'<body style="margin:0;background:{ink["paper"]}">{body}</body></html>\n'
    )


def browser() -> str:
    """The program that draws pictures: `LABKIT_CHROMIUM`, or the first on the path. Raises `LabError` without one."""
    found = chromium.find()
    if found is None:
        raise LabError(
            "A PNG or SVG needs Chromium, and none was found: install it, set LABKIT_CHROMIUM, or write an .html file."
        )
    return found


def _picture(figure: go.Figure, kind: str) -> bytes:
    program = browser()
    import kaleido  # only pictures need it

    wide, high = figure.layout.width or SIZE[0], figure.layout.height or SIZE[1]
    options = {"format": kind, "width": wide, "height": high, "scale": 2 if kind == "png" else 1}
    try:
        return kaleido.calc_fig_sync(figure.to_dict(), opts=options, kopts={"path": program, "mathjax": False})
    except Exception as problem:  # the browser may die in as many ways as there are machines
        raise LabError(
            f"Chromium ({program}) could not draw the picture ({type(problem).__name__}): write an .html file."
        ) from problem
