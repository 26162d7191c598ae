"""Whatever a program does, it ends as a failed candidate and nothing else happens: no file, no process, no network.

Every program here that would do harm without its wall does little of it: the bombs make 32 processes at most.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time

import psutil
import pytest

from labkit import sandbox
from labkit.errors import LabError
from labkit.sandbox import DONE, ERROR, KILLED, SECONDS, TIME, Ran, run

BOMB = """
import os, time
refused = 0
for _ in range(5):
    try:
        os.fork()
    except OSError:
        refused += 1
{then}
"""
CALL = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"


def inside() -> list[int]:
    """The processes that run the sandbox of this test."""
    found = psutil.process_iter(["pid", "cmdline"])
    return [one.info["pid"] for one in found if str(sandbox.JAIL) in (one.info["cmdline"] or [])]


def wait_for(fact):
    end = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch, tmp_path_factory):
    """A copy of the script, so that its processes are known from those of tests that run beside."""
    copied = tmp_path_factory.mktemp("sandbox") / "jail.py"
    copied.write_bytes(sandbox.JAIL.read_bytes())
    monkeypatch.setattr(sandbox, "JAIL", copied)
    yield
    wait_for(lambda: not inside())  # the kernel ends what was killed in its own time


def test_a_program_and_its_calls():
    program = "def double(x):\n    return 2 * x\n"
    calls = ["double(4)", "double('ab')", "double(None)", "double(", "missing", "double([1])"]
    assert run(program, calls) == Ran(DONE, "", ["8", "'abab'", None, None, None, "[1, 1]"])
    assert run(program, []) == Ran(DONE, "", [])


def test_what_may_be_imported():
    program = "import math, re, collections, itertools, functools, heapq, bisect, string, typing, datetime, operator"
    assert run(program, ["math.gcd(12, 18)"]) == Ran(DONE, "", ["6"])
    assert run("import http.server", ["1"]).ended == ERROR


@pytest.mark.parametrize(
    ("program", "ended", "error"),
    [
        ("while True: pass", TIME, ""),
        ("import time\ntime.sleep(60)", TIME, ""),
        ("10 ** 10 ** 10", TIME, ""),  # deep in C, where no Python is looked at
        ("while True:\n  try:\n    while True: pass\n  except BaseException: pass", TIME, ""),
        ("held = bytearray(10 * 2 ** 30)", ERROR, "MemoryError"),
        ("held = []\nwhile True: held.append('x' * 2 ** 20)", ERROR, "MemoryError"),
        ("def f(n): return f(n + 1)\nf(0)", ERROR, "RecursionError"),
        ("import ctypes\nctypes.string_at(0)", KILLED, ""),  # the interpreter itself falls
        ("import os\nos._exit(0)", KILLED, ""),
        ("raise SystemExit", ERROR, "SystemExit"),
        ("def f(:", ERROR, "SyntaxError"),
        ("import os\nwhile True: os.write(3, b'x' * 2 ** 16)", KILLED, ""),
        ("import os\nos.write(3, b'[' * 10 ** 4)\nos._exit(0)", KILLED, ""),
    ],
)
def test_bad_programs(program, ended, error):
    seconds = SECONDS if ended == TIME else 20  # memory takes a busy machine its time to fill
    assert run(program, ["1 +"], seconds) == Ran(ended, error, [None])


def test_recursion_without_a_limit():
    ran = run("import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(n): return f(n + 1)\nf(0)", ["2 +"])
    assert ran.ended in (TIME, KILLED, ERROR) and ran.values == [None]


def test_a_call_that_never_ends_leaves_the_others_their_answers():
    program = "def f(x):\n    while x: pass\n    return x\n"
    assert run(program, ["f(0)", "f(1)", "f(0)"]) == Ran(TIME, "", ["0", None, None])


def test_output_goes_nowhere_and_long_values_are_cut():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    program = "import os\nfor _ in range(100): print('x' * 10 ** 6)\nos.write(1, b'noise')\nos.write(2, b'noise')"
    ran = run(program, ["'y' * 10 ** 7"])
    assert ran.ended == DONE and len(ran.values[0]) == 2000
    assert run("", ["'z' * 5000"] * 100).ended == KILLED, "many long ones meet the cap of the whole output"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 2**10, "KiB"


def test_fork_bomb():
    assert run(BOMB.format(then=""), ["refused"]) == Ran(DONE, "", ["5"])
    assert run("import os\nos.fork()", ["1 +"]) == Ran(ERROR, "PermissionError", [None])
    assert run("import os\nos.execv('/bin/true', ['true'])", ["1 +"]) == Ran(ERROR, "PermissionError", [None])
    assert run("import os\nos.posix_spawn('/bin/true', ['true'], {})", ["1 +"]) == Ran(ERROR, "PermissionError", [None])
    assert run("import _thread\n_thread.start_new_thread(print, ())", ["1 +"]) == Ran(ERROR, "RuntimeError", [None])


def test_fork_bomb_where_limits_alone_must_do(monkeypatch):
    monkeypatch.setenv("LABKIT_SANDBOX", "limits")
    ran = run(BOMB.format(then="time.sleep(60)"), ["refused"])  # the superuser may fork even so: all of them must go
    assert ran.ended == TIME


def test_files_outside(tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    before = kept.stat()
    tries = [
        f"open({str(kept)!r}, 'w')",
        f"open({str(kept)!r})",  # reading is no business of theirs either
        f"open({str(tmp_path / 'new')!r}, 'w')",
        "open('here', 'w')",
        f"os.remove({str(kept)!r})",
        f"os.rename({str(kept)!r}, {str(tmp_path / 'moved')!r})",
        f"os.truncate({str(kept)!r}, 0)",
        f"os.chmod({str(kept)!r}, 0)",
        f"os.utime({str(kept)!r}, (0, 0))",
        f"os.symlink({str(kept)!r}, {str(tmp_path / 'link')!r})",
        f"os.mkdir({str(tmp_path / 'folder')!r})",
        "os.listdir('/')",
    ]
    assert run("import os", tries) == Ran(DONE, "", [None] * len(tries))
    assert list(tmp_path.iterdir()) == [kept] and kept.read_text() == "as it was"
    assert (kept.stat().st_mode, kept.stat().st_mtime) == (before.st_mode, before.st_mtime)


def test_no_network_no_signals_no_way_back():
    program = CALL + "import os"
    calls = ["libc.socket(2, 1, 0)", "ctypes.get_errno()", f"os.kill({os.getpid()}, 9)"]
    calls += ["libc.prctl(22, 0, 0, 0, 0)", "libc.setrlimit(0, 0)", "libc.ptrace(0, 0, 0, 0)"]
    assert run(program, calls) == Ran(DONE, "", ["-1", "1", None, "-1", "-1", "-1"])


def test_nothing_is_inherited(monkeypatch):
    monkeypatch.setenv("SECRET", "s")
    read, write = os.pipe()
    os.set_inheritable(write, True)
    program = (
        "import os, errno\ndef is_open(fd):\n    try:\n        os.lseek(fd, 0, 1)\n    except OSError as no:\n"
        "        return no.errno != errno.EBADF\n    return True\n"
    )
    ran = run(program, ["dict(os.environ).get('SECRET')", "[fd for fd in range(256) if is_open(fd)]"])
    os.close(read), os.close(write)
    assert ran.values == ["None", "[0, 1, 2, 3]"], "three that lead nowhere, and the answers"


def test_it_dies_with_its_parent():
    code = "import sys\nfrom labkit import sandbox\nsandbox.JAIL = sys.argv[1]\n"
    code += "sandbox.run('import time; time.sleep(60)', [], seconds=60)"
    command = [sys.executable, "-c", code, str(sandbox.JAIL)]
    parent = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    wait_for(inside)
    parent.kill()
    parent.wait()
    wait_for(lambda: not inside())


def test_no_walls_no_run(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr("platform.machine", lambda: "abacus")
        with pytest.raises(LabError, match="abacus.*LABKIT_SANDBOX=limits"):
            run("", [])
    broken = tmp_path / "jail.py"
    broken.write_text(sandbox.JAIL.read_text().replace("audit, numbers = ", "raise OSError()\n    audit, numbers = "))
    monkeypatch.setattr(sandbox, "JAIL", broken)
    ran_anyway = tmp_path / "ran"
    with pytest.raises(LabError, match="could not put up its walls"):
        run(f"open({str(ran_anyway)!r}, 'w')", [])
    assert not ran_anyway.exists()
