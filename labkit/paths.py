"""Where the lab's own files are: beside the package in a checkout, inside it when it was installed as a wheel.

`make lab` installs the checkout in place, so `data/` and `notebooks/` are the folders one sees and edits. A built wheel
carries both inside the package (see `force-include` in pyproject.toml), under the names `_data` and `_notebooks`.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    beside, inside = PACKAGE.parent / name, PACKAGE / f"_{name}"
    return inside if inside.is_dir() else beside


DATA = _folder("data")
NOTEBOOKS = _folder("notebooks")
