"""Views are pure: `(trace, upto=None, **options) -> plotly Figure`, the same for notebook, dashboard, file and test.

`upto` = how many steps are shown (None = all); `theme` is "light" or "dark". Figures carry no template, they stay small
without; `labkit.views.theme.template` is theirs, and `labkit.views.export.write` puts it on.

Every module here but `HELPERS` is a view: it holds one function of its own name, and is found by itself. The figure's title
is the panel's heading; `layout.meta = {"words": "One sentence."}` is shown under it, `{"height": 300}` is the height it
wants in CSS pixels.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
from typing import Any, Callable, Iterator, Mapping

import plotly.graph_objects as go

from labkit.errors import LabError
from labkit.trace import Trace

HELPERS = {"boxes", "columns", "cuts", "export", "layout", "read", "samplers", "servers"}
HELPERS |= {"shares", "table", "text", "theme", "turns", "unmasking"}


class _Views(Mapping[str, Callable[..., go.Figure]]):
    """The views by name, each imported when it is first asked for: a page draws a few of them.

    Every module here but the helpers holds one function of its own name.
    """

    def __init__(self):
        self._names = [module.name for module in pkgutil.iter_modules(__path__) if module.name not in HELPERS]

    def __getitem__(self, name: str) -> Callable[..., go.Figure]:
        if name not in self._names:
            raise KeyError(name)
        return getattr(importlib.import_module(f"{__name__}.{name}"), name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


VIEWS = _Views()

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
    if unknown := options.keys() - inspect.signature(draw).parameters.keys():
        raise LabError(f"The view {name!r} does not know the option {min(unknown)!r:.60}: leave it out.")
    with careful(name):
        return draw(trace, upto, **options).to_json()


@contextlib.contextmanager
def careful(name: str) -> Iterator[None]:
    """Around the drawing of the view `name`: whatever a damaged trace or an odd option makes of it is one `LabError`."""
    try:
        yield
    except LabError:
        raise
    except KeyError:
        problem = f"The view {name!r} draws the notes of another method: choose one that belongs to this trace."
        raise LabError(problem) from None
    except Exception as trouble:  # notes are whatever the file says: any value in any place
        kind = type(trouble).__name__
        problem = f"The view {name!r} cannot draw this ({kind}): choose another view or option, or a trace as the lab saved it."
        raise LabError(problem) from trouble
