"""`labkit bench sampling`: what every transform costs a token, and what every decoder of the theme asks of the model.

Transforms run on made-up logits of two sizes, in turn; decoders write behind held-out prompts at their default knobs, beside
plain decoding; every shipped constraint is asked by AWRS and by masking behind a prompt of its own. Forwards and constraint
evaluations are counted from the traces, seconds are medians.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any, Callable

import torch
import typer

from labkit.bench import contenders as common
from labkit.bench.contenders import Contender
from labkit.methods import all_transforms
from labkit.models import Pair
from labkit.run import run
from labkit.trace import Cost, Request, Step

SIZES = (4096, 150_000)  # tokens: the shipped vocabulary's, and a large model's
SPREAD = 3.0  # standard deviation of the made-up logits: an entropy of some 4 to 8 nats
BASE = "top-p"  # whom the others are compared with
TURNED = {  # transforms do nothing at their default knobs
    "top-k": {"k": 40}, "top-p": {"p": 0.9}, "min-p": {"p": 0.1}, "top-h": {"alpha": 0.4}, "typical": {"mass": 0.9},
    "eta": {"epsilon": 0.002},
}  # fmt: skip
COLUMNS = {
    "target_forwards": "target forwards/ token",
    "target_tokens": "tokens fed/ token",
    "draft_forwards": "draft forwards/ token",
    "evals": "evaluations/ token",
    "ms_per_token": "ms/token",
    "vs_plain": "x plain",
}


QUESTIONS = {  # evaluations of a constraint
    "awrs": "AWRS, evaluations/ token",
    "masking": "masking, evaluations/ token",
    "shared": "masking by shared beginnings",
    "fewer": "x fewer with AWRS",
}


def transforms(repeats: int = 21, sizes: tuple[int, ...] = SIZES, device: str = "cpu") -> list[dict[str, Any]]:
    """One row a transform: median ms for one token at every vocabulary of `sizes`, and the ratio to top-p's, round by round.

    All have their turn before the next round begins; the first round warms up and is thrown away.
    """
    stack = {name: cls(**TURNED.get(name, {})) for name, cls in all_transforms().items()}
    spent: dict[tuple[str, int], list[float]] = {(name, size): [] for name in stack for size in sizes}
    for size in sizes:
        logits = (SPREAD * torch.randn(size, generator=torch.Generator().manual_seed(size))).to(device)
        for turn in range(repeats + 1):
            for name, transform in stack.items():
                started = time.perf_counter()
                transform(logits)
                if logits.is_cuda:
                    torch.cuda.synchronize()
                spent[name, size] += [time.perf_counter() - started] if turn else []
    rows = []
    for name in stack:
        row: dict[str, Any] = {"name": name, "knobs": TURNED.get(name, {})}
        for size in sizes:
            row[f"ms_{size}"] = 1e3 * statistics.median(spent[name, size])
            row[f"vs_{BASE}_{size}"] = statistics.median(a / b for a, b in zip(spent[name, size], spent[BASE, size]))
        rows.append(row)
    return rows


def constraints(pair: Pair, texts: int = 3, seed: int = 0) -> list[dict[str, Any]]:
    """One row a shipped constraint, at temperature 1: evaluations a token of AWRS, of a mask asked token by token, of one asked
    by shared beginnings, and how many times fewer AWRS needs than the first. Counted by the study "constraints"."""
    asked = Request(method="constraints", prompt="x", temperature=1.0, seed=seed, knobs={"texts": texts, "rounds": 1})
    last = [event for event in run(pair, asked) if isinstance(event, Step)][-1]
    rows = []
    for name, found in last.notes["costs"].items():
        row = {"name": name, "awrs": found["tests"] / found["moves"], "masking": found.get("every")}
        row |= {"shared": found["shared"] / found["masks"]}
        rows.append(row | {"fewer": row["masking"] / row["awrs"] if row["masking"] else None})
    return rows


def bench(
    pair: Pair,
    prompts: int = 8,
    tokens: int = 48,
    temperatures: tuple[float, ...] = (0.0, 1.0),
    progress: Callable[[int, int], Any] = lambda done, of: None,
) -> dict[str, Any]:
    """Time the transforms, then let every decoder of the theme write; returns plain data, see `rows` for the columns.

    A method that cannot run on this pair is named in "left_out".
    """
    made = {"transforms": transforms(device=str(pair.target.device)), "constraints": constraints(pair)}
    playing = [common.ours(pair, name, tokens) for name in common.of_theme("sampling")]
    return {**common.compare(pair, playing, rows, prompts, tokens, temperatures, progress), **made}


def rows(contenders: list[Contender]) -> list[dict[str, Any]]:
    """One row a decoder: what its prompts add up to, divided by all their tokens; median ms a token, and its ratio to plain's.

    "target_tokens" are those fed, "evals" evaluations of a constraint (None where there is none); "vs_plain" below 1 is slower.
    """
    plain = next(contender for contender in contenders if contender.name == "plain")
    table = []
    for contender in contenders:
        cost = sum((answer.cost for answer in contender.answers), Cost())
        tokens = sum(answer.tokens for answer in contender.answers)
        counted = [answer.evals for answer in contender.answers if answer.evals is not None]
        table.append(
            {
                "name": contender.name,
                "lossless": contender.lossless,
                "tokens": tokens,
                "target_forwards": cost.target_forwards / tokens,
                "target_tokens": cost.target_tokens / tokens,
                "draft_forwards": cost.draft_forwards / tokens,
                "evals": sum(counted) / tokens if counted else None,
                "ms_per_token": 1e3 * statistics.median(answer.seconds / answer.tokens for answer in contender.answers),
                "vs_plain": common.ratio(contender, plain),
            }
        )
    return table


app = typer.Typer(add_completion=False)


@app.command()
def main(
    prompts: common.Prompts = 8,
    tokens: common.Tokens = 48,
    temperature: common.Temperatures = (0.0, 1.0),
    target: common.Target = "", draft: common.Draft = "", device: common.Device = "", dtype: common.Dtype = "",
    threads: common.Threads = 0, as_json: common.Json = False,
) -> None:  # fmt: skip
    """Time every transform and measure every decoder of the sampling theme; Ctrl-C ends it and prints what is known.

    Example: labkit bench sampling --prompts 4 --tokens 32 --threads 1
    """
    pair = common.prepared(target, draft, device, dtype, threads)
    with common.bar("sampling") as progress:
        result = bench(pair, prompts, tokens, tuple(temperature), progress)
    if as_json:
        return print(json.dumps(result, indent=1))
    common.show(result, COLUMNS)
    heads = {f"ms_{size}": f"ms, V = {size:,}" for size in SIZES} | {f"vs_{BASE}_{size}": f"x {BASE}, {size:,}" for size in SIZES}
    common.paper().print(common.table("transform", heads, result["transforms"]))
    common.paper().print(common.table("constraint", QUESTIONS, result["constraints"]))
