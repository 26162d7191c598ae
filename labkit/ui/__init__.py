"""What a person sees: the bench, the boundary ribbon, a sweep, the welcome page and the teacher's: small widgets of plain DOM
that talk to an engine; no torch here. Each is loaded when a page first asks for it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.ui.bench import Bench
    from labkit.ui.ribbon import Ribbon
    from labkit.ui.sweep import Sweep
    from labkit.ui.teacher import Teacher
    from labkit.ui.welcome import Welcome

__all__ = ["Bench", "Ribbon", "Sweep", "Teacher", "Welcome"]


def __getattr__(name: str) -> Any:
    """The widget of that name, from the module that is called like it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{name.lower()}"), name)
