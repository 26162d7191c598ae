"""The walls of the house, checked by tools: ruff for the code, import-linter for who may import whom."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _run(*command: str) -> str:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_ruff():
    _run("-m", "ruff", "check", ".")


def test_import_contracts():
    said = _run("-c", "from importlinter.cli import lint_imports_command as lint; lint()")
    assert re.search(r"(\d+) kept, 0 broken", said)


def test_near_side_imports_no_torch():
    """What a dashboard's kernel imports: the bench, its views and the engine's client; it stays light by that."""
    code = (
        "import sys, labkit.ui, labkit.views, labkit.engine.client, labkit.trace, labkit.catalog, labkit.cli\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'transformers', 'scipy'} & set(sys.modules)))"
    )
    assert _run("-c", code).strip() == "[]"
