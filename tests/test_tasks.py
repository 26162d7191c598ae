"""The task kit: every reference solution works, examples are found and cut, and programs are judged in the sandbox alone."""

from __future__ import annotations

import pytest

from labkit import sandbox
from labkit.errors import LabError
from labkit.tasks import Example, examples, kit, passed, task, without_examples

EVERY = [*kit("whole"), *kit("hole")]


def test_the_kit_is_large_enough():
    assert len(kit("whole")) >= 60 and len(kit("hole")) >= 20
    assert len({task.name for task in kit("whole")}) == len(kit("whole"))


@pytest.mark.parametrize("one", EVERY, ids=lambda one: f"{one.kind} {one.name}")
def test_every_reference_solution_works(one):
    tests = [*one.public, *one.hidden]
    assert len(one.public) >= 2 and len(one.hidden) >= 2
    assert not {test.call for test in one.public} & {test.call for test in one.hidden}
    assert passed(one.prompt + one.solution, tests) == [True] * len(tests)
    assert not one.prompt.endswith("\n")
    if one.kind == "hole":
        assert len(one.solution.strip().splitlines()) == 1


def test_a_task_by_name():
    assert task("total").prompt.endswith("result += number") and task("total", "whole").prompt.endswith('"""')
    with pytest.raises(LabError, match="no task 'totals'.*choose one of total, "):
        task("totals")


def test_no_task_is_solved_by_nothing():
    for one in kit("hole"):
        assert not all(passed(one.prompt + "\n    return None\n", [*one.public, *one.hidden])), one.name


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
    for one in EVERY:
        lame = without_examples(one.prompt)
        assert ">>>" not in lame and examples(lame) == []
        assert lame.split("\n")[-1] == one.prompt.split("\n")[-1]


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
