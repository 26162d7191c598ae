"""`labkit bench decode`: our methods beside transformers' own `generate`, on the same prompts, in turn, in one run.

Every contender answers every prompt before the next prompt begins, so that a slow minute of the machine hits all of them.
What is printed are medians over the prompts, and medians of the prompt-by-prompt ratios to `generate`.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from dataclasses import dataclass, field
from typing import Annotated, Any, Callable

import torch
import typer

from labkit.methods import all_methods
from labkit.models import DTYPES, Pair, folder_of, load
from labkit.prompts import heldout
from labkit.run import run
from labkit.trace import Cost, Request, Step

# which of transformers' own decoders does what a method of ours does
COUNTERPART = {"plain": "generate", "chain": "generate, assisted", "lookup": "generate, prompt lookup"}


@dataclass
class Contender:
    """Who writes `tokens` tokens behind a prompt; `write(ids, temperature, seed) -> (new tokens, Cost or None, steps)`."""

    name: str
    write: Callable[[list[int], float, int], tuple[int, Cost | None, int]]
    seconds: list[float] = field(default_factory=list)  # a token, per prompt
    costs: list[Cost] = field(default_factory=list)
    steps: int = 0
    tokens: int = 0


def _ours(pair: Pair, name: str, tokens: int) -> Contender:
    def write(ids, temperature, seed):
        request = Request(
            method=name, ids=ids, temperature=temperature, max_new_tokens=tokens, seed=seed, keep=["laws", "tests"]
        )
        steps = [event for event in run(pair, request) if isinstance(event, Step)]
        return sum(len(step.emitted) for step in steps), sum((step.cost for step in steps), Cost()), len(steps)

    return Contender(name, write)


def _theirs(pair: Pair, tokens: int, assisted: bool) -> list[Contender]:
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    logging.set_verbosity_error()

    def model_of(name):
        where, dtype = folder_of(name), pair.target.dtype
        return AutoModelForCausalLM.from_pretrained(where, dtype=dtype, local_files_only=True).to(pair.target.device).eval()

    target = model_of(pair.target_name)
    draft = model_of(pair.draft_name) if assisted else None

    def contender(name, **more):
        def write(ids, temperature, seed):
            torch.manual_seed(seed)
            prompt = torch.tensor([ids], device=target.device)
            # transformers' default top-k of 50 off: both sides draw from the whole law
            sampling = dict(do_sample=True, temperature=temperature, top_k=0) if temperature else dict(do_sample=False)
            config = GenerationConfig(
                max_new_tokens=tokens, eos_token_id=sorted(pair.ends), pad_token_id=sorted(pair.ends)[0], **sampling
            )
            extra = dict(more)
            if "prompt_lookup_num_tokens" in extra:
                config.prompt_lookup_num_tokens = extra.pop("prompt_lookup_num_tokens")
            out = target.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=config, **extra)
            return out.shape[1] - len(ids), None, 0

        return Contender(name, write)

    found = [contender("generate"), contender("generate, prompt lookup", prompt_lookup_num_tokens=10)]
    return found + ([contender("generate, assisted", assistant_model=draft)] if draft is not None else [])


def bench(
    prompts: int = 20,
    tokens: int = 96,
    temperatures: tuple[float, ...] = (0.0, 1.0),
    target: str = "",
    draft: str = "",
    device: str = "",
    dtype: str = "",
    threads: int = 0,
    progress: Callable[[int, int], Any] = lambda done, of: None,
) -> dict[str, Any]:
    """Time every lossless method and transformers' counterparts; returns plain data, see `rows` for the columns.

    `threads` 0 leaves torch's own choice. `progress(done, of)` is called after every contender's turn.
    """
    if threads:
        torch.set_num_threads(threads)
    pair = load(target, draft, device, dtype)
    texts = heldout(prompts)
    ids = [pair.vocabulary.encode(text)[: pair.target.context - tokens - 1] for text in texts]
    names = [name for name, cls in all_methods().items() if cls.lossless and (pair.draft or cls.drafts != "model")]
    of, done, sections = len(temperatures) * (prompts + 1) * (len(names) + 2 + bool(pair.draft)), 0, []
    for temperature in temperatures:
        contenders = _theirs(pair, tokens, pair.draft is not None) + [_ours(pair, name, tokens) for name in names]
        for turn, prompt in enumerate([ids[0], *ids]):  # the first turn warms up and is thrown away
            for contender in contenders:
                started = time.perf_counter()
                new, cost, steps = contender.write(prompt, temperature, seed=turn)
                seconds = time.perf_counter() - started
                done += 1
                progress(done, of)
                if turn:
                    contender.seconds.append(seconds / new)
                    contender.tokens += new
                    contender.steps += steps
                    contender.costs.append(cost or Cost())
        sections.append({"temperature": temperature, "rows": rows(contenders)})
    return {
        "target": pair.target_name,
        "draft": pair.draft_name,
        "device": torch.cuda.get_device_name() if pair.target.device.type == "cuda" else platform.processor() or "cpu",
        "dtype": next(name for name, dtype in DTYPES.items() if dtype == pair.target.dtype),
        "threads": torch.get_num_threads(),
        "prompts": prompts,
        "tokens": tokens,
        "sections": sections,
    }


def rows(contenders: list[Contender]) -> list[dict[str, Any]]:
    """One row a contender: median ms a token, ratios (higher is faster) to `generate` and to its own counterpart, and, for
    ours, tokens a target forward and where the time of a step goes (ms a step: target, draft, the rest)."""
    by_name = {contender.name: contender for contender in contenders}

    def ratio(contender, other):
        return statistics.median(b / a for a, b in zip(contender.seconds, other.seconds))

    table = []
    for contender in contenders:
        row = {
            "name": contender.name,
            "ms_per_token": 1e3 * statistics.median(contender.seconds),
            "tokens_per_second": 1 / statistics.median(contender.seconds),
            "vs_generate": ratio(contender, by_name["generate"]),
        }
        counterpart = by_name.get(COUNTERPART.get(contender.name, ""))
        if counterpart is not None:
            row["counterpart"] = counterpart.name
            row["vs_counterpart"] = ratio(contender, counterpart)
        if contender.steps:
            cost = sum(contender.costs, Cost())
            row["tokens_per_target_forward"] = contender.tokens / cost.target_forwards
            row["target_ms"] = 1e3 * cost.target_seconds / contender.steps
            row["draft_ms"] = 1e3 * cost.draft_seconds / contender.steps
            row["rest_ms"] = 1e3 * (cost.seconds - cost.target_seconds - cost.draft_seconds) / contender.steps
        table.append(row)
    return table


app = typer.Typer(add_completion=False)


@app.command()
def main(
    prompts: Annotated[int, typer.Option(help="held-out prompts, 1 to 120")] = 20,
    tokens: Annotated[int, typer.Option(help="new tokens a prompt")] = 96,
    temperature: Annotated[list[float], typer.Option(help="may be given several times")] = (0.0, 1.0),
    target: Annotated[str, typer.Option(help="model name, id or folder")] = "",
    draft: Annotated[str, typer.Option(help='model name, id or folder; "none" for none')] = "",
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "",
    dtype: Annotated[str, typer.Option(help="float32, float64 or bfloat16")] = "",
    threads: Annotated[int, typer.Option(help="torch threads; 0 = torch's own choice")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Time every lossless method against transformers on held-out prompts.

    Example: labkit bench decode --prompts 20 --tokens 96 --threads 1
    """
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("decoding", total=None)
        result = bench(
            prompts, tokens, tuple(temperature), target, draft, device, dtype, threads,
            progress=lambda done, of: shown.update(task, completed=done, total=of),
        )  # fmt: skip
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        show(result)


def show(result: dict[str, Any]) -> None:
    """Print a bench as tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(
        f"{result['target']} with {result['draft'] or 'no draft'} on {result['device']}, {result['dtype']}, "
        f"{result['threads']} threads; medians of {result['prompts']} prompts x {result['tokens']} tokens, one run, in turn"
    )
    columns = {
        "ms_per_token": "ms/token",
        "tokens_per_second": "tokens/s",
        "vs_generate": "x generate",
        "vs_counterpart": "x counterpart",
        "tokens_per_target_forward": "tokens/forward",
        "target_ms": "step: target ms",
        "draft_ms": "draft ms",
        "rest_ms": "rest ms",
    }
    for section in result["sections"]:
        table = Table("temperature " + format(section["temperature"], "g"), *columns.values())
        for row in section["rows"]:
            table.add_row(row["name"], *(format(row[key], ".2f") if key in row else "" for key in columns))
        console.print(table)
