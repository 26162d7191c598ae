"""`labkit sweep`: methods x knobs x prompts x seeds, each cell a Ray task, none computed twice, the results in Parquet.

A finished cell is written down at once. However the sweep ends, the same command on the same folder goes on with the cells
that are missing: what is lost is at most what was under way.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Callable, Iterator

import msgspec
import typer

from labkit.bench import contenders as common
from labkit.cluster import grid
from labkit.cluster.cells import compute
from labkit.cluster.join import gpus, join, needed
from labkit.cluster.plan import CELLS, PLAN, TABLE, TRACES, Ask, Cell, Plan, finished, load
from labkit.errors import LabError
from labkit.trace import Cost

AHEAD = 4  # tasks handed to Ray for each core: enough that none waits for this process, few enough that little is under way

COLUMNS = {
    "tokens_per_target_forward": "tokens/ target forward",
    "draft_forwards_per_token": "draft forwards/ token",
    "ms_per_token": "ms/ token",
}


def claim(folder: Path, plan: Plan) -> Any:
    """The folder for this plan alone, as a lock that ends with this process.

    Raises `LabError` when it holds another sweep, is being written by another process, or cannot be written.
    """
    from filelock import FileLock, Timeout

    where = str(folder)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise LabError(f"A sweep into {where!r} is under way already: wait for its end, or give --out another folder.") from None
    except OSError as refused:
        raise LabError(f"The results cannot go to {where!r} ({refused.strerror}): give --out another folder.") from None
    there = load(folder)
    if there is None:
        if strangers := [path.name for path in folder.iterdir() if path.name != ".lock"]:
            raise LabError(f"The folder {where!r} holds {min(strangers)!r} and no sweep: give --out a folder of its own.")
        part = folder / f"{PLAN}.part"
        part.write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=1))
        part.replace(folder / PLAN)
    elif there != plan:
        differs = next(name for name in plan.__struct_fields__ if getattr(there, name) != getattr(plan, name))
        raise LabError(f"The folder {where!r} holds another sweep (its {differs} differ): give --out another folder.")
    return lock


class Journal:
    """The finished cells of a folder, and the file that gets a line for each that comes."""

    def __init__(self, folder: Path):
        self.cells, self._file = finished(folder), folder / CELLS
        if self._file.exists():
            whole = self._file.read_bytes().rpartition(b"\n")
            os.truncate(self._file, len(whole[0] + whole[1]))  # half a line, of a process that was killed while it wrote

    def add(self, cell: Cell) -> None:
        """Write a cell down; it is on the disk when this returns."""
        with open(self._file, "ab") as file:
            file.write(msgspec.json.encode(cell) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.cells.append(cell)


def tasks(
    ray: Any, plan: Plan, todo: list[Ask], device: str, threads: int, whole: bool
) -> Iterator[tuple[Ask, Cell | None, bytes]]:
    """Cells as they finish, with their traces where `whole`; None for one whose process died again and again."""

    def computed(*asked: Any) -> tuple[Cell, bytes]:
        cell, trace = compute(*asked)
        cell.node = ray.get_runtime_context().get_node_id()
        return cell, trace

    task = ray.remote(computed).options(num_cpus=threads, num_gpus=gpus(ray), max_retries=3)
    shared, waiting, under_way = ray.put(plan), iter(todo), {}
    while True:
        room = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1))) - len(under_way)
        for ask in itertools.islice(waiting, max(0, room)):
            under_way[task.remote(shared, ask, device, threads, whole)] = ask
        if not under_way:
            return
        for one in ray.wait(list(under_way))[0]:
            ask = under_way.pop(one)
            try:
                yield ask, *ray.get(one)
            except ray.exceptions.RayError:
                yield ask, None, b""


def table(plan: Plan, cells: list[Cell]) -> Any:
    """The cells as a pyarrow table, one row a cell in the order of the plan; seconds, tokens and forwards as they were counted.

    Beside "knobs" (all of them, as JSON) every swept knob has a column of its own, "method.knob", empty for other methods.
    """
    import pyarrow as arrow

    order = sorted(cells, key=lambda cell: cell.number)
    costs = {name: [getattr(cell.cost, name) for cell in order] for name in Cost.__struct_fields__}
    plain = {name: [getattr(cell, name) for cell in order] for name in Cell.__struct_fields__ if name not in ("cost", "knobs")}
    columns = {**plain, **costs, "knobs": [msgspec.json.encode(cell.knobs).decode() for cell in order]}
    columns["ids"] = arrow.array(columns["ids"], arrow.list_(arrow.int32()))
    for setting, name in zip(plan.settings, plan.names):
        for knob in (word.partition("=")[0] for word in name.split(" ")[1:]):
            columns[f"{setting.name}.{knob}"] = [cell.knobs[knob] if cell.method == setting.name else None for cell in order]
    return arrow.table(columns)


def write(plan: Plan, cells: list[Cell], folder: Path) -> Path:
    """The table as a Parquet file in `folder`, put in the place of an older one when it is whole."""
    from pyarrow import parquet

    part = folder / f"{TABLE}.part"
    parquet.write_table(table(plan, cells), part)
    return part.replace(folder / TABLE)


def sweep(
    plan: Plan,
    folder: Path,
    told: Callable[[dict[str, Any]], Any],
    *,
    address: str = "",
    cpus: int = 0,
    device: str = "",
    threads: int = 1,
    traces: bool = False,
) -> int:
    """Compute what is missing in a claimed folder; how many cells still are at the end, after Ctrl-C or because they were lost.

    `told` hears, as plain data, the plan, every cell (the finished ones first), and where the table is. Raises `LabError`.
    """
    journal = Journal(folder)
    with contextlib.suppress(KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        told({"plan": plan, "done": 0, "of": len(plan)})
        for done, cell in enumerate(journal.cells, 1):
            told({"cell": cell, "done": done, "of": len(plan)})
        there = {cell.number for cell in journal.cells}
        try:
            if todo := [ask for ask in plan.cells() if ask.number not in there]:
                ray = join(address, cpus)
                signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray puts its own there
                if traces:
                    (folder / TRACES).mkdir(exist_ok=True)
                try:
                    for ask, cell, trace in tasks(ray, plan, todo, device, threads, traces):
                        if cell is None:
                            told({"lost": ask, "done": len(journal.cells), "of": len(plan)})
                            continue
                        if trace:
                            (folder / TRACES / f"{ask.number:06}.json").write_bytes(trace)
                        journal.add(cell)
                        told({"cell": cell, "done": len(journal.cells), "of": len(plan)})
                finally:
                    ray.shutdown()
        finally:
            if journal.cells:
                where = write(plan, journal.cells, folder)
                told({"table": str(where), "done": len(journal.cells), "of": len(plan)})
    return len(plan) - len(journal.cells)


@contextlib.contextmanager
def printed(as_json: bool) -> Iterator[Callable[[dict[str, Any]], Any]]:
    """Where the news of a sweep go: one JSON line each, or a progress bar and, at the end, one row a setting."""
    if as_json:
        yield lambda news: print(msgspec.json.encode(news).decode(), flush=True)
        return
    cells: list[Cell] = []
    with common.bar("sweeping") as progress:

        def tell(news: dict[str, Any]) -> None:
            progress(news["done"], news["of"])
            cells.extend([news["cell"]] if "cell" in news else [])
            if "table" in news:
                where.append(news["table"])

        where: list[str] = []
        yield tell
    console = common.paper()
    console.print(common.table("setting", COLUMNS, summary(cells)))
    for problem in dict.fromkeys(f"{cell.name}: {cell.error}" for cell in cells if cell.error):
        console.print(f"Failed: {problem}", soft_wrap=True, markup=False)
    for path in where:
        console.print(f"One row a cell: {path}", soft_wrap=True, markup=False)


def summary(cells: list[Cell]) -> list[dict[str, Any]]:
    """One row a setting: sums over its cells, divided by the tokens written or the target's forwards."""
    found = []
    for name in dict.fromkeys(cell.name for cell in sorted(cells, key=lambda cell: cell.number)):
        own = [cell for cell in cells if cell.name == name]
        tokens, cost = sum(cell.tokens for cell in own), sum((cell.cost for cell in own), Cost())
        row = {"name": name}
        if tokens:
            row["tokens_per_target_forward"] = tokens / max(1, cost.target_forwards)
            row["draft_forwards_per_token"] = cost.draft_forwards / tokens
            row["ms_per_token"] = 1e3 * cost.seconds / tokens
        found.append(row)
    return found


def numbers(text: str, kind: type, what: str) -> list[Any]:
    """Text such as "0,0.7" as a list of numbers. Raises `LabError`."""
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        example = "0,1,2" if kind is int else "0,0.7"
        raise LabError(f"The {what} are {text!r}: write numbers with commas between, for example {example}.") from None


app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="the folder of this sweep; the same command on it goes on where it stopped")],
    methods: Annotated[str, typer.Option(help="names with commas between")] = "plain,chain,lookup",
    settings: Annotated[
        list[str], typer.Option("--set", metavar="METHOD.KNOB=VALUE,VALUE", help="sweep a knob; repeat")
    ] = (),
    prompts: Annotated[int, typer.Option(help="held-out prompts, 1 to 120")] = 8,
    tokens: Annotated[int, typer.Option(help="new tokens a cell")] = 64,
    temperatures: Annotated[str, typer.Option("--temperature", help="one, or several with commas between")] = "0",
    seeds: Annotated[str, typer.Option(help="one, or several with commas between")] = "0",
    traces: Annotated[bool, typer.Option("--traces", help="keep every cell's whole trace beside the table")] = False,
    address: Annotated[str, typer.Option(help="a Ray cluster, host:port or auto; left out, one on this machine")] = "",
    cpus: Annotated[int, typer.Option(min=0, help="cores to use on this machine; 0 = all")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="torch threads a cell")] = 1,
    target: common.Target = "", draft: common.Draft = "", device: common.Device = "", dtype: common.Dtype = "",
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON line a cell")] = False,
) -> None:  # fmt: skip
    """Run every method with every value of its knobs on held-out prompts, with Ray; Ctrl-C stops it, and it can go on.

    Example: labkit sweep --methods chain,lookup --set chain.length=2,4,8 --prompts 8 --out results/
    """
    heats, numbered = numbers(temperatures, float, "temperatures"), numbers(seeds, int, "seeds")
    plan = grid.plan(methods, list(settings), prompts, tokens, heats, numbered, target, draft, dtype)
    needed("ray", "pyarrow", "filelock")
    with claim(out, plan), printed(as_json) as told:
        missing = sweep(plan, out, told, address=address, cpus=cpus, device=device, threads=threads, traces=traces)
    if missing:
        print(f"labkit: {missing} of {len(plan)} cells are missing: the same command goes on with them.", file=sys.stderr)
        raise typer.Exit(1)
