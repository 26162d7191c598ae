"""What a person sees: the bench, the boundary ribbon, a sweep, the welcome page and the teacher's, small widgets of plain DOM that
talk to an engine; no torch here."""

from labkit.ui.bench import Bench
from labkit.ui.ribbon import Ribbon
from labkit.ui.sweep import Sweep
from labkit.ui.teacher import Teacher
from labkit.ui.welcome import Welcome

__all__ = ["Bench", "Ribbon", "Sweep", "Teacher", "Welcome"]
