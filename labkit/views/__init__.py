"""Views are pure: `(trace, upto=None, **options) -> plotly Figure`, the same for notebook, dashboard, file and test.

`upto` = how many steps are shown (None = all); `theme` is "light" or "dark". Figures carry no template, they stay small
without; `labkit.views.theme.template` is theirs, and `labkit.views.export.write` puts it on.
"""

from __future__ import annotations

from typing import Any, Callable

import plotly.graph_objects as go

from labkit.errors import LabError
from labkit.trace import Trace
from labkit.views.acceptance import acceptance
from labkit.views.block_efficiency import block_efficiency
from labkit.views.cost import cost
from labkit.views.draft_tree import draft_tree
from labkit.views.entropy import entropy
from labkit.views.next_token import next_token
from labkit.views.strip import strip

VIEWS: dict[str, Callable[..., go.Figure]] = {
    view.__name__: view for view in (strip, entropy, next_token, draft_tree, acceptance, block_efficiency, cost)
}

__all__ = ["VIEWS", "figure", "view"]


def view(name: str) -> Callable[..., go.Figure]:
    """The view called `name`. Raises `LabError` when there is none."""
    if name not in VIEWS:
        raise LabError(f"There is no view {name!r}: choose one of {', '.join(VIEWS)}.")
    return VIEWS[name]


def figure(name: str, traces: list[Trace | None], lane: int = 0, upto: int | None = None, **options: Any) -> str:
    """View `name` of the trace in `lane` as plotly's JSON. Raises `LabError` when there is nothing to draw."""
    draw = view(name)
    trace = traces[lane] if 0 <= lane < len(traces) else None
    if trace is None:
        raise LabError("There is nothing to draw yet: press Step or Run first.")
    try:
        return draw(trace, upto, **options).to_json()
    except TypeError:
        raise LabError(
            f"The view {name!r} does not know one of the options {', '.join(options)}: leave it out."
        ) from None
