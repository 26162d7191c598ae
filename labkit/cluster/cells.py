"""One cell of a sweep, computed in a process of its own: a run of the lab like any other."""

from __future__ import annotations

import sys
import traceback
from dataclasses import replace
from functools import cache

import torch

from labkit.cluster.plan import Ask, Cell, Plan
from labkit.errors import LabError
from labkit.models import Pair, load
from labkit.prompts import heldout
from labkit.run import run
from labkit.trace import Request, Trace


@cache
def pair(target: str, draft: str, device: str, dtype: str, threads: int) -> Pair:
    """The models, loaded once a process. Raises `ModelError`."""
    torch.set_num_threads(threads)
    return load(target, draft, device, dtype)


def compute(plan: Plan, ask: Ask, device: str = "", threads: int = 1, whole: bool = False) -> tuple[Cell, bytes]:
    """A cell, and its trace as JSON if it is wanted `whole`. What fails is told by the cell, nothing is raised.

    Methods that learn from one request to the next begin anew in each cell: it may be computed anywhere, in any order.
    """
    name = plan.names[plan.settings.index(ask.setting)]
    cell = Cell(ask.number, ask.setting.name, name, ask.setting.knobs, ask.prompt, ask.temperature, ask.seed)
    try:
        trace = traced(replace(pair(plan.target, plan.draft, device, plan.dtype, threads), memory={}), plan, ask)
    except LabError as problem:
        cell.error = str(problem)
        return cell, b""
    except Exception as problem:
        traceback.print_exception(problem, file=sys.stderr)
        cell.error = f"It failed inside the lab ({type(problem).__name__}: {str(problem)[:200]})."
        return cell, b""
    cell.prompt_tokens, cell.tokens, cell.steps = len(trace.opening.prompt_ids), len(trace.ids), len(trace.steps)
    cell.cost, cell.ids = trace.cost, trace.ids
    cell.reason, cell.text = trace.closing.reason, trace.closing.text
    return cell, trace.dumps() if whole else b""


def traced(pair: Pair, plan: Plan, ask: Ask) -> Trace:
    """The run of a cell. A prompt too long for the context is cut at its end. Raises `LabError`."""
    ids = pair.vocabulary.encode(heldout(ask.prompt + 1)[-1])[: max(1, pair.target.context - plan.tokens - 1)]
    events = run(
        pair,
        Request(
            method=ask.setting.name,
            ids=ids,
            knobs=ask.setting.knobs,
            temperature=ask.temperature,
            max_new_tokens=plan.tokens,
            seed=ask.seed,
        ),
    )
    whole = Trace(next(events))
    for event in events:
        whole.add(event)
    return whole
