"""P166: does planning find more working programs than sampling and filtering, for the same number of forwards?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

from labkit.knobs import knob
from labkit.law import Law, draw
from labkit.methods import Study
from labkit.sampling.pgtd import PGTD, Search
from labkit.sampling.programs import Program
from labkit.tasks import kit, passed
from labkit.trace import Step

GREEDY, SAMPLING, PLANNING = "greedy", "sampling + filtering", "PG-TD"


def planned(search: Search) -> Iterator[Program]:
    """One rollout after another, for ever."""
    while True:
        yield search.rollout()[1]


def sampled(search: Search, law: Law, rng) -> Iterator[Program]:
    """One program after another, every token drawn from `law`, for ever."""
    while True:
        written = ()
        while not search.pen.ends(written):
            written = (*written, draw(law(search.pen.law(written)), rng))
        yield search.judge(search.pen.read(written))


@dataclass
class Planning(Study):
    """Does planning find more working programs than sampling and filtering, for the same number of forwards? (P166)

    On tasks of the kit: a function with one line missing, or the whole body. Each way tries programs until one passes the
    examples in the prompt or its forwards are spent, and answers with the best so far; hidden tests, which no way sees, then say
    whether that works. Sampling draws from the model's law at `heat` and keeps what does best on the examples. Greedy tries once.
    The request's temperature and transforms are left aside. On all 51 one-line tasks, 200 forwards each and one seed, greedy
    decoding solves 7, sampling at 0.5 solves 14 (at 0.8: 11; at 1.1: 4), planning 14: the paper's lead does not show.
    """

    name, title, paper = "planning", "Planning against sampling", "P166"
    charts = ("plan_race",)
    tasks: int = knob(12, 1, 62, unit="tasks", help="of the kit, in its order")
    budget: int = knob(200, 20, 1000, unit="forwards", step=20, label="Forwards a task", help="for each way")
    heat: float = knob(0.5, 0.1, 2.0, step=0.1, label="Heat of sampling", help="its temperature")
    k: int = knob(3, 2, 8, unit="tokens", label="Children k", help="of planning")
    c: float = knob(4.0, 0.0, 16.0, step=0.5, label="Exploration c", help="of planning")
    missing: str = knob("one line", choices=("one line", "whole body"), label="Missing", help="what is to be written")

    def steps(self, session, rng):
        chosen = kit("hole" if self.missing == "one line" else "whole")[: self.tasks]
        runs, tried = {way: [] for way in (GREEDY, SAMPLING, PLANNING)}, dict.fromkeys((GREEDY, SAMPLING, PLANNING), 0)
        for number, task in enumerate(chosen):
            for way, found in runs.items():
                search = Search(PGTD(k=self.k, c=self.c), session.open(session.vocabulary.encode(task.prompt)), task.public)
                ledger = session.ledger
                before, best = ledger.forwards, -1.0
                found.append([])
                programs = sampled(search, Law(self.heat), rng) if way == SAMPLING else planned(search)
                for program in programs:
                    spent = ledger.forwards - before
                    tried[way] += 1
                    if program.worth > best and (spent <= self.budget or best < 0):
                        best = program.worth
                        works = all(passed(task.prompt + program.text, [*task.public, *task.hidden]))
                        found[-1].append([spent, program.worth, works])
                    over = way == GREEDY or best == 1 or spent >= self.budget
                    done = number + (over and way == PLANNING)
                    yield self.frame(done, len(chosen), task.name, way, runs, tried)
                    if over:
                        break

    def frame(self, done: int, of: int, task: str, way: str, runs: dict, tried: dict) -> Step:
        """What is known: for every way and task the moments at which its answer got better, [forwards, public share, works]."""
        notes = {"done": done, "of": of, "budget": self.budget, "task": task, "way": way, "tried": dict(tried)}
        return Step(emitted=[], notes=notes | {"runs": {way: [list(one) for one in found] for way, found in runs.items()}})
