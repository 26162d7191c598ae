"""A short class: all get a page and step, nobody reads an alarm, and in the end the engine holds nothing. Nothing is timed."""

from __future__ import annotations

import asyncio
from collections import Counter

import psutil
import pytest

from labkit.bench import classroom
from labkit.bench.classroom import PAGES, House, Student
from labkit.bench.ui import Measured

VISITORS, MINUTES = len(PAGES), 0.5  # one on each of the dashboards


@pytest.fixture
def house(lab) -> House:
    """The lab of this folder as the bench knows it."""
    processes = {"engine": lab.process("engine"), "Voila": lab.process("labkit.host.dashboards")}
    return House(lab.engine, lab.url, processes)


def test_a_short_class(house, lab, monkeypatch):
    monkeypatch.setattr(classroom, "ARRIVING", 1.0)
    students: list[Student] = []
    monkeypatch.setattr(classroom, "Student", lambda *given: students.append(Student(*given)) or students[-1])
    said: list[str] = []
    before = set(house.kernels())
    kernels: list[psutil.Process] = []

    def say(words: str) -> None:
        said.append(words)
        kernels[:] = set(house.kernels()) - before

    rows, trouble = asyncio.run(classroom.attend(house, VISITORS, MINUTES, 1, say))
    assert trouble == Counter() and said
    assert len(students) == VISITORS and all(student.opened and student.steps for student in students)
    found = {row.name: row for row in rows}
    assert found["errors"].values == [0] and found["errors"].met
    assert len(found["one step"].values) == sum(len(student.steps) for student in students)
    assert 20 < found["heaviest kernel (RSS)"].values[0] < 1000 and len(kernels) == VISITORS
    asyncio.run(lab.freed())
    _, alive = psutil.wait_procs(kernels, 60)
    assert not alive


def test_what_a_student_does_follows_from_the_seed():
    """Same seed and number: same page, method and dice; another number: others."""

    async def plans(seed):
        return [(s.visitor.notebook, s.method, s.dice.random()) for s in (Student("http://x/", n, seed) for n in range(10))]

    first, again, other = (asyncio.run(plans(seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert {notebook for notebook, *_ in first} == set(PAGES)


def test_a_ramp_stops_where_it_breaks(monkeypatch):
    """Stages grow until a visitor is refused, whose sentence is in the last row; a slow stage ends it too."""

    class Refused(Student):
        async def live(self, wait):
            self.steps = [(1e9, 500.0 if slow else 5.0)] * 30
            if not slow and len(students) > 12:
                self.visitor.trouble.append("The lab is full.")

    def make(*given):
        students.append(Refused(*given))
        return students[-1]

    monkeypatch.setattr(classroom, "Student", make)
    monkeypatch.setattr(classroom, "STAGE", 0.1)
    slow, students = False, []
    stages = asyncio.run(classroom.climb(House("", "http://x/", {}), 100, 0, lambda words: None))
    assert [stage["visitors"] for stage in stages] == [5, 10, 15]
    assert [stage["said"] for stage in stages[:2]] == [{}, {}] and set(stages[2]["said"]) == {"The lab is full."}
    slow, students = True, []
    stages = asyncio.run(classroom.climb(House("", "http://x/", {}), 100, 0, lambda words: None))
    assert len(stages) == 1 and stages[0]["p95"] == 500.0 > classroom.STEP


def test_a_missed_budget_is_said():
    assert not Measured("errors", "", [1], 0).met and Measured("errors", "", [0], 0).met
