"""`labkit bench speculative`: every drafting method beside transformers, and the bounds that say what holds it back.

Figures are counted from the traces of the same runs that are timed; all are medians over the prompts. Two kinds of bounds:
"perfect draft of K" is handed the next K tokens for nothing and all are accepted, so only the target's own forwards and our
bookkeeping are left; "free draft" is the method itself with the seconds of its draft model taken off.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, Callable

import typer

from labkit.bench import contenders as common
from labkit.bench.contenders import Answer, Contender, pace
from labkit.errors import KnobError
from labkit.knobs import check, schema, turned
from labkit.models import Pair
from labkit.run import run
from labkit.speculative.ground import MATCH, Proposal, Speculative, room
from labkit.trace import Request, Step, Tree

PERFECT = (4, 10, 24)  # tokens: what the chain drafts, what the look-up copies, the most it may copy
COLUMNS = {
    "ms_per_token": "ms/token",
    "vs_generate": "x generate",
    "tokens_per_target_forward": "tokens/ forward",
    "accepted_of_tested": "accepted/ tested",
    "accepted_of_drafted": "accepted/ drafted",
    "target_forwards_per_token": "target forwards/ token",
    "draft_forwards_per_token": "draft forwards/ token",
    "nodes_per_token": "nodes/ token",
}


@dataclass
class Perfect(Speculative):
    """Drafts the text that plain decoding would write with the same seed, `length` tokens at a time.

    Matching draws one coin a token, as plain decoding does: with the same seed the same text comes out at any temperature,
    so all is accepted (but for near ties, which a batched forward may round the other way).
    """

    verifier = MATCH
    text: list[int]  # prompt and continuation
    length: int

    def propose(self, session, rng):
        at = len(session.ids)
        tokens = self.text[at : at + min(self.length, room(session))]
        return Proposal(Tree(tokens, list(range(-1, len(tokens) - 1)), source="oracle"))


def perfect(pair: Pair, tokens: int, length: int) -> Contender:
    """The bound: `length` right tokens a step, for nothing."""

    @lru_cache(maxsize=1)  # the first prompt comes twice
    def text(ids: tuple[int, ...], temperature: float, seed: int) -> list[int]:
        plain = Request(method="plain", ids=list(ids), temperature=temperature, max_new_tokens=tokens, seed=seed)
        steps = (event for event in run(pair, plain) if isinstance(event, Step))
        return [*ids, *(token for step in steps for token in step.emitted)]

    def write(ids, temperature, seed):
        method = Perfect(text(tuple(ids), temperature, seed), length)
        request = Request(method="perfect", ids=ids, temperature=temperature, max_new_tokens=tokens, seed=seed)
        return common.timed(pair, request, method)

    return Contender(f"bound: perfect draft of {length}", write)


def chosen(methods: str, settings: list[str]) -> dict[str, dict]:
    """Knobs by method, for `methods` ("" = all of the theme; else names with commas between) and NAME.knob=value settings.

    Raises `KnobError` on an unknown method, knob or value, and on a setting of a method that does not play.
    """
    known = common.of_theme("speculative")
    names = [name.strip() for name in methods.split(",")] if methods else list(known)
    if unknown := [name for name in names if name not in known]:
        raise KnobError(f"There is no drafting method {unknown[0]!r}: choose from {', '.join(known)}.")
    return {name: check(schema(known[name]), values) for name, values in turned(settings, names).items()}


def bench(
    pair: Pair,
    methods: dict[str, dict] | None = None,
    prompts: int = 20,
    tokens: int = 96,
    temperatures: tuple[float, ...] = (0.0, 0.7, 1.0),
    progress: Callable[[int, int], Any] = lambda done, of: None,
) -> dict[str, Any]:
    """Measure `methods` (knobs by name; None = all of the theme), transformers' decoders, plain decoding and the bounds.

    Returns plain data, see `rows` for the columns. A method that cannot run on this pair is named in "left_out".
    """
    methods = chosen("", []) if methods is None else methods
    playing = common.theirs(pair, tokens) + [common.ours(pair, "plain", tokens)]
    playing += [common.ours(pair, name, tokens, knobs) for name, knobs in methods.items()]
    playing += [perfect(pair, tokens, length) for length in PERFECT]
    found = common.compare(pair, playing, rows, prompts, tokens, temperatures, progress)
    return {**found, "knobs": methods}


def figures(answer: Answer) -> dict[str, float | None]:
    """What the run behind one prompt comes to; None where nothing was tested or drafted."""
    return {
        "tokens_per_target_forward": answer.tokens / answer.cost.target_forwards,
        "accepted_of_tested": answer.accepted / answer.tested if answer.tested else None,
        "accepted_of_drafted": answer.accepted / answer.drafted if answer.drafted else None,
        "target_forwards_per_token": answer.cost.target_forwards / answer.tokens,
        "draft_forwards_per_token": answer.cost.draft_forwards / answer.tokens,
        "nodes_per_token": answer.drafted / answer.tokens,
    }


def rows(contenders: list[Contender]) -> list[dict[str, Any]]:
    """One row a contender and one a bound; medians over the prompts. `totals` are the counts, summed over the prompts.

    "accepted_of_tested" counts nodes the verifier looked at, "accepted_of_drafted" all that were proposed.
    """
    generate = next(contender for contender in contenders if contender.name == "generate")
    bounds = [bound for contender in contenders if (bound := free_draft(contender))]
    table = []
    for contender in contenders + bounds:
        row = pace(contender, generate)
        if all(answer.steps for answer in contender.answers):
            found = [figures(answer) for answer in contender.answers]
            for name in found[0]:
                known = [one[name] for one in found if one[name] is not None]
                row[name] = statistics.median(known) if known else None
            row["totals"] = {
                name: sum(getattr(answer, name) for answer in contender.answers)
                for name in ("tokens", "steps", "drafted", "tested", "accepted")
            }
        table.append(row)
    return table


def free_draft(contender: Contender) -> Contender | None:
    """The bound: the same answers with the draft model's seconds taken off; None without a draft model."""
    if not any(answer.cost.draft_seconds for answer in contender.answers):
        return None
    answers = [replace(answer, seconds=answer.seconds - answer.cost.draft_seconds) for answer in contender.answers]
    return replace(contender, name=f"bound: free draft, {contender.name}", answers=answers)


app = typer.Typer(add_completion=False)


@app.command()
def main(
    methods: Annotated[str, typer.Option(help="names with commas between; all of the theme when left out")] = "",
    settings: Annotated[list[str], typer.Option("--set", metavar="METHOD.KNOB=VALUE", help="turn a knob; repeat")] = (),
    prompts: common.Prompts = 20,
    tokens: common.Tokens = 96,
    temperature: common.Temperatures = (0.0, 0.7, 1.0),
    target: common.Target = "", draft: common.Draft = "", device: common.Device = "", dtype: common.Dtype = "",
    threads: common.Threads = 0, as_json: common.Json = False,
) -> None:  # fmt: skip
    """Measure every drafting method, transformers' decoders and the bounds; Ctrl-C ends it and prints what is known.

    Example: labkit bench speculative --methods chain,lookup --set chain.length=6 --temperature 0 --prompts 8
    """
    asked = chosen(methods, list(settings))
    pair = common.prepared(target, draft, device, dtype, threads)
    with common.bar("decoding") as progress:
        result = bench(pair, asked, prompts, tokens, tuple(temperature), progress)
    print(json.dumps(result, indent=1)) if as_json else common.show(result, COLUMNS)
