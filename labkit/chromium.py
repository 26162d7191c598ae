"""Where a Chromium is: figures become pictures with it, and the page bench drives it."""

from __future__ import annotations

import os
import shutil

from labkit.errors import LabError

HEADLESS = "chromium-headless-shell"  # the same engine without a window: half the work, but nobody's browser
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge", HEADLESS)


def find(*first: str) -> str | None:
    """`LABKIT_CHROMIUM`, or what is on the path, names in `first` before the usual ones; None when there is none.

    Raises `LabError` when the variable names no program.
    """
    named = os.environ.get("LABKIT_CHROMIUM", "")
    if named and not os.access(named, os.X_OK):
        raise LabError(f"LABKIT_CHROMIUM is {named!r}, which is no program: set it to a Chromium or Chrome.")
    return named or next(filter(None, map(shutil.which, (*first, *BROWSERS))), None)
