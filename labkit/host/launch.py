"""Starts the engine and a host as child processes, waits until they answer, and leaves nothing behind.

Used by `labkit lab`, `labkit notebook` and the browser tests.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path
from typing import IO

import psutil

from labkit.errors import LabError
from labkit.host import guard
from labkit.paths import NOTEBOOKS, PACKAGE


class Family:
    """Child processes that never outlive this one. Use it with `with`."""

    def __enter__(self) -> Family:
        self.roots: list[psutil.Process] = []
        self.guard = subprocess.Popen(
            [sys.executable, "-m", "labkit.host.guard"], stdin=subprocess.PIPE, text=True, start_new_session=True
        )
        return self

    def start(self, command: list[str], environment: dict[str, str], output: int | IO | None = None) -> subprocess.Popen:
        """Start `command` in a session of its own, so that Ctrl-C reaches only the launcher; `output` as in `Popen`."""
        child = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        self.roots.append(psutil.Process(child.pid))
        self.guard.stdin.write(f"{child.pid}\n")
        self.guard.stdin.flush()
        return child

    def __exit__(self, *_) -> None:
        guard.end(self.roots)
        self.guard.stdin.close()
        self.guard.wait()


def environment(engine: str) -> dict[str, str]:
    """The environment of hosts and kernels: our template and kernel, and the engine's address."""
    paths = [str(PACKAGE / "host" / "jupyter"), os.environ.get("JUPYTER_PATH", "")]
    return {**os.environ, "JUPYTER_PATH": os.pathsep.join(filter(None, paths)), "LABKIT_ENGINE": engine}


def engine_command(port: int) -> list[str]:
    """The engine server on 127.0.0.1."""
    return [sys.executable, "-m", "labkit.cli", "engine", "--port", str(port)]


def dashboards_command(notebooks: Path, port: int, pool: int, **more: str | int) -> list[str]:
    """Voila over the folder `notebooks`, with `pool` warm kernels a dashboard; `more` as in `labkit.host.dashboards.settings`."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in {"port": port, "pool": pool, **more}.items()]
    return [sys.executable, "-m", "labkit.host.dashboards", str(notebooks), *options]


def jupyterlab_command(notebooks: Path, port: int, token: str) -> list[str]:
    """JupyterLab over the folder `notebooks`; it runs whatever is typed into it, so it keeps its token."""
    settings = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": notebooks,
        "ServerApp.log_level": "WARN",
        "ServerApp.allow_root": True,  # nobody else's machine can reach it, and in containers everybody is root
        "ServerApp.kernel_websocket_connection_class": "labkit.host.kernels.PromptConnection",
        "IdentityProvider.token": token,
        "LabApp.news_url": None,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    return [sys.executable, "-m", "jupyterlab", "--no-browser", *options]


def free_port() -> int:
    """A port that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check_port(port: int, mend: str, host: str = "127.0.0.1") -> None:
    """Raise `LabError` when `port` cannot be listened on; `mend` says how to choose another."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError):
            raise LabError(f"Port {port} on {host} is taken or not allowed: {mend}.") from None


class _Stay(urllib.request.HTTPRedirectHandler):
    """Does not follow redirects: asking the welcome page itself would use up a warm kernel."""

    def redirect_request(self, *_):
        return None


def answers(url: str) -> bool:
    """Whether a server answers at `url`, with whatever status."""
    try:
        urllib.request.build_opener(_Stay, urllib.request.ProxyHandler({})).open(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def listens(port: int) -> bool:
    """Whether something on 127.0.0.1 accepts connections on `port`."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait(ready, child: subprocess.Popen, name: str, seconds: float = 60) -> None:
    """Return when `ready()` is true; raise `LabError` when `child` ends before, or after `seconds`."""
    deadline = time.monotonic() + seconds
    while not ready():
        if child.poll() is not None:
            raise LabError(
                f"{name} ended with code {child.returncode} before it answered: its last lines above say why."
            )
        if time.monotonic() > deadline:
            raise LabError(f"{name} did not answer within {seconds:g} seconds: try again, or look at its lines above.")
        time.sleep(0.05)


def stop_on_signals() -> None:
    """Let SIGTERM and a closed terminal end it as Ctrl-C does; and Ctrl-C too, which a script's `&` switches off."""

    def leave(number, _frame):
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
            signal.signal(number, leave)


def serve_dashboards(port: int, engine_port: int, pool: int, open_browser: bool) -> None:
    """Engine and Voila until Ctrl-C. Raises `LabError` when a port is taken or a server does not come up."""
    check_port(port, "choose another with PORT=… (make) or --port")
    command = dashboards_command(NOTEBOOKS, port, pool)
    serve("The dashboards", command, f"http://127.0.0.1:{port}/", engine_port, open_browser)


def serve_notebooks(port: int, engine_port: int, open_browser: bool) -> None:
    """Engine and JupyterLab until Ctrl-C. Raises `LabError` as `serve_dashboards` does."""
    check_port(port, "choose another with PORT=… (make) or --port")
    token = secrets.token_hex(16)
    command = jupyterlab_command(NOTEBOOKS, port, token)
    serve("JupyterLab", command, f"http://127.0.0.1:{port}/lab?token={token}", engine_port, open_browser)


def serve(
    name: str,
    command: list[str],
    url: str,
    engine_port: int,
    open_browser: bool = False,
    *,
    news: str = "",
    host_only: dict[str, str] | None = None,
    engine_only: dict[str, str] | None = None,
) -> None:
    """Engine and host until Ctrl-C. `url` is asked until it answers; `news` is printed then, in place of it.

    The last two are what only the one or the other finds in its environment.
    """
    elsewhere = os.environ.get("LABKIT_ENGINE", "")
    if not elsewhere:
        mend = "choose another with ENGINE_PORT=… (make) or --engine-port, or use its engine: LABKIT_ENGINE=host:port"
        check_port(engine_port, mend)
    address = elsewhere or f"127.0.0.1:{engine_port}"
    around = environment(address)
    stop_on_signals()
    with contextlib.suppress(KeyboardInterrupt), Family() as family:
        of_engine = {**around, **(engine_only or {})}
        engine = None if elsewhere else family.start(engine_command(engine_port), of_engine)
        host = family.start(command, {**around, **(host_only or {})})
        wait(lambda: answers(url), host, name)
        if engine:
            wait(lambda: listens(engine_port), engine, "The engine")
        print(f"\n  {news or f'Token Lab is at {url}'}\n  Its engine is at {address}. Ctrl-C ends it.\n", flush=True)
        if open_browser:
            webbrowser.open(url)
        while host.poll() is None:
            if engine and engine.poll() is not None:
                print(
                    f"The engine ended with code {engine.returncode}; it is started again.", file=sys.stderr, flush=True
                )
                time.sleep(1)
                engine = family.start(engine_command(engine_port), of_engine)
            time.sleep(0.5)
        raise LabError(f"{name} ended with code {host.returncode}: its last lines above say why.")
