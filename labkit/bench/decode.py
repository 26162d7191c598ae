"""`labkit bench decode`: our methods beside transformers' own `generate`, on the same prompts, in turn, in one run.

What is printed are medians over the prompts, and medians of the prompt-by-prompt ratios to `generate`.
"""

from __future__ import annotations

import json
from typing import Any, Callable

import typer

from labkit.bench import contenders as common
from labkit.bench.contenders import Contender, pace, ratio
from labkit.methods import all_methods
from labkit.models import Pair
from labkit.trace import Cost

DOUBTING = "chain, doubt 0.4"  # which is what assisted generation does unless told otherwise
# which of transformers' own decoders does what a method of ours does
COUNTERPART = {
    "plain": "generate", "chain": "generate, assisted", DOUBTING: "generate, assisted", "lookup": "generate, prompt lookup"
}  # fmt: skip
COLUMNS = {
    "ms_per_token": "ms/token",
    "tokens_per_second": "tokens/s",
    "vs_generate": "x generate",
    "vs_counterpart": "x counterpart",
    "tokens_per_target_forward": "tokens/ forward",
    "target_ms": "step: target ms",
    "draft_ms": "draft ms",
    "rest_ms": "rest ms",
}


def bench(
    pair: Pair,
    prompts: int = 20,
    tokens: int = 96,
    temperatures: tuple[float, ...] = (0.0, 1.0),
    progress: Callable[[int, int], Any] = lambda done, of: None,
) -> dict[str, Any]:
    """Time every lossless method and transformers' counterparts; returns plain data, see `rows` for the columns.

    The chain plays twice: as it is, and stopping in doubt. `progress(done, of)` is called after every contender's turn.
    """
    names = [name for name, cls in all_methods().items() if cls.lossless and (pair.draft or cls.drafts != "model")]
    playing = common.theirs(pair, tokens) + [common.ours(pair, name, tokens) for name in names]
    if "chain" in names:
        playing.append(common.ours(pair, "chain", tokens, {"doubt": 0.4}, DOUBTING))
    return common.compare(pair, playing, rows, prompts, tokens, temperatures, progress)


def rows(contenders: list[Contender]) -> list[dict[str, Any]]:
    """One row a contender: median ms a token, ratios (higher is faster) to `generate` and to its own counterpart, and, for
    ours, tokens a target forward and where the time of a step goes (ms a step: target, draft, the rest)."""
    by_name = {contender.name: contender for contender in contenders}
    table = []
    for contender in contenders:
        row = pace(contender, by_name["generate"])
        counterpart = by_name.get(COUNTERPART.get(contender.name, ""))
        if counterpart is not None:
            row["counterpart"] = counterpart.name
            row["vs_counterpart"] = ratio(contender, counterpart)
        if steps := sum(answer.steps for answer in contender.answers):
            cost = sum((answer.cost for answer in contender.answers), Cost())
            row["tokens_per_target_forward"] = sum(answer.tokens for answer in contender.answers) / cost.target_forwards
            row["target_ms"] = 1e3 * cost.target_seconds / steps
            row["draft_ms"] = 1e3 * cost.draft_seconds / steps
            row["rest_ms"] = 1e3 * (cost.seconds - cost.target_seconds - cost.draft_seconds) / steps
        table.append(row)
    return table


app = typer.Typer(add_completion=False)


@app.command()
def main(
    prompts: common.Prompts = 20,
    tokens: common.Tokens = 96,
    temperature: common.Temperatures = (0.0, 1.0),
    target: common.Target = "", draft: common.Draft = "", device: common.Device = "", dtype: common.Dtype = "",
    threads: common.Threads = 0, as_json: common.Json = False,
) -> None:  # fmt: skip
    """Time every lossless method against transformers on held-out prompts; Ctrl-C ends it and prints what is known.

    Example: labkit bench decode --prompts 20 --tokens 96 --threads 1
    """
    pair = common.prepared(target, draft, device, dtype, threads)
    with common.bar("decoding") as progress:
        result = bench(pair, prompts, tokens, tuple(temperature), progress)
    print(json.dumps(result, indent=1)) if as_json else common.show(result, COLUMNS)
