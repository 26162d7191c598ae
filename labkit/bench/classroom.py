"""`labkit bench class`: a class of simulated students on one engine and one Voila of this machine, for some minutes.

Each of them opens one of several dashboards within the first half minute and then works in bursts: Step twice a second for
5 to 20 seconds, a pause of 3 to 10, now and then Run and Stop, now and then another temperature, seed or prompt. Who does
what when follows from the seed; how the machine answers does not. They share the machine with what they measure, so their
own part of its time is printed too.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Annotated, Any

import psutil
import typer

from labkit.bench.ui import Measured, settle, start_engine
from labkit.bench.visitor import Seat, Visitor, VisitorError
from labkit.engine.remote import RemoteEngine
from labkit.host import launch
from labkit.paths import NOTEBOOKS

# the dashboards, and the methods that students choose on them; the first is the page's own
PAGES = {
    "01_entropy.ipynb": ("plain",),
    "02_draft_trees.ipynb": ("token-recycling", "lookup", "dyspec"),
    "03_acceptance.ipynb": ("chain", "static-tree"),
    "04_when_to_draft.ipynb": ("specdec++",),
    "05_batches_and_timelines.ipynb": ("pearl",),
}
PACE = 0.5  # seconds from one click on Step to the next
BURST, PAUSE = (5.0, 20.0), (3.0, 10.0)  # seconds of stepping, and of looking
ARRIVING = 30.0  # seconds within which all open their page
RUNS, TURNS = 0.3, 0.2  # shares of the pauses that begin with Run and Stop, and with a knob
WARM_UP = 30.0  # seconds after the last arrival; the engine's memory is to be flat from then on
STAGE, MORE = 30.0, 5  # a ramp: seconds of a stage, and how many visitors more each has
STEP, STOP, GROWTH, KERNEL, ARRIVED = 400.0, 300.0, 5.0, 150.0, 60.0  # budgets: ms, ms, %, MB, s
PROMPTS = ("def read(path):\n", "import json\n\n\nclass Config:\n", "for name, value in sorted(", "# Settings\nwidth = ")
MEGA = 1e6


class Student:
    """One simulated visitor, and what it saw: `steps` and `stops` in milliseconds, each with its moment; `opened` in seconds."""

    def __init__(self, url: str, number: int, seed: int):
        self.dice = Random(f"{seed} {number}")
        page = list(PAGES)[number % len(PAGES)]
        self.method = self.dice.choice(PAGES[page])
        self.visitor = Visitor(url, page)
        self.opened = 0.0
        self.steps: list[tuple[float, float]] = []
        self.stops: list[tuple[float, float]] = []

    async def live(self, wait: float) -> None:
        """Come after `wait` seconds, and work until cancelled. Whatever goes wrong is in `visitor.trouble`."""
        await asyncio.sleep(wait)
        clock, start = self.visitor.clock, self.visitor.clock()
        try:
            await self.visitor.arrive()
            seat = self.visitor.seats[0]
            await seat.watch(1)
            self.opened = clock() - start
            await seat.quiet()
        except VisitorError as error:
            return self._complain(error)
        while not self.visitor.over:
            try:
                if self.method not in (seat.lane.request["method"], ""):
                    await seat.change(method=self.method, knobs={})
                    self.method = ""
                await self._burst(seat)
                await self._between(seat)
            except VisitorError as error:
                self._complain(error)
                if seat.lane.error:
                    seat.post("retry")
            await asyncio.sleep(self.dice.uniform(*PAUSE))

    def _complain(self, error: VisitorError) -> None:
        if str(error) not in self.visitor.trouble:  # else the page has shown it already
            self.visitor.trouble.append(str(error))

    async def _burst(self, seat: Seat) -> None:
        clock = self.visitor.clock
        over = clock() + self.dice.uniform(*BURST)
        while clock() < over:
            beat = clock() + PACE
            if seat.lane.ended:
                await self._begin_anew(seat)
            elif (spent := await seat.step()) is not None:
                self.steps.append((clock(), 1000 * spent))
            await asyncio.sleep(max(0.0, beat - clock()))

    async def _begin_anew(self, seat: Seat) -> None:
        """The text has ended: take another prompt, and stop its run after some steps."""
        await seat.change("prompt", prompt=self.dice.choice(PROMPTS), ids=None, seed=self.dice.randrange(1000))
        await self._stop(seat)

    async def _between(self, seat: Seat) -> None:
        what = self.dice.random()
        if what < RUNS and not seat.lane.ended:
            await seat.quiet()
            if await seat.run():
                await self._stop(seat)
        elif RUNS <= what < RUNS + TURNS:
            knob = {"temperature": self.dice.choice([0.0, 0.5, 0.8, 1.0]), "seed": self.dice.randrange(1000)}
            await seat.change(**knob)

    async def _stop(self, seat: Seat) -> None:
        if (spent := await seat.stop()) is not None:
            self.stops.append((self.visitor.clock(), 1000 * spent))


class House:
    """The engine and Voila that a class comes to."""

    def __init__(self, engine: str, url: str, processes: dict[str, psutil.Process]):
        self.engine, self.url, self.processes = engine, url, processes

    def kernels(self) -> list[psutil.Process]:
        """All kernels, in use or warm."""
        return self.processes["Voila"].children()

    def engine_memory(self) -> float:
        """Resident memory of the engine in MB."""
        return self.processes["engine"].memory_info().rss / MEGA

    def spent(self) -> dict[str, float]:
        """Seconds of processor time so far, by who spent it."""
        groups = {name: [process] for name, process in self.processes.items()}
        groups |= {"kernels": self.kernels(), "visitors": [psutil.Process()]}
        return {name: sum(sum(one.cpu_times()[:2]) for one in group) for name, group in groups.items()}

    async def machine(self) -> dict[str, Any]:
        """What all this runs on."""
        engine = RemoteEngine(self.engine)
        try:
            status, models = await engine.status(), await engine.models()
        finally:
            await engine.close()
        dtype = next((model.dtype for model in models if model.name == status.target), "")
        return {
            "target": status.target,
            "draft": status.draft,
            "device": status.device,
            "dtype": dtype,
            "processor": platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        }


@contextmanager
def opened(warm: int, say: Callable[[str], None]) -> Iterator[House]:
    """An engine with its models in memory, and a Voila with `warm` kernels that wait for a page; both end with the block."""
    with tempfile.TemporaryDirectory() as folder, launch.Family() as family:
        for page in PAGES:
            shutil.copy(NOTEBOOKS / page, folder)
        say("starting the engine")
        engine = start_engine(family)
        port, pool = launch.free_port(), -(-warm // len(PAGES))
        command = launch.dashboards_command(Path(folder), port, pool)
        voila = family.start(command, launch.environment(engine), sys.stderr)
        url = f"http://127.0.0.1:{port}/"
        launch.wait(lambda: launch.answers(url), voila, "Voila")
        processes = {"engine": psutil.Process(family.roots[0].pid), "Voila": psutil.Process(voila.pid)}
        house = House(engine, url, processes)
        while (there := len(house.kernels())) < pool * len(PAGES):
            say(f"warming kernels: {there} of {pool * len(PAGES)}")
            time.sleep(0.5)
        settle(processes["Voila"])
        yield house


async def attend(
    house: House, visitors: int, minutes: float, seed: int, say: Callable[[str], None]
) -> tuple[list[Measured], Counter[str]]:
    """A class of `visitors` for so many minutes: what was measured, and every sentence that somebody read in alarm."""
    async with _Class(house, seed) as group:
        clock = asyncio.get_running_loop().time
        start, before = clock(), house.spent()
        group.come(visitors, ARRIVING)
        over, early = start + 60 * minutes, 0.0
        warm, all_here = None, None
        while clock() < over:
            await asyncio.sleep(1)
            here = [one for one in group.students if one.opened]
            if all_here is None and len(here) == visitors:
                all_here = clock() - start
            if warm is None and all_here is not None and clock() - start > all_here + min(WARM_UP, 10 * minutes):
                warm = clock()
                early = house.engine_memory()
            say(f"{len(here)} of {visitors} here, {group.said(clock() - 10)}, {over - clock():.0f} s to go")
        late, after, spent = house.engine_memory(), house.spent(), clock() - start
        kernels = [kernel.memory_full_info() for kernel in house.kernels()]
        steps, stops = group.times("steps"), group.times("stops")
        rows = [
            Measured("errors", "", [len(group.trouble())], 0),
            Measured("one step", "ms", steps, STEP, "p95"),
            Measured("Stop", "ms", stops, STOP, "p95"),
            Measured("everybody's page stands after", "s", [all_here if all_here is not None else float("inf")], ARRIVED),
            Measured("opening a page", "s", [one.opened for one in group.students if one.opened]),
            Measured("steps served a second", "1/s", [len(steps) / spent]),
            Measured("engine's memory after warm-up, and at the end", "MB", [early, late]),
            Measured("its growth since", "%", [100 * (late / early - 1) if early else float("nan")], GROWTH),
            Measured("heaviest kernel (RSS)", "MB", [max(one.rss for one in kernels) / MEGA], KERNEL),
        ]
        if hasattr(kernels[0], "pss"):
            rows.append(Measured("heaviest kernel, shared pages divided (PSS)", "MB", [max(one.pss for one in kernels) / MEGA]))
            rows.append(Measured("all kernels, shared pages divided (PSS)", "MB", [sum(one.pss for one in kernels) / MEGA]))
        rows += [Measured(f"of a core: {name}", "%", [100 * (after[name] - before[name]) / spent]) for name in before]
        return [row for row in rows if row.values], Counter(group.trouble())


async def climb(house: House, most: int, seed: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """More and more visitors, until a stage's p95 of a step is over the budget, something is refused, or `most` are here.

    One row a stage: `visitors`, `steps` a second, `p50` and `p95` in ms, and what the lab `said`, each sentence with its count.
    """
    stages: list[dict[str, Any]] = []
    async with _Class(house, seed) as group:
        clock = asyncio.get_running_loop().time
        while len(group.students) < most:
            group.come(MORE, MORE)
            known = Counter(group.trouble())
            start = clock()
            while clock() < start + STAGE:
                await asyncio.sleep(1)
                say(f"{len(group.students)} visitors, {group.said(clock() - 10)}")
            steps, said = group.times("steps", start), Counter(group.trouble()) - known
            step = Measured("one step", "ms", steps or [float("inf")], STEP, "p95")
            row = {"visitors": len(group.students), "steps": len(steps) / STAGE, "p50": step.median, "p95": step.p95}
            stages.append({**row, "said": dict(said)})
            if said or not step.met:
                break
    return stages


class _Class:
    """Students that come, and all leave in the end."""

    def __init__(self, house: House, seed: int):
        self.house, self.seed = house, seed
        self.students: list[Student] = []
        self._lives: list[asyncio.Task] = []

    async def __aenter__(self) -> _Class:
        return self

    async def __aexit__(self, *_) -> None:
        for life in self._lives:
            life.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)
        await asyncio.gather(*(one.visitor.leave() for one in self.students))

    def come(self, many: int, within: float) -> None:
        """`many` more, spread evenly over `within` seconds."""
        for place in range(many):
            student = Student(self.house.url, len(self.students), self.seed)
            self.students.append(student)
            self._lives.append(asyncio.create_task(student.live(within * place / many)))

    def times(self, what: str, since: float = 0.0) -> list[float]:
        """Milliseconds of all "steps" or "stops" since a moment."""
        return [spent for student in self.students for moment, spent in getattr(student, what) if moment >= since]

    def trouble(self) -> list[str]:
        """Every sentence that anybody read in alarm, and what broke here."""
        broken = [repr(life.exception()) for life in self._lives if life.done() and not life.cancelled() and life.exception()]
        return [text for student in self.students for text in student.visitor.trouble] + broken

    def said(self, since: float) -> str:
        """How it goes, in a few words."""
        steps = self.times("steps", since)
        p95 = f"p95 {Measured('', 'ms', steps).p95:.0f} ms" if steps else "no step yet"
        return f"{p95}, {len(self.trouble())} errors"


app = typer.Typer(add_completion=False)


@app.command()
def main(
    visitors: Annotated[int, typer.Option(min=1, help="How many; with --ramp, how many kernels are warm.")] = 40,
    minutes: Annotated[float, typer.Option(min=0.1, help="For how long.")] = 10,
    ramp: Annotated[bool, typer.Option("--ramp", help="More and more visitors, until it breaks.")] = False,
    most: Annotated[int, typer.Option(min=MORE, help="Where a ramp ends at the latest.")] = 120,
    seed: Annotated[int, typer.Option(help="Same seed, same students.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """A class of simulated students on this machine: how quick, how heavy, and where it breaks. Ctrl-C ends it.

    Example: labkit bench class --visitors 20 --minutes 2
    """
    from rich.console import Console

    launch.stop_on_signals()
    with Console(stderr=True).status("starting") as status, opened(visitors, status.update) as house:
        about = asyncio.run(house.machine())
        if ramp:
            stages = asyncio.run(climb(house, most, seed, status.update))
        else:
            rows, said = asyncio.run(attend(house, visitors, minutes, seed, status.update))
    if as_json:
        # tens of thousands of steps: how many, not each
        table = [] if ramp else [{**row.row(), "values": len(row.values)} for row in rows]
        result = {"stages": stages} if ramp else {"rows": table, "said": dict(said)}
        print(json.dumps({**about, "visitors": visitors, "minutes": minutes, "seed": seed, **result}, indent=1))
    elif ramp:
        _show_ramp(about, stages)
    else:
        _show(about, visitors, minutes, rows, said)


def _head(about: dict[str, Any]) -> str:
    models = f"{about['target']} with {about['draft'] or 'no draft'} on {about['device']}, {about['dtype']}"
    return f"{models}; {about['cores']} cores ({about['processor']}), {about['memory_gb']:g} GB"


def _show(about: dict[str, Any], visitors: int, minutes: float, rows: list[Measured], said: Counter[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(f"{_head(about)}; {visitors} visitors for {minutes:g} minutes", soft_wrap=True)
    table = Table("what", "median / p95", "times", "budget", "", box=box.SIMPLE)
    for row in rows:
        table.add_row(*map(escape, row.cells()))
    console.print(table)
    for text, times in said.most_common():
        console.print(f"{times} times: {escape(text)}", soft_wrap=True)


def _show_ramp(about: dict[str, Any], stages: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(f"{_head(about)}; {MORE} visitors more every {STAGE:g} seconds", soft_wrap=True)
    table = Table("visitors", "steps/s", "median ms", "p95 ms", "errors", box=box.SIMPLE)
    for stage in stages:
        cells = [f"{stage['visitors']}", f"{stage['steps']:.1f}", f"{stage['p50']:.0f}", f"{stage['p95']:.0f}"]
        table.add_row(*cells, str(sum(stage["said"].values())))
    console.print(table)
    last = stages[-1]
    if last["said"]:
        console.print(f"It broke with {last['visitors']} visitors, who read:")
        for text, times in Counter(last["said"]).most_common():
            console.print(f"{times} times: {escape(text)}", soft_wrap=True)
    elif last["p95"] > STEP:
        console.print(f"It broke with {last['visitors']} visitors: only slower than {STEP:g} ms, nobody was refused.")
    else:
        console.print(f"It did not break with {last['visitors']} visitors.")
