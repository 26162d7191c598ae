"""A sweep on a page: a child process computes it, its lines are the steps of a study, and a bench draws them as they come."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, AsyncIterator

import msgspec

from labkit.cluster.plan import TABLE, Cell, Plan, latest
from labkit.engine.limits import WINDOW
from labkit.engine.protocol import MethodInfo, ModelInfo, Status, TransformInfo
from labkit.errors import LabError
from labkit.host.launch import Family
from labkit.knobs import Knob, check
from labkit.paths import DATA
from labkit.trace import Closing, Event, Opening, Request, Step, Trace
from labkit.ui.bench import Bench

Grids = dict[str, tuple[str, list[str]]]  # name -> methods with commas between, and settings as `--set` takes them
GRIDS: Grids = {
    "draft length": ("chain", ["chain.length=1,2,3,4,6,8,12,16"]),
    "copied text": ("lookup", ["lookup.longest=1,3", "lookup.length=2,4,8,16"]),
    "methods": ("plain,lookup,token-recycling,chain,static-tree,dyspec", []),
}
LABKIT = [sys.executable, "-m", "labkit.cli"]
SHIPPED = DATA / "sweeps"
PATIENCE = 1.0  # seconds nobody pulls until the child is stopped: what a person who pressed Stop has given up
CHARTS = ("sweep_cells", "sweep_means")
SUMMARY = "Which setting is best, and does the answer hold for every text? Each field is one run; Stop, and Run goes on."
IN_CLASS = "In a class nobody starts a sweep from a page: one would take the machine from everybody."


class Line(msgspec.Struct):
    """One line of `labkit sweep --json`."""

    done: int
    of: int
    plan: Plan | None = None
    cell: Cell | None = None
    table: str = ""


class Sweeper:
    """An engine whose one study is a sweep, computed by a child process; `grids` are (methods, settings) by name.

    Each choice of knobs has its own folder under `base`. A child that nobody pulls is stopped; with the next pull another one
    goes on where it was. Where `LABKIT_CLASS` is set no child is started.
    """

    def __init__(self, grids: Grids, base: Path):
        self.grids, self.base = grids, base
        self.closed = os.environ.get("LABKIT_CLASS", "") not in ("", "0")
        first = next(iter(grids))
        self.knobs = [
            Knob("grid", "choice", first, "Sweep over", "what changes from row to row", choices=tuple(grids)),
            Knob("prompts", "int", 6, "Prompts", "held-out beginnings of files", low=1, high=24, step=1),
            Knob("tokens", "int", 48, "New tokens", "in each cell", low=16, high=128, step=16),
        ]

    async def methods(self) -> list[MethodInfo]:
        """The sweep alone."""
        summary = f"{IN_CLASS} This is the one that was finished last." if self.closed else SUMMARY
        return [MethodInfo("sweep", "Sweep", "speculative", summary, self.knobs, charts=CHARTS, study=True)]

    def introduce(self, who: str, page: str) -> None:
        """Nobody else is here who could want to know."""

    async def transforms(self) -> list[TransformInfo]:
        """None."""
        return []

    async def models(self) -> list[ModelInfo]:
        """None to choose from: the child takes the default pair."""
        return []

    async def status(self) -> Status:
        """This process, which starts the children."""
        return Status("this process", device="")

    async def look(self, what: str, **question: Any) -> dict[str, Any]:
        """Raises `LabError`: a sweep answers no questions."""
        raise LabError(f"A sweep cannot be asked {what!r}: ask on another page.")

    async def close(self) -> None:
        """Children end with the runs that started them."""

    def command(self, request: Request, folder: str | Path) -> list[str]:
        """The words behind `labkit` that compute a request into `folder`. Raises `KnobError`."""
        knobs = check(self.knobs, request.knobs)
        methods, settings = self.grids[knobs["grid"]]
        turned = [word for setting in settings for word in ("--set", setting)]
        asked = {name: str(knobs[name]) for name in ("prompts", "tokens")}
        asked |= {"temperature": f"{request.temperature:g}", "seeds": str(request.seed), "out": str(folder)}
        return ["sweep", "--methods", methods, *turned, *(word for name in asked for word in (f"--{name}", asked[name]))]

    def folder(self, request: Request) -> Path:
        """Where the results of a request go."""
        key = sha256(" ".join(self.command(request, "")).encode()).hexdigest()[:8]
        grid = check(self.knobs, request.knobs)["grid"]
        return self.base / f"{grid.replace(' ', '-')}-{key}"

    async def run(self, request: Request, window: int = WINDOW) -> AsyncIterator[Event]:
        """Opening, a step for the plan, one for each finished cell and one for the table, Closing. Raises `LabError`."""
        if self.closed:
            raise LabError(f"{IN_CLASS} Run it on a machine of your own: labkit {' '.join(self.command(request, 'results'))}.")
        async with contextlib.aclosing(self._lines(request)) as lines:
            async for line in lines:
                if line.plan:
                    yield opening(request, line.plan)
                yield step(line)
        yield Closing("done")

    async def _lines(self, request: Request) -> AsyncIterator[Line]:
        """What the child says; another one is started when it was stopped because nobody pulled."""
        command = [*LABKIT, *self.command(request, self.folder(request))]
        command += ["--json", "--cpus", str(max(1, (os.cpu_count() or 2) - 1))]  # one is left for the page
        known, paused = -1, True
        while paused:
            paused = False
            async with kept() as family:
                child = family.start(command, dict(os.environ), subprocess.PIPE)

                def pause(child=child):
                    nonlocal paused
                    paused = True
                    child.terminate()

                while text := await asyncio.to_thread(child.stdout.readline):
                    line = msgspec.json.decode(text, type=Line)
                    if (line.plan or line.cell) and line.done <= known or paused:
                        continue  # a child tells first what others have finished
                    known = max(known, line.done)
                    timer = asyncio.get_running_loop().call_later(PATIENCE, pause)
                    try:
                        yield line
                    finally:
                        timer.cancel()
                said = await asyncio.to_thread(child.stderr.read)
                if await asyncio.to_thread(child.wait) and not paused:
                    words = said.decode(errors="replace").strip().split("\n")[-1].removeprefix("labkit: ")
                    raise LabError(words or "The sweep ended without a word: press Run to go on.")


@contextlib.asynccontextmanager
async def kept() -> AsyncIterator[Family]:
    """A family whose end, which may take seconds, nobody has to wait for in the loop."""
    family = await asyncio.to_thread(Family().__enter__)
    try:
        yield family
    finally:
        await asyncio.to_thread(family.__exit__)


def opening(request: Request, plan: Plan) -> Opening:
    """The first event of a sweep."""
    models = {"target": plan.target, "draft": plan.draft, "dtype": plan.dtype}
    return Opening(request, **models, labkit=plan.labkit, charts=list(CHARTS))


def step(line: Line) -> Step:
    """A line as a step that the charts can draw."""
    notes: dict[str, Any] = {"done": line.done, "of": line.of}
    if line.plan:
        notes["plan"] = msgspec.to_builtins(line.plan)
    if line.table:
        notes["table"] = line.table
    if not line.cell:
        return Step([], notes=notes)
    names = ("prompt", "temperature", "seed", "tokens", "error")
    notes["cell"] = {"setting": line.cell.name, **{name: getattr(line.cell, name) for name in names}}
    return Step([], cost=line.cell.cost, notes=notes)


class Sweep(Bench):
    """A sweep with its knobs, started and stopped from the page; `grids` are (methods, settings) by name, as on the command line.

    Results go to `folder`, by default `LABKIT_SWEEPS` or ~/labkit-sweeps; the sweep finished there last is shown first, and one
    that comes with the lab where there is none.
    """

    def __init__(self, grids: Grids | None = None, *, folder: str | Path | None = None, **settings: Any):
        base = Path(folder or os.environ.get("LABKIT_SWEEPS") or Path.home() / "labkit-sweeps").expanduser()
        self.sweeper = Sweeper(grids or GRIDS, base)
        found = None if settings else latest(base) or latest(SHIPPED)
        trace = replayed(self.sweeper, *found) if found else None
        super().__init__("study", "", method="sweep", engine=self.sweeper, trace=trace, **settings)

    @property
    def table(self) -> Path:
        """The Parquet file of the request on the page; it is there once the sweep has ended or was stopped."""
        return self.sweeper.folder(self._drive.lanes[0].request) / TABLE

    async def _answer(self, message: dict[str, Any]) -> None:
        """The code that makes it again is a command, and one line that reads what it wrote."""
        if message["ask"] != "code":
            await super()._answer(message)
            return
        command = " ".join(self.sweeper.command(self._drive.lanes[0].request, self.table.parent))
        read = "import pandas  # or polars, which has the same function"
        code = f"!labkit {command}\n\n{read}\npandas.read_parquet({str(self.table)!r})\n"
        self.send({"kind": "answer", "id": message.get("id")}, [msgspec.json.encode({"code": code})])


def replayed(sweeper: Sweeper, folder: Path, plan: Plan, cells: list[Cell]) -> Trace:
    """A finished sweep as the trace that its run gave."""
    grid = next((name for name in sweeper.grids if folder.name.startswith(name.replace(" ", "-"))), next(iter(sweeper.grids)))
    knobs = {"grid": grid, "prompts": plan.prompts, "tokens": plan.tokens}
    request = Request(method="sweep", knobs=knobs, temperature=plan.temperatures[0], seed=plan.seeds[0])
    trace = Trace(opening(request, plan), [step(Line(0, len(plan), plan))], Closing("done"))
    trace.steps += [step(Line(done, len(plan), cell=cell)) for done, cell in enumerate(cells, 1)]
    if not sweeper.closed:  # nobody in a class can read the teacher's files
        trace.steps.append(step(Line(len(plan), len(plan), table=str(folder / TABLE))))
    return trace
