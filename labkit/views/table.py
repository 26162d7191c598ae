"""Every view's content as a table: for those who cannot see the picture, and for a spreadsheet."""

from __future__ import annotations

import csv
import importlib
import io
from typing import Any, NamedTuple

from labkit.trace import Trace
from labkit.views import view
from labkit.views.text import shown


class Table(NamedTuple):
    """Column names and rows; numbers stay numbers, token text is shown with its whitespace visible."""

    columns: tuple[str, ...]
    rows: list[tuple]


def table(name: str, trace: Trace, upto: int | None = None, **options: Any) -> Table:
    """What view `name` draws, as a table. Raises `LabError` when there is no such view."""
    module = importlib.import_module(view(name).__module__)
    rows = module.rows(trace, upto, **options)
    token = module.COLUMNS.index("token") if "token" in module.COLUMNS else -1
    return Table(
        module.COLUMNS,
        [tuple(shown(cell) if place == token else cell for place, cell in enumerate(row)) for row in rows],
    )


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
