"""`labkit bench diffusion`: what each unmasking policy saves in forwards, and what that costs in quality.

Three tasks, all held out, on the shipped models: continuations behind prompts (read by the causal target, and by Python's
parser), infilling (a hidden run of tokens inside a prompt), and lists (`mdm-lists`, where an answer is right or wrong). The plain
threshold rule plays at several bars, so that a policy is judged by what the rule reaches with as many forwards. Forwards are
counted; one reads the whole text, so they say nothing of seconds beside a causal model's.
"""

from __future__ import annotations

import json
import statistics
import time
from random import Random
from typing import Annotated, Any, Callable

import torch
import typer

from labkit.bench import contenders as common
from labkit.diffusion.freedave import FreeDave
from labkit.diffusion.ground import State, Unmask, predictor_of
from labkit.diffusion.lists import LENGTH, draw, length, valid
from labkit.diffusion.masked import MaskedDiffusion
from labkit.diffusion.parallel_cost import trained
from labkit.diffusion.unmask_race import RULE, UnmaskRace
from labkit.law import Law
from labkit.lm import Session
from labkit.models import Pair
from labkit.prompts import heldout

BARS = (0.5, 0.7, 0.8, 0.95)  # where else the threshold rule plays, beside its own 0.9
HIDDEN, SHORTEST = 8, 64  # tokens of an infilled run; of a prompt that is long enough to hold one
TASKS = ("copy", "reverse", "sort", "replace-random", "shuffle", "insert-random")
ITEMS = (4, 6, 8, 10)  # of a list
COLUMNS = {
    "tokens_per_forward": "tokens/ forward",
    "padded": "with padding",
    "same": "as 1 a round",
    "nats": "judge, nats",
    "entropy": "entropy, nats",
    "parses": "parses",
    "infilled": "infilled right",
    "infill_pace": "tokens/ forward",
    "lists": "lists right",
    "lists_pace": "tokens/ forward",
    "ms": "ms/ forward",
}
QUALITIES = {"parses": "tokens_per_forward", "infilled": "infill_pace", "lists": "lists_pace"}  # and the pace it was reached at


def playing(room: int) -> dict[str, Unmask]:
    """Everybody, by name: the race's policies, FreeDave, and the threshold rule at other bars."""
    race = UnmaskRace(block=room)
    more = {f"{RULE} {bar:g}": MaskedDiffusion(tau=bar, block=room) for bar in BARS}
    return {**race.policies(), "FreeDave": FreeDave(block=room), **more}


def continuations(session: Session, texts: int, room: int, tell: Callable[[], Any]) -> dict[str, dict[str, float]]:
    """What the race finds on held-out prompts, for everybody."""
    race = UnmaskRace(texts=texts, room=room, block=room)
    race.policies = lambda: playing(room)
    for step in race.steps(session, torch.Generator()):
        tell()
        results = step.notes["results"]
    found = {}
    for result in results:
        runs = result["runs"]
        forwards = sum(run["forwards"] for run in runs)
        means = {"same": "same", "nats": "nll", "entropy": "entropy", "parses": "parses"}
        kept = {name: [run[key] for run in runs if run[key] is not None] for name, key in means.items()}
        found[result["name"]] = {
            "tokens_per_forward": sum(run["tokens"] for run in runs) / forwards,
            "padded": sum(run["places"] for run in runs) / forwards,
            **{name: statistics.fmean(values) for name, values in kept.items() if values},
        }
    return found


def infilling(session: Session, texts: int, tell: Callable[[], Any]) -> dict[str, dict[str, float]]:
    """A run of HIDDEN tokens in the middle of held-out prompts: the share that comes back, tokens a forward, ms a forward."""
    network = predictor_of(session)
    rows = [ids for ids in map(session.vocabulary.encode, heldout(120)) if len(ids) >= SHORTEST][:texts]
    found = {}
    for name, policy in playing(HIDDEN).items():
        right = forwards = 0
        began = time.perf_counter()
        for ids in rows:
            start = (len(ids) - HIDDEN) // 2
            twin = session.open(ids)
            state = State(ids[:start], HIDDEN, network.mask, network.end, network.device, ids[start + HIDDEN :])
            before = session.ledger.forwards
            filled: dict[int, int] = {}
            for step in policy.fill(state, network, twin, torch.Generator()):
                filled |= zip(step.at, step.emitted)
            forwards += session.ledger.forwards - before
            right += sum(filled.get(place) == ids[start + place] for place in range(HIDDEN))
            tell()
        places = HIDDEN * len(rows)
        seconds = time.perf_counter() - began
        found[name] = {"infilled": right / places, "infill_pace": places / forwards, "ms": 1e3 * seconds / forwards}
    return found


def lists(session: Session, problems: int, tell: Callable[[], Any]) -> dict[str, dict[str, float]]:
    """Answers to the list problems of TASKS that are right, and places a forward. Tokens are drawn at temperature 1, since the
    likeliest answer to a question of chance is the same each time; FreeDave, which cannot draw, stays out."""
    network = trained(str(session.runner.device))
    rng = Random(0)
    drawn = [draw(TASKS[turn % len(TASKS)], ITEMS[turn // len(TASKS) % len(ITEMS)], rng)[0] for turn in range(problems)]
    found = {}
    for name, policy in playing(LENGTH).items():
        if isinstance(policy, FreeDave):
            continue
        right = forwards = places = 0
        coins = torch.Generator().manual_seed(0)
        for problem in drawn:
            twin = Session(session.runner, list(problem), Law(1))
            twin.vocabulary, room = session.vocabulary, length(problem)
            state = State(list(problem), room, network.mask, network.end, network.device)
            for _ in policy.fill(state, network, twin, coins):
                pass
            right += valid(problem, tuple(state.ids[state.first :].tolist()))
            forwards += twin.ledger.forwards
            places += room
            tell()
        found[name] = {"lists": right / problems, "lists_pace": places / forwards}
    return found


def above(name: str, rows: dict[str, dict[str, float]], quality: str, pace: str) -> bool:
    """Is this policy better than what the threshold rule reaches with as many forwards? The rule's bars joined by lines."""
    mine = rows[name]
    rule = sorted((rows[one][pace], rows[one][quality]) for one in rows if one.split(" ")[0] == RULE and quality in rows[one])
    slower = [one for one in rule if one[0] <= mine[pace]]
    faster = [one for one in rule if one[0] >= mine[pace]]
    if not faster:
        return mine[quality] > rule[-1][1]
    if not slower:
        return mine[quality] > rule[0][1]
    (x, left), (end, right) = slower[-1], faster[0]
    between = left if end == x else left + (right - left) * (mine[pace] - x) / (end - x)
    return mine[quality] > between + 1e-9


def bench(pair: Pair, texts: int, room: int, problems: int, tell: Callable[[int, int], Any]) -> dict[str, Any]:
    """Everybody on the three tasks; plain data, one row each, and who stays above the threshold rule's line, by task."""
    names = list(playing(room))
    session = Session(pair.target, [0], Law(0), memory=pair.memory)
    session.vocabulary, session.ends = pair.vocabulary, pair.ends
    done, of = 0, len(names) * (2 * texts + problems)

    def one() -> None:
        nonlocal done
        done += 1
        tell(done, of)

    with torch.inference_mode():
        found = [continuations(session, texts, room, one), infilling(session, texts, one), lists(session, problems, one)]
    rows = {name: {key: value for part in found for key, value in part.get(name, {}).items()} for name in names}
    plain = [name for name in names if name.split(" ")[0] != RULE]
    better = {
        quality: [name for name in plain if quality in rows[name] and above(name, rows, quality, pace)]
        for quality, pace in QUALITIES.items()
    }
    about = {**common.machine(pair), "texts": texts, "room": room, "hidden": HIDDEN, "problems": problems, "lists": TASKS}
    return {**about, "rows": [{"name": name, **row} for name, row in rows.items()], "above the rule": better}


app = typer.Typer(add_completion=False)


@app.command()
def main(
    texts: Annotated[int, typer.Option(min=1, max=80, help="held-out prompts, and texts with a hidden run")] = 40,
    room: Annotated[int, typer.Option(min=8, max=64, help="places behind a prompt")] = 48,
    problems: Annotated[int, typer.Option(min=1, help="list problems")] = 480,
    device: common.Device = "", threads: common.Threads = 0, as_json: common.Json = False,
) -> None:  # fmt: skip
    """Forwards and quality of every unmasking policy: continuations, infilling, lists.

    Example: labkit bench diffusion --texts 20 --json
    """
    pair = common.prepared("", "none", device, "", threads)
    with common.bar("Unmasking") as tell:
        result = bench(pair, texts, room, problems, tell)
    if as_json:
        return print(json.dumps(result, indent=1))
    console = common.paper()
    console.print(
        f"{common.head(result)}; {texts} texts, {room} places each, runs of {HIDDEN} hidden, {problems} lists", soft_wrap=True
    )
    console.print(common.table("unmasking", COLUMNS, result["rows"]))
    for quality, names in result["above the rule"].items():
        said = ", ".join(names) if names else "nobody"
        console.print(f"Above the threshold rule's line in {quality!r}: {said}.", soft_wrap=True)
