"""`labkit bench attention`: what a decode step costs under each cache policy, in milliseconds and in bytes read, by context.

All policies read the same prompt of held-out code and then decode in turn, one step each, in one run; printed are medians. Dense
attention through the policies' loop, and through the lean forward's own, are the two baselines. Beyond the context that the model
was trained for its text means nothing, and a step costs what it costs.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Annotated, Any

import torch
import typer

from labkit.attention.cache_race import CacheRace
from labkit.attention.ground import Witness, dense_bytes
from labkit.bench import contenders as common
from labkit.errors import KnobError
from labkit.law import Law
from labkit.lm import Session
from labkit.models import default_name, device_of, load_model, make_runner, vocabulary
from labkit.prompts import heldout

CONTEXTS = (256, 1024, 2048, 8192)
COLUMNS = {"ms": "ms a step", "vs_dense": "x dense", "held": "held", "read": "read", "bound": "bytes allow x"}


def prompt_of(name: str, tokens: int) -> list[int]:
    """The first `tokens` tokens of held-out code, over and over where that is not enough."""
    ids = [token for text in heldout(120) for token in vocabulary(name).encode(text)]
    return (ids * (tokens // len(ids) + 1))[:tokens]


def bench(contexts: tuple[int, ...] = CONTEXTS, budget: float = 0.2, steps: int = 16, device: str = "") -> dict[str, Any]:
    """Time every policy at every context; plain data, one row each. Raises `KnobError` on an empty context."""
    if min(contexts) < 2:
        raise KnobError(f"A context of {min(contexts)} tokens is asked for: give 2 or more.")
    name, place = default_name("target"), device_of(device)
    model = load_model(name, place, torch.float32)
    model.config.max_position_embeddings = max(model.config.max_position_embeddings, max(contexts) + steps + 1)
    runner = make_runner(model)
    runner.name = name
    rows = []
    for context in contexts:
        rows += timed(runner, prompt_of(name, context), budget, steps)
    about = {"model": name, "device": str(place), "threads": torch.get_num_threads(), "budget": budget, "steps": steps}
    return {**about, "rows": rows}


def timed(runner, ids: list[int], budget: float, steps: int) -> list[dict[str, Any]]:
    """One row a policy: medians over `steps` decode steps behind `ids`, all policies taking turns."""
    memory: dict = {}
    playing: dict[str, tuple[Session, Any]] = {"lean forward": (Session(runner, ids, Law(0), memory=memory), None)}
    for name, policy in {"dense": Witness(), **CacheRace(budget=budget).contenders(len(ids))}.items():
        session = Session(runner, ids, Law(0), memory=memory)
        session.vocabulary = vocabulary(runner.name)
        policy.prepare(session)
        session.carry(runner.policy_cache(policy))
        playing[name] = (session, policy)
    spent: dict[str, list[float]] = {name: [] for name in playing}
    for session, _ in playing.values():
        _ = session.logits  # the prompt
    for step in range(steps + 1):
        for name, (session, _) in playing.items():
            began = time.perf_counter()
            session.push(ids[step])
            _ = session.logits
            if step:
                spent[name].append(time.perf_counter() - began)
    rows = []
    for name, (session, policy) in playing.items():
        whole = len(session.ids) * dense_bytes((policy or playing["dense"][1]).spec)
        ms = 1e3 * statistics.median(spent[name])
        versus = statistics.median(theirs / mine for mine, theirs in zip(spent[name], spent["dense"]))
        held, read = (policy.bytes, policy.taken) if policy else (session.cache.bytes, whole)
        row = {"context": len(ids), "name": name, "ms": ms, "vs_dense": versus}
        rows.append({**row, "held": held / whole, "read": read / whole, "bound": whole / read})
    return rows


app = typer.Typer(add_completion=False)


@app.command()
def main(
    context: Annotated[list[int], typer.Option(min=2, max=32_768, help="tokens; may be given several times")] = CONTEXTS,
    budget: Annotated[float, typer.Option(min=0.02, max=0.9, help="share of the tokens held or read")] = 0.2,
    steps: Annotated[int, typer.Option(min=1, help="decode steps timed")] = 16,
    device: common.Device = "", threads: common.Threads = 0, as_json: common.Json = False,
) -> None:  # fmt: skip
    """Time a decode step under every cache policy, by context.

    Example: labkit bench attention --context 1024 --context 8192 --threads 1 --json
    """
    if threads:
        torch.set_num_threads(threads)
    result = bench(tuple(context), budget, steps, device)
    if as_json:
        return print(json.dumps(result, indent=1))
    console = common.paper()
    where = f"{result['model']} on {result['device']}, {result['threads']} threads"
    console.print(f"{where}, {budget:.0%} of the tokens; medians of {steps} steps, in turn", soft_wrap=True)
    for size in context:
        rows = [row for row in result["rows"] if row["context"] == size]
        console.print(common.table(f"{size:,} tokens", COLUMNS, rows))
