"""The launcher: nothing outlives it, a taken port is one sentence, a server that does not come up too."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap

import psutil
import pytest

from labkit.errors import LabError
from labkit.host import launch

# a server with a child of its own in another session, as Voila has kernels; both ignore a polite request
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
kernel = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", kernel], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


def _gone(*numbers: int) -> bool:
    """Whether the processes end within a few seconds (a zombie has ended)."""
    left = [psutil.Process(number) for number in numbers if psutil.pid_exists(number)]
    _, alive = psutil.wait_procs([process for process in left if process.status() != psutil.STATUS_ZOMBIE], 15)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_family_ends_together(monkeypatch):
    monkeypatch.setattr(launch.guard.end, "__defaults__", (0.5,))
    with launch.Family() as family:
        child = family.start([sys.executable, "-c", STUBBORN], dict(os.environ), subprocess.PIPE)
        grandchild = int(child.stdout.readline())
        assert psutil.pid_exists(grandchild)
    assert _gone(child.pid, grandchild, family.guard.pid)
    child.stdout.close()


def test_nothing_outlives_a_killed_launcher(tmp_path):
    """SIGKILL gives the launcher no chance to clean up; the guard does it."""
    launcher = tmp_path / "launcher.py"
    launcher.write_text(
        textwrap.dedent(f"""
        import os, subprocess, sys, time
        from labkit.host.launch import Family
        with Family() as family:
            child = family.start([sys.executable, "-c", {STUBBORN!r}], dict(os.environ), subprocess.PIPE)
            print(child.pid, int(child.stdout.readline()), family.guard.pid, flush=True)
            time.sleep(600)
        """)
    )
    environment = {**os.environ, "PYTHONPATH": str(launch.PACKAGE.parent)}
    with subprocess.Popen([sys.executable, str(launcher)], stdout=subprocess.PIPE, env=environment) as process:
        numbers = [int(number) for number in process.stdout.readline().split()]
        assert all(map(psutil.pid_exists, numbers))
        process.send_signal(signal.SIGKILL)
    assert _gone(*numbers)


def test_taken_port_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LabError, match=rf"^Port {port} on 127.0.0.1 is taken.*--port\.$"):
            launch.check_port(port, "choose another with --port")
    launch.check_port(port, "free again")


def test_impossible_port_is_one_sentence():
    with pytest.raises(LabError, match="Port 70000"):
        launch.check_port(70000, "choose another with --port")


def test_server_that_ends_early_is_said():
    with launch.Family() as family:
        child = family.start([sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ))
        with pytest.raises(LabError, match="The thing ended with code 3"):
            launch.wait(lambda: False, child, "The thing")


def test_server_that_never_answers_is_said():
    with launch.Family() as family:
        child = family.start([sys.executable, "-c", "import time; time.sleep(600)"], dict(os.environ))
        with pytest.raises(LabError, match=r"did not answer within 0\.2 seconds"):
            launch.wait(lambda: False, child, "The thing", 0.2)


def test_kernels_get_this_python_and_the_engine(monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", "elsewhere")
    around = launch.environment("127.0.0.1:1")
    assert around["LABKIT_ENGINE"] == "127.0.0.1:1"
    ours, theirs = around["JUPYTER_PATH"].split(os.pathsep)
    assert theirs == "elsewhere"
    monkeypatch.setenv("JUPYTER_PATH", ours)
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager())
    assert manager.kernel_spec.display_name == "Token Lab"
    assert manager.format_kernel_cmd()[0] == sys.executable
