"""What a person sees: the bench and the welcome page, small widgets of plain DOM that talk to an engine; no torch here."""

from labkit.ui.bench import Bench
from labkit.ui.welcome import Welcome

__all__ = ["Bench", "Welcome"]
