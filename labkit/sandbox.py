"""Runs Python that a model wrote, apart from everything: one fresh, walled-in process a program.

On Linux (x86-64, ARM64) `labkit.jail` has the kernel refuse whatever a small function does not need: files, processes,
threads, network, signals; that needs no root. Time, memory and output are limited too, the folder is an empty temporary one, no
environment and no open file is inherited. Where the kernel offers no such wall programs are not run at all, unless the
operator says that limits alone will do, on a machine of their own: LABKIT_SANDBOX=limits. What a run says is the program's own
word: it may guess at what is asked of it. The wall was tried on x86-64; nobody has run it on ARM64 yet.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from labkit.errors import LabError

JAIL = Path(__file__).with_name("jail.py")
SECONDS = 0.5  # of one program with all its calls, rounded up to whole ones; those of the kit take milliseconds
START = 0.5  # seconds more until the interpreter stands; it takes about 0.03
MEMORY = 256 * 2**20  # bytes of address space
DONE, ERROR, TIME, KILLED = "done", "error", "time", "killed"


class Ran(NamedTuple):
    """What became of a program: how it ended, its error's name, and for every call its repr, or None where it failed.

    `ended`: "done"; "error" = the program itself failed, not a call; "time"; "killed" by a limit, or left in the middle.
    """

    ended: str
    error: str
    values: list[str | None]


def walls() -> str:
    """Which walls programs run behind here: "seccomp", or "limits" where the operator allows that. Raises `LabError`."""
    if os.environ.get("LABKIT_SANDBOX") == "limits":
        return "limits"
    if sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64"):
        return "seccomp"
    raise LabError(
        f"Programs are not run on {platform.system()} ({platform.machine()}), which has no wall for them: use Linux, "
        "or set LABKIT_SANDBOX=limits on a machine of your own."
    )


def run(program: str, calls: list[str], seconds: float = SECONDS, memory: int = MEMORY) -> Ran:
    """Run `program`, then evaluate `calls` (expressions) behind it, in a process of their own.

    Whatever the program does ends as a `Ran`. Raises `LabError` when the walls cannot be put up.
    """
    asked = {"program": program, "calls": calls, "seconds": seconds, "memory": memory, "walls": walls()}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as text, tempfile.TemporaryFile() as answers:
        text.write(json.dumps(asked).encode())
        text.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", JAIL],
            stdin=text,
            stdout=answers,  # a file: the kernel caps its size, so that nobody here must
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        try:
            late = not _ends(process, seconds + START)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it is gone; on macOS, a zombie
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        answers.seek(0)
        return _read(answers.read(), len(calls), late, process.returncode)


def _ends(process: subprocess.Popen, seconds: float) -> bool:
    """Wait for the end, at most so long; is it there? `Popen.wait` looks every 50 ms, which is longer than most programs run."""
    if hasattr(os, "pidfd_open"):
        ending = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(ending, select.POLLIN)
            return bool(poll.poll(1000 * seconds))
        finally:
            os.close(ending)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.returncode is not None


def _read(said: bytes, calls: int, late: bool, code: int) -> Ran:
    heard = []
    for line in said.splitlines():
        try:
            heard.append(json.loads(line))
        except (ValueError, RecursionError):  # the program wrote here, or its last line was cut
            break
    if not late and heard[:1] != ["ready"]:
        raise LabError(f"The sandbox could not put up its walls (exit code {code}): see labkit/jail.py for what it needs.")
    own = heard[1] if len(heard) > 1 else None
    error = str(own.get("error")) if isinstance(own, dict) else ""
    values = [value if isinstance(value, str) else None for value in heard[2 : 2 + calls]]
    values += [None] * (calls - len(values))
    if late or code == -signal.SIGXCPU:
        return Ran(TIME, error, values)
    if code or len(heard) != 2 + calls:
        return Ran(KILLED, error, values)
    return Ran(ERROR if error else DONE, error, values)
