"""The lab for a class: other machines may come in, with a word at the door, and everybody finds a warm page."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass

import psutil

from labkit.errors import LabError
from labkit.host.launch import check_port, dashboards_command, serve
from labkit.paths import NOTEBOOKS

TEACHER = "90_teacher.ipynb"
EVERYWHERE = ("", "0.0.0.0", "::")  # hosts that mean all addresses of the machine
IDLE = 600  # seconds until a run that nobody goes on with is let go; its page begins it anew without a word
SPARE = 10  # visitors of the engine beyond the pages: the teacher, and pages that are just being left


@dataclass(frozen=True)
class Class:
    """Where to listen, for how many, behind which words.

    `visitors` browsers with at most `pages` pages each; as many kernels of the dashboard `first` are warm before they come.
    `word` lets pages in, `key` is the teacher's; both are made up when empty.
    """

    host: str = "0.0.0.0"
    visitors: int = 40
    pages: int = 3
    first: str = "00_welcome"
    base_url: str = "/"
    word: str = ""
    key: str = ""

    def __post_init__(self):
        first = self.first.removesuffix(".ipynb")
        if not (NOTEBOOKS / f"{first}.ipynb").is_file():
            known = ", ".join(sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")))
            raise LabError(f"There is no dashboard {self.first!r} to begin with: choose one of {known}.")
        base = self.base_url.strip("/")
        tidy = {"first": f"{first}.ipynb", "base_url": f"/{base}/" if base else "/"}
        tidy |= {"word": self.word or secrets.token_urlsafe(6), "key": self.key or secrets.token_urlsafe(12)}
        for name, value in tidy.items():
            object.__setattr__(self, name, value)


def serve_class(port: int, engine_port: int, lesson: Class) -> None:
    """Engine and Voila for a class until Ctrl-C; prints the class's address and the teacher's.

    Raises `LabError` when there is no such first page, a port is taken or a server does not come up.
    """
    check_port(port, "choose another with PORT=… (make) or --port", lesson.host)
    most = lesson.visitors + lesson.visitors // 2  # some have two tabs open; each is a kernel
    command = dashboards_command(
        NOTEBOOKS,
        port,
        pool=1,
        host=lesson.host,
        base_url=lesson.base_url,
        first=lesson.first,
        expected=lesson.visitors,
        most=most,
        most_each=lesson.pages,
    )
    shown = f"http://{_name(lesson.host)}:{port}{lesson.base_url}"
    asked = "127.0.0.1" if lesson.host in EVERYWHERE else lesson.host
    serve(
        "The dashboards",
        command,
        f"http://{asked}:{port}{lesson.base_url}",
        engine_port,
        news=f"For the class:    {shown}?token={lesson.word}\n"
        f"  For the teacher:  {shown}voila/render/{TEACHER}?token={lesson.word}#key={lesson.key}\n"
        f"  Warming {lesson.visitors} pages of {lesson.first}; who comes earlier waits a little.",
        host_only={"LABKIT_CLASS": "1", "LABKIT_WORD": lesson.word},
        engine_only={"LABKIT_TEACHER": lesson.key, "LABKIT_MAX_VISITORS": str(most + SPARE), "LABKIT_IDLE_SECONDS": str(IDLE)},
    )


def _name(host: str) -> str:
    """What to type into a browser of another machine."""
    if host not in EVERYWHERE:
        return host
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family == socket.AF_INET and not one.address.startswith("127."):
                return one.address
    return socket.gethostname()
