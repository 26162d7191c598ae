"""A sweep on a page: a child computes it, is stopped when nobody pulls, and another one goes on; none is started in a class."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import msgspec
import pytest

from labkit.cluster.plan import CELLS, TABLE, Cell, Plan
from labkit.engine.protocol import Engine
from labkit.errors import LabError
from labkit.trace import Closing, Cost, Opening, Request, Setting
from labkit.ui import Sweep
from labkit.ui import sweep as sweeps

CELLS_OF_ONE = 6
# Stands in for `labkit sweep`: a cell every tenth of a second, each written down once, and a word for every start.
CHILD = '''
import json, signal, sys, time
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("--out") + 1]); folder.mkdir(parents=True, exist_ok=True)
signal.signal(signal.SIGTERM, signal.default_int_handler)
with open(folder / "starts", "a") as starts: starts.write("x")
plan, cells = json.loads(sys.argv[1]), json.loads(sys.argv[2])
if sys.argv[3] == "refuse": print("labkit: The folder holds another sweep: give another.", file=sys.stderr); sys.exit(2)
tell = lambda **line: print(json.dumps({**line, "of": len(cells)}), flush=True)
tell(plan=plan, done=0)
known = (folder / "cells.jsonl").read_text().splitlines() if (folder / "cells.jsonl").exists() else []
try:
    for done, cell in enumerate(cells, 1):
        if done > len(known):
            time.sleep(0.1)
            with open(folder / "cells.jsonl", "a") as journal: journal.write(json.dumps(cell) + "\\n")
        tell(cell=cell, done=done)
    tell(table=str(folder / "cells.parquet"), done=len(cells))
except KeyboardInterrupt:
    tell(table=str(folder / "cells.parquet"), done=0); sys.exit(1)
'''
PLAN = Plan(
    settings=[Setting("plain", {})], names=["plain"], prompts=CELLS_OF_ONE, tokens=16, temperatures=[0.0], seeds=[0],
    target="lab-target", draft="lab-draft", dtype="float32", labkit="0",
)  # fmt: skip


def cells() -> list[Cell]:
    cost = Cost(target_forwards=4, seconds=0.1)
    return [Cell(number, "plain", "plain", {}, number, 0.0, 0, tokens=8, cost=cost) for number in range(CELLS_OF_ONE)]


@pytest.fixture
def child(monkeypatch, tmp_path):
    """Puts the stand-in in the place of the command; `child("refuse")` makes one that says no."""

    def put(how="go"):
        script = tmp_path / "child.py"
        script.write_text(CHILD)
        told = [msgspec.json.encode(one).decode() for one in (PLAN, cells())]
        monkeypatch.setattr(sweeps, "LABKIT", [sys.executable, str(script), *told, how])

    put()
    return put


@pytest.fixture
def sweeper(tmp_path):
    return sweeps.Sweeper(sweeps.GRIDS, tmp_path / "sweeps")


def test_it_runs_stops_when_nobody_pulls_and_goes_on(child, sweeper, monkeypatch):
    monkeypatch.setattr(sweeps, "PATIENCE", 0.2)
    request = Request(method="sweep")
    folder = sweeper.folder(request)

    async def play():
        async with contextlib.aclosing(sweeper.run(request)) as events:
            seen = [await anext(events) for _ in range(4)]
            async with asyncio.timeout(20):  # nobody pulls: no more cells are computed
                while len((folder / CELLS).read_bytes().splitlines()) < 2:
                    await asyncio.sleep(0.05)
                was = -1
                while was != (was := (folder / CELLS).stat().st_size):
                    await asyncio.sleep(0.5)
            assert len((folder / CELLS).read_bytes().splitlines()) < CELLS_OF_ONE
            seen += [event async for event in events]
        return seen

    opening, first, *steps, table, closing = asyncio.run(play())
    assert isinstance(opening, Opening) and opening.target == "lab-target" and opening.charts == list(sweeps.CHARTS)
    assert first.notes["plan"]["names"] == ["plain"]
    assert [step.notes["cell"]["prompt"] for step in steps] == list(range(CELLS_OF_ONE))  # each once, in order
    assert [step.notes["done"] for step in steps] == list(range(1, CELLS_OF_ONE + 1))
    assert steps[0].cost == Cost(target_forwards=4, seconds=0.1)
    assert table.notes["table"] == str(folder / TABLE) and closing == Closing("done")
    assert (folder / "starts").read_text() == "xx"


def test_leaving_ends_the_child(child, sweeper):
    async def play():
        async with contextlib.aclosing(sweeper.run(Request(method="sweep"))) as events:
            await anext(events)
            return await anext(events)

    asyncio.run(play())
    journal = sweeper.folder(Request(method="sweep")) / CELLS
    was = journal.stat().st_size if journal.exists() else 0
    asyncio.run(asyncio.sleep(0.5))
    assert (journal.stat().st_size if journal.exists() else 0) == was


def test_what_the_command_says_is_the_page_s_sentence(child, sweeper):
    child("refuse")

    async def play():
        return [event async for event in sweeper.run(Request(method="sweep"))]

    with pytest.raises(LabError, match="^The folder holds another sweep: give another.$"):
        asyncio.run(play())


def test_knobs_make_the_command_and_the_folder(sweeper):
    request = Request(method="sweep", knobs={"grid": "copied text", "prompts": 3}, temperature=0.7, seed=5)
    words = " ".join(sweeper.command(request, "out"))
    assert words == (
        "sweep --methods lookup --set lookup.longest=1,3 --set lookup.length=2,4,8,16 "
        "--prompts 3 --tokens 48 --temperature 0.7 --seeds 5 --out out"
    )
    assert sweeper.folder(request) != sweeper.folder(Request(method="sweep", knobs={"grid": "copied text", "prompts": 4}))
    assert sweeper.folder(request).name.startswith("copied-text-")
    with pytest.raises(LabError, match="Prompts is 99, outside its range"):
        sweeper.command(Request(method="sweep", knobs={"prompts": 99}), "out")


def test_the_grids_are_commands_that_work(sweeper):
    """What the page offers is accepted by the command line's own checks."""
    from labkit.cluster import grid

    for methods, settings in sweeps.GRIDS.values():
        assert len(grid.plan(methods, settings, 1, 8, [0.0], [0], "", "", "").names) > 3


def test_a_page_shows_the_last_one_and_a_class_starts_none(tmp_path, monkeypatch):
    folder = tmp_path / "draft-length-1"
    folder.mkdir()
    (folder / "plan.json").write_bytes(msgspec.json.encode(PLAN))
    (folder / CELLS).write_bytes(b"".join(msgspec.json.encode(cell) + b"\n" for cell in cells()))
    (folder / TABLE).touch()

    page = Sweep(folder=tmp_path)
    assert page.trace.closing and page.trace.steps[-1].notes["table"] == str(folder / TABLE)
    assert page.trace.opening.request.knobs == {"grid": "draft length", "prompts": CELLS_OF_ONE, "tokens": 16}

    monkeypatch.setenv("LABKIT_CLASS", "1")
    page = Sweep(folder=tmp_path)
    assert len(page.trace.steps) == 1 + CELLS_OF_ONE  # the files are the teacher's

    async def play():
        info = (await page.sweeper.methods())[0]
        assert "In a class nobody starts a sweep from a page" in info.summary
        with pytest.raises(LabError, match="In a class nobody starts a sweep from a page.*labkit sweep --methods chain"):
            await anext(page.sweeper.run(Request(method="sweep")))

    asyncio.run(play())
    assert [path.name for path in tmp_path.iterdir()] == ["draft-length-1"]


def test_the_code_is_the_command_and_one_line_that_reads(tmp_path):
    page = Sweep(folder=tmp_path)
    told = []
    page.send = lambda content, buffers: told.append(msgspec.json.decode(buffers[0]))
    asyncio.run(page._answer({"ask": "code", "id": 1}))
    command, _, _, read = told[0]["code"].strip().split("\n")
    assert command.startswith("!labkit sweep --methods chain --set chain.length=1,2,3,4,6,8,12,16 --prompts 6")
    assert read == f"pandas.read_parquet({str(page.table)!r})" and str(page.table.parent) in command


def test_it_is_an_engine(sweeper):
    verbs = [name for name in vars(Engine) if not name.startswith("_")]
    assert all(callable(getattr(sweeper, name)) for name in verbs)
    with pytest.raises(LabError, match="cannot be asked 'tokens'"):
        asyncio.run(sweeper.look("tokens", text="a"))
