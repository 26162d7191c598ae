"""The kernels in Triton's interpreter, and compiled: for a GPU that is here, and, without one, for one that is not."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

CASES = Path(__file__).with_name("cases.py")
PYTEST = ("-m", "pytest", str(CASES), "-q", "-x", "--noconftest", "-p", "no:cacheprovider")
pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed here")


def run(*command: str, **settings: str) -> str:
    """A process of its own: whether Triton interprets or compiles is settled when it is imported."""
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, *command], env={**inherited, **settings}, cwd=CASES.parents[2], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    return done.stdout


def test_in_the_interpreter():
    assert " passed" in run(*PYTEST, TRITON_INTERPRET="1")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_on_this_gpu():
    assert " passed" in run(*PYTEST)


def test_they_compile_for_an_ampere_gpu(tmp_path):
    """The compiler is stricter than the interpreter; down to machine code it needs no GPU."""
    said = run(str(Path(__file__).with_name("ahead_of_time.py")), "80", TRITON_CACHE_DIR=str(tmp_path))
    assert said.split() == ["indexed", "tree", "sums", "columns", "merge", "labels"]
