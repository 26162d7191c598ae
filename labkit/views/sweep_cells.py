"""A sweep as it fills: one field a cell, settings down, prompts across."""

from __future__ import annotations

from typing import Any, NamedTuple

import plotly.graph_objects as go

from labkit.trace import Cost, Step, Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("setting", "prompt", "temperature", "seed", "tokens", "tokens a target forward", "ms a token", "error")
EDGES = (1.25, 1.75, 2.5, 3.5, 5)  # tokens a target forward; between them lie the classes e1 ... e6


class Run(NamedTuple):
    """One finished cell: what was asked, how many tokens came, what they cost, or why none came."""

    setting: str
    prompt: int
    temperature: float
    seed: int
    tokens: int
    cost: Cost
    error: str

    @property
    def pace(self) -> float | None:
        """Tokens a forward of the target; None when there are none."""
        return self.tokens / self.cost.target_forwards if self.tokens and self.cost.target_forwards else None

    @property
    def slowness(self) -> float | None:
        """Milliseconds a token; None when there are none."""
        return 1e3 * self.cost.seconds / self.tokens if self.tokens else None


def asked(trace: Trace, upto: int | None = None) -> dict[str, Any]:
    """The sweep's plan, {} before the first step."""
    steps = read.steps(trace, upto)
    return steps[0].notes["plan"] if steps else {}


def runs(trace: Trace, upto: int | None = None) -> list[Run]:
    """The cells that are finished after `upto` steps, in the order in which they finished."""
    return [
        Run(**{name: step.notes["cell"][name] for name in Run._fields if name != "cost"}, cost=step.cost)
        for step in read.steps(trace, upto)
        if "cell" in step.notes
    ]


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a finished cell."""
    return [(run.setting, run.prompt + 1, *run[2:5], run.pace, run.slowness, run.error) for run in runs(trace, upto)]


def sweep_cells(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Tokens a target forward of every cell, in its field and in its colour; an empty field is not computed yet."""
    ink, plan, done = themes.colours(theme), asked(trace, upto), runs(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "Every cell of the sweep"})
    names = plan.get("names", [])
    meta = {"words": _words(done, read.steps(trace, upto)), "height": 130 + 34 * max(len(names), 4)}
    figure.update_layout(meta=meta, showlegend=False, plot_bgcolor=ink["sunk"])
    columns = _columns(plan)
    figure.update_xaxes(title="prompt", showgrid=False, type="category")
    figure.update_yaxes(showgrid=False, autorange="reversed")
    if not columns:
        return figure
    found = {(run.setting, (run.prompt, run.temperature, run.seed)): run for run in done}
    grid = [[found.get((name, place)) for place in columns] for name in names]
    levels = [[None if run is None else _level(run) for run in row] for row in grid]
    figure.add_heatmap(
        x=list(columns.values()),
        y=names,
        z=levels,
        zmin=0,
        zmax=6,
        colorscale=[[level / 6, ink[f"e{level}"]] for level in range(7)],
        showscale=False,
        xgap=2,
        ygap=2,
        hovertext=[[_hover(name, columns[place], found.get((name, place))) for place in columns] for name in names],
        hoverinfo="text",
        name="tokens a target forward",
    )
    figure.add_scatter(
        x=[across for _ in names for across in columns.values()],
        y=[name for name in names for _ in columns],
        text=[_sign(run) for row in grid for run in row],
        mode="text",
        textfont={"size": 12, "color": [ink[f"on-e{_level(run)}" if run else "ink-3"] for row in grid for run in row]},
        hoverinfo="skip",
    )
    cells = [[name, *(_sign(run) for run in row)] for name, row in zip(names, grid)]
    figure.layout.meta["table"] = {"columns": ["setting", *columns.values()], "rows": cells}
    return figure


def _columns(plan: dict[str, Any]) -> dict[tuple[int, float, int], str]:
    """The columns: (prompt, temperature, seed) with what is written under each."""
    found = {}
    for prompt in range(plan.get("prompts", 0)):
        for temperature in plan["temperatures"]:
            for seed in plan["seeds"]:
                words = [str(prompt + 1)]
                words += [f"T {temperature:g}"] if len(plan["temperatures"]) > 1 else []
                words += [f"seed {seed}"] if len(plan["seeds"]) > 1 else []
                found[prompt, temperature, seed] = "<br>".join(words)
    return found


def _level(run: Run) -> int:
    return 0 if run.pace is None else 1 + sum(run.pace >= edge for edge in EDGES)


def _sign(run: Run | None) -> str:
    """What stands in a field: · for one to come, × for one that failed, else tokens a target forward."""
    return "·" if run is None else "×" if run.pace is None else f"{run.pace:.1f}"


def _hover(name: str, where: str, run: Run | None) -> str:
    head = f"{name}, prompt {where.replace('<br>', ', ')}"
    if run is None:
        return f"{head}: not computed yet"
    if run.pace is None:
        return f"{head}: failed"
    return f"{head}: {run.tokens} tokens, {run.pace:.2f} a target forward, {run.slowness:.1f} ms a token"


def _words(done: list[Run], steps: list[Step]) -> str:
    if not done:
        return "Nothing is computed yet."
    last = steps[-1].notes
    said = "Tokens a target forward" + ("; a dot is still to come." if last["done"] < last["of"] else ".")
    if failed := sum(run.pace is None for run in done):
        said += f" × failed ({failed}): the file says why."
    if table := last.get("table"):
        said += f" One row a cell: pandas.read_parquet({table!r})"
    return said
