"""Which names may stand behind a dot: static analysis by jedi in a process of its own, with a limit on memory and on patience.

The text is a stranger's. It is analysed, never run; but analysing may load extension modules that it imports, or take for ever,
so it happens elsewhere: `Members.ask` gives up after a while and starts a fresh process for the next question.
"""

from __future__ import annotations

import atexit
import io
import json
import queue
import subprocess
import sys
import tempfile
import threading
import tokenize
from functools import cache

SECONDS = 3.0  # of patience with one question; the first one also waits until the process has started
START = 15.0
MEMORY = 2 * 2**30  # bytes of address space, where the platform can limit it
REMEMBERED = 1_000  # answers
CLOSES = {"(": ")", "[": "]", "{": "}"}


class Members:
    """Asks a process that runs `serve`. Answers are kept, so that a text seen before costs nothing."""

    def __init__(self, seconds: float = SECONDS):
        self.seconds = seconds
        self._child: subprocess.Popen | None = None
        self._answers: queue.SimpleQueue = queue.SimpleQueue()
        self._known: dict[tuple[str, str], tuple[str, ...] | None] = {}

    def ask(self, before: str, after: str = "") -> tuple[str, ...] | None:
        """Names that may follow `before`, which ends with a dot, when `after` stands behind it; None = no answer in time."""
        if (before, after) not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[before, after] = self._asked(before, after)
        return self._known[before, after]

    def close(self) -> None:
        """End the process; the next question starts another."""
        if self._child:
            self._child.kill()
            self._child.communicate()
            self._child = None
            self._cache.cleanup()

    def _asked(self, before: str, after: str) -> tuple[str, ...] | None:
        patience = self.seconds
        if self._child is None or self._child.poll() is not None:
            self._start()
            patience += START
        try:
            self._child.stdin.write(json.dumps([before, after]) + "\n")
            self._child.stdin.flush()
            line = self._answers.get(timeout=patience)
        except (queue.Empty, OSError):
            line = ""
        if not line:  # it hangs, or it died of the text
            self.close()
            return None
        return tuple(json.loads(line))

    def _start(self) -> None:
        self.close()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        # jedi writes down what it has parsed; a process that is killed meanwhile leaves half a file, so each has its own folder
        self._cache = tempfile.TemporaryDirectory(prefix="labkit-names-", ignore_cleanup_errors=True)
        command = [sys.executable, "-I", __file__, self._cache.name]
        self._child = subprocess.Popen(command, text=True, encoding="utf-8", **pipes)
        self._answers = queue.SimpleQueue()
        threading.Thread(target=_hear, args=(self._child.stdout, self._answers), daemon=True).start()


def _hear(stream: io.TextIOBase, answers: queue.SimpleQueue) -> None:
    try:
        for line in stream:
            answers.put(line)
    except ValueError:  # closed while it was read
        pass
    answers.put("")


@cache
def shared() -> Members:
    """The one process that everybody in this one asks."""
    members = Members()
    atexit.register(members.close)
    return members


# -- the other process -------------------------------------------------------------------------------------------------


def missing_brackets(text: str) -> str | None:
    """What closes the brackets that `text` leaves open, the innermost first; None when it ends in a comment."""
    closing, last = [], None
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.OP and token.string in CLOSES:
                closing.append(CLOSES[token.string])
            elif token.type == tokenize.OP and closing and token.string == closing[-1]:
                closing.pop()
            last = token if token.string.strip() else last
    except (tokenize.TokenError, SyntaxError):  # of course: the text is not finished
        pass
    commented = last and last.type == tokenize.COMMENT and last.end == _place(text)
    return None if commented else "".join(reversed(closing))


def _place(text: str) -> tuple[int, int]:
    """Line from 1 and column of the end of `text`."""
    return text.count("\n") + 1, len(text) - text.rfind("\n") - 1


def names_behind(before: str, after: str, analyse) -> list[str]:
    """Names that `analyse(code, line, column)` finds there, as the text stands and with its brackets closed, together."""
    closes = missing_brackets(before)
    if closes is None:
        return []
    line, column = _place(before)
    found = set()
    for closing in {"", closes}:
        found.update(analyse(f"{before}{closing}\n{after}", line, column))
    return sorted(found)


def serve() -> None:
    """Answer questions, a line of JSON each, until the other side closes."""
    import jedi

    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):  # not on this platform
        pass
    jedi.settings.cache_directory = sys.argv[1]
    environment = jedi.InterpreterEnvironment()
    project = jedi.Project(tempfile.gettempdir(), smart_sys_path=False)

    def analyse(code: str, line: int, column: int) -> list[str]:
        try:
            found = jedi.Script(code, environment=environment, project=project).complete(line, column)
        except Exception:  # jedi is made for correct programs: whatever it stumbles over, it knows no names there
            return []
        return [one.name for one in found if one.type != "keyword" and one.name.isidentifier()]

    for question in sys.stdin:
        print(json.dumps(names_behind(*json.loads(question), analyse)), flush=True)


if __name__ == "__main__":
    serve()
