"""The task kit: every reference solution works, examples are found and cut, and programs are judged in the sandbox alone."""

from __future__ import annotations

import pytest

from labkit import sandbox
from labkit.tasks import Example, examples, kit, passed, without_examples

EVERY = [*kit("whole"), *kit("hole")]


def test_the_kit_is_large_enough():
    assert len(kit("whole")) >= 60 and len(kit("hole")) >= 20
    assert len({task.name for task in kit("whole")}) == len(kit("whole"))


@pytest.mark.parametrize("task", EVERY, ids=lambda task: f"{task.kind} {task.name}")
def test_every_reference_solution_works(task):
    tests = [*task.public, *task.hidden]
    assert len(task.public) >= 2 and len(task.hidden) >= 2
    assert not {test.call for test in task.public} & {test.call for test in task.hidden}
    assert passed(task.prompt + task.solution, tests) == [True] * len(tests)
    assert not task.prompt.endswith("\n")
    if task.kind == "hole":
        assert len(task.solution.strip().splitlines()) == 1


def test_no_task_is_solved_by_nothing():
    for task in kit("hole"):
        assert not all(passed(task.prompt + "\n    return None\n", [*task.public, *task.hidden])), task.name


TEXT = '''def f(x):
    """Double.

    >>> f(1)
    2
    >>> f("a")
    'aa'
    >>> y = f(2)
    >>> for i in range(2):
    ...     print(i)
    0
    1
    >>> f([1,
    ...    2])
    [1, 2, 1, 2]

    More words.
    """'''


def test_examples_are_found():
    assert examples(TEXT) == [Example("f(1)", "2"), Example('f("a")', "'aa'"), Example("f([1,\n   2])", "[1, 2, 1, 2]")]
    assert examples("") == examples("def f():") == examples(">>> f(\n1") == []
    assert examples(">>> f(1)") == [], "nothing is wanted yet"


def test_examples_are_cut():
    bare = 'def f(x):\n    """Double.\n\n\n    More words.\n    """'
    assert without_examples(TEXT) == bare
    assert examples(without_examples(TEXT, 1)) == [Example("f(1)", "2")]
    assert "f(2)" not in without_examples(TEXT, 2) and "'aa'" in without_examples(TEXT, 2)
    assert without_examples(TEXT, 99) == TEXT and without_examples(bare) == bare
    for task in EVERY:
        lame = without_examples(task.prompt)
        assert ">>>" not in lame and examples(lame) == []
        assert [line for line in task.prompt.split("\n") if line in lame.split("\n")][-1] == task.prompt.split("\n")[-1]


def test_passing():
    tests = [Example("f(1)", "2"), Example("f(1)", "3"), Example("g", "1")]
    assert passed("def f(x):\n    return 2 * x", tests) == [True, False, False]
    assert passed("x = 1", []) == [True]
    assert passed("x = ", []) == [False]


def test_programs_run_nowhere_else(monkeypatch):
    """A program that would show in this process does not; without the sandbox nothing runs."""
    assert passed("import sys\nsys.labkit_was_here = 1", []) == [True]
    import sys

    assert not hasattr(sys, "labkit_was_here")
    monkeypatch.setattr(sandbox, "run", lambda *_: sandbox.Ran(sandbox.KILLED, "", [None]))
    assert passed("x = 1", [Example("x", "1")]) == [False]
