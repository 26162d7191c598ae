"""The task kit: tiny Python functions with examples, and what a program for one of them is worth. Programs run in the sandbox.

`data/tasks/functions.json` holds, for every function, its lines, hidden tests, and whether its last line makes a good hole. A
function is a task twice: "whole" gives signature and docstring and asks for the body, "hole" all lines but the last.
"""

from __future__ import annotations

import ast
import json
from functools import cache
from typing import NamedTuple

import msgspec

from labkit import sandbox
from labkit.errors import LabError
from labkit.paths import DATA

QUOTES = ('"""', "'''")


class Example(NamedTuple):
    """One test: an expression, and the repr that its value must have."""

    call: str
    want: str


class Task(msgspec.Struct, frozen=True):
    """A prompt to be continued, how a person continued it, and tests: public ones stand in the prompt."""

    name: str
    kind: str  # "whole" or "hole"
    prompt: str  # ends without a newline, which the tokenizer joins with the indent behind it
    solution: str
    public: list[Example]
    hidden: list[Example]


class Function(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function as the file holds it."""

    name: str
    hole: bool
    lines: list[str]
    hidden: list[Example]

    def task(self, kind: str) -> Task:
        """The task of this kind."""
        closing = max(number for number, line in enumerate(self.lines) if line.strip() in QUOTES)
        cut = closing + 1 if kind == "whole" else len(self.lines) - 1
        prompt, rest = "\n".join(self.lines[:cut]), "\n" + "\n".join(self.lines[cut:]) + "\n"
        return Task(self.name, kind, prompt, rest, examples(prompt), self.hidden)


@cache
def kit(kind: str) -> tuple[Task, ...]:
    """All tasks of `kind`, "whole" or "hole", in an order that stays."""
    listed = msgspec.convert(json.loads((DATA / "tasks" / "functions.json").read_text()), list[Function])
    return tuple(function.task(kind) for function in listed if function.hole or kind == "whole")


def task(name: str, kind: str = "hole") -> Task:
    """The task `name` of the kit. Raises `LabError` when there is none."""
    found = {one.name: one for one in kit(kind)}
    if name not in found:
        raise LabError(f"There is no task {name!r} of the kind {kind!r}: choose one of {', '.join(found)}.")
    return found[name]


def _blocks(lines: list[str]):
    """(first line, line behind the last, source, want) of every `>>>` example; quotes or a blank line end one."""
    start = 0
    while start < len(lines):
        if not lines[start].lstrip().startswith(">>> "):
            start += 1
            continue
        source, end = [lines[start].lstrip()[4:]], start + 1
        while end < len(lines) and lines[end].lstrip().startswith("... "):
            source.append(lines[end].lstrip()[4:])
            end += 1
        wanted = end
        while end < len(lines) and lines[end].strip() and not any(stop in lines[end] for stop in (">>>", *QUOTES)):
            end += 1
        yield start, end, "\n".join(source), "\n".join(line.strip() for line in lines[wanted:end])
        start = end


def examples(text: str) -> list[Example]:
    """The `>>>` examples of `text` that say what an expression's value is; others are passed over."""
    return [Example(source, want) for _, _, source, want in _blocks(text.split("\n")) if want and _is_expression(source)]


def _is_expression(source: str) -> bool:
    try:
        ast.parse(source, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def without_examples(text: str, keep: int = 0) -> str:
    """`text` without its `>>>` examples but the first `keep`."""
    lines = text.split("\n")
    for start, end, _, _ in reversed(list(_blocks(lines))[keep:]):
        del lines[start:end]
    return "\n".join(lines)


def passed(program: str, tests: list[Example]) -> list[bool]:
    """Which tests `program` passes; without tests: does it run at all? Raises `LabError`, see `sandbox.run`."""
    ran = sandbox.run(program, [test.call for test in tests])
    if not tests:
        return [ran.ended == sandbox.DONE]
    return [value == test.want for value, test in zip(ran.values, tests)]
