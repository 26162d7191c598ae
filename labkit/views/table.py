"""Every view's content as a table: for those who cannot see the picture, and for a spreadsheet."""

from __future__ import annotations

import csv
import importlib
import io
from typing import Any, NamedTuple

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import careful, view
from labkit.views.text import shown


class Table(NamedTuple):
    """Column names and rows; numbers stay numbers, token text is shown with its whitespace visible."""

    columns: tuple[str, ...]
    rows: list[tuple]


def table(name: str, trace: Trace, upto: int | None = None, **options: Any) -> Table:
    """What view `name` draws, as a table: its module's own, or the figure's numbers. Raises `LabError` on an unknown view, and as
    `views.careful` does."""
    module = importlib.import_module(view(name).__module__)
    with careful(name):
        if not hasattr(module, "rows"):
            return of_figure(view(name)(trace, upto, **options))
        rows = module.rows(trace, upto, **options)
        token = module.COLUMNS.index("token") if "token" in module.COLUMNS else -1
        return Table(
            module.COLUMNS,
            [tuple(shown(cell) if place == token else cell for place, cell in enumerate(row)) for row in rows],
        )


def of_figure(figure: go.Figure) -> Table:
    """The numbers of any figure: one row a point, with the name of what it belongs to; a heat map gives one row a cell."""
    rows = []
    for number, trace in enumerate(figure.to_plotly_json()["data"], 1):
        name = str(trace.get("name") or f"series {number}")
        xs, ys, zs = (_plain(trace.get(axis)) for axis in "xyz")
        if zs:
            pairs = [(x, y, z) for y, row in enumerate(zs) for x, z in enumerate(row)]
            rows += [(name, xs[x] if xs else x, ys[y] if ys else y, z) for x, y, z in pairs]
        elif ys or xs:
            length = max(len(xs), len(ys))
            rows += [(name, xs[i] if xs else i, ys[i] if ys else i, "") for i in range(length)]
    return Table(("series", "x", "y", "value"), rows)


def _plain(values: Any) -> list:
    return [] if values is None else list(values)


def csv_text(name: str, trace: Trace, upto: int | None = None, **options: Any) -> str:
    """The table as CSV. A cell that a spreadsheet would run as a formula gets an apostrophe before it."""
    columns, rows = table(name, trace, upto, **options)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if cell is None else _harmless(cell) for cell in row])
    return out.getvalue()


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
