"""`labkit bench growth`: what a step costs as its tree and its context grow, and what share of it is not the models'.

Every step drafts a tree of a given shape and size, has it checked and traced in full, and is taken back, so that the context
stays as long as it was. "chain": one draft forward a node. "random": each node hangs on one drawn from those before it, a new
tree every round, one draft forward a depth. Tokens are drawn from the draft at temperature 1, siblings independently; the
verifier is V2. Size 0 is plain decoding. All shapes, sizes and contexts have their turn before the next round begins; what is
printed are medians.

`--random` takes models of random weights, to time sizes that are not at hand; their laws mean nothing, so `--accept` should say
what share of the tested drafts is to be accepted. CUDA is waited for at both ends of every part; it was never run on a GPU.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any, Callable, Iterator

import torch
import typer

from labkit.bench import contenders as common
from labkit.errors import KnobError, ModelError
from labkit.law import Law, draws
from labkit.lm import Session
from labkit.models import Pair, device_of, dtype_of, load, make_runner
from labkit.prompts import heldout
from labkit.speculative.ground import Proposal, Speculative, room
from labkit.trace import Tree

SIZES = (0, 1, 2, 4, 8, 16, 32, 64, 128)  # nodes
CONTEXTS = (64, 250, 1000, 2000)  # tokens
SHAPES = ("chain", "random")
BOOKKEEPING = ("build", "masks", "commit")  # of the tree
PARTS = ("target", "draft", *BOOKKEEPING, "verify", "trace")
RANDOM = {  # layers, width, query heads, key-value heads, inner width; target and draft
    "1M": ((2, 128, 4, 2, 352), (1, 64, 2, 1, 176)),
    "1B": ((16, 2048, 32, 8, 8192), (4, 512, 8, 2, 2048)),
}
COLUMNS = {f"{part}_ms": f"{part} ms" for part in PARTS} | {
    "step_ms": "step ms",
    "bookkeeping": "tree share",
    "overhead": "share of all but models",
    "tokens": "tokens/ step",
    "vs_plain": "x plain",
}


class Clock:
    """Seconds by part; a part within another counts for itself only."""

    def __init__(self, device: torch.device):
        self.device, self.parts, self.inner = device, defaultdict(float), 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        outer, self.inner, started = self.inner, 0.0, self.now()
        try:
            yield
        finally:
            took = self.now() - started
            self.parts[name] += took - self.inner
            self.inner = outer + took

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class Timed(Session):
    """A session whose forwards and verbs are parts of a clock; `role` is "target" or "draft"."""

    def __init__(self, clock: Clock, role: str, *more):
        super().__init__(*more)
        self.clock, self.role = clock, role

    def _forward(self, *args):
        with self.clock.part(self.role):
            return super()._forward(*args)

    def score(self, *args):
        with self.clock.part("masks"):
            return super().score(*args)

    def grow(self, *args):
        with self.clock.part("masks"):
            return super().grow(*args)

    def commit(self, path):
        with self.clock.part("commit"):
            super().commit(path)


@dataclass
class Planted(Speculative):
    """Drafts a tree of the given shape, depth by depth; `accept` None leaves acceptance to the models."""

    parents: list[int]  # depth by depth
    accept: float | None = None

    def propose(self, session, rng):
        with session.clock.part("build"):
            tree, depths, drawn = Tree([], [], kind="iid"), Tree([], self.parents).depths, []
            for _, level in groupby(range(len(self.parents)), depths.__getitem__):
                level = list(level)
                if drawn:
                    inner = sorted({self.parents[node] for node in level})
                    rows = session.draft.grow(tree, inner).logits
                else:
                    inner, rows = [-1], session.draft.logits[None]
                laws, at = session.law(rows), [inner.index(self.parents[node]) for node in level]
                tree.tokens += draws(laws, at, rng)
                tree.parents += [self.parents[node] for node in level]
                drawn.append(laws[at])
            return Proposal(tree, torch.cat(drawn) if drawn else None)

    def check(self, session, tree, laws, scores, rng):
        with session.clock.part("verify"):
            outcome, p = super().check(session, tree, laws, scores, rng)
            if self.accept is not None:
                coins, outcome.path = torch.rand(len(tree.tokens), generator=rng).tolist(), []
                for node, parent in enumerate(tree.parents):
                    if parent == (outcome.path[-1] if outcome.path else -1) and coins[node] < self.accept:
                        outcome.path.append(node)
            return outcome, p


def shape_of(shape: str, size: int, seed: int) -> list[int]:
    """Parents of a chain, or of a random tree numbered depth by depth."""
    if shape == "chain":
        return list(range(-1, size - 1))
    chance = random.Random(seed)
    grown = Tree([], [chance.randint(-1, node - 1) for node in range(size)])
    order = sorted(range(size), key=grown.depths.__getitem__)
    place = {node: number for number, node in enumerate(order)} | {-1: -1}
    return [place[grown.parents[node]] for node in order]


def random_pair(size: str, device: str, dtype: str) -> Pair:
    """Llama-shaped models with random weights and no text. Raises `KnobError` on an unknown size."""
    from transformers import LlamaConfig, LlamaForCausalLM

    if size not in RANDOM:
        raise KnobError(f"There is no random model of size {size!r}: choose one of {', '.join(RANDOM)}.")
    place, kind = device_of(device), dtype_of(dtype)

    def runner(layers, width, heads, kv_heads, inner):
        config = LlamaConfig(
            vocab_size=32_000, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=inner,
            num_key_value_heads=kv_heads, max_position_embeddings=4096, tie_word_embeddings=True,
        )  # fmt: skip
        with place:
            return make_runner(LlamaForCausalLM(config).to(kind).eval())

    target, draft = (runner(*shape) for shape in RANDOM[size])
    return Pair(target, draft, None, f"random {size}", "a random draft", frozenset())


def contexts_of(pair: Pair, lengths: tuple[int, ...]) -> list[list[int]]:
    """Token ids of the given lengths: held-out text, for models without a tokenizer random ids."""
    if pair.vocabulary is None:
        ids = [random.Random(0).randrange(pair.target.vocabulary) for _ in range(max(lengths, default=0))]
    else:
        ids = [token for text in heldout(120) for token in pair.vocabulary.encode(text)]
    return [ids[:length] for length in lengths if length <= len(ids)]


def watched(pair: Pair, ids: list[int]) -> Timed:
    """A session with a draft behind `ids`, both read already, on one clock."""
    clock, law = Clock(pair.target.device), Law(1.0)
    session = Timed(clock, "target", pair.target, ids, law, Timed(clock, "draft", pair.draft, ids, law))
    session.keep = frozenset(("laws", "tests"))
    for one in (session, session.draft):
        one.logits  # noqa: B018
    return session


def one_step(session: Timed, method: Planted, seed: int) -> tuple[dict[str, float], int]:
    """(seconds by part, tokens emitted) of one step, which is then taken back."""
    length, clock = len(session.ids), session.clock
    steps = method.steps(session, torch.Generator().manual_seed(seed))
    clock.parts.clear()
    with torch.inference_mode(), clock.part("trace"):
        step = next(steps)
    for one in (session, session.draft):
        one.rewind(length)
    return dict(clock.parts), len(step.emitted)


def bench(
    pair: Pair,
    sizes: tuple[int, ...] = SIZES,
    contexts: tuple[int, ...] = CONTEXTS,
    repeats: int = 9,
    accept: float | None = None,
    progress: Callable[[int, int], Any] = lambda done, of: None,
) -> dict[str, Any]:
    """Time steps of every shape and size behind every context; plain data with one section a shape and context.

    Sizes that do not fit into the models' context are left out. Raises `ModelError` without a draft. After Ctrl-C "stopped" is
    true and the medians are over fewer rounds than asked for: "rounds".
    """
    if pair.draft is None:
        raise ModelError("Drafting needs a draft model: choose a draft.")
    sessions = {len(ids): watched(pair, ids) for ids in contexts_of(pair, contexts)}
    samples = {
        (shape, context, size): []
        for shape in SHAPES
        for context, session in sessions.items()
        for size in sizes
        if size <= room(session) or shape == "random"  # those are a few nodes deep
    }
    if not samples:
        raise KnobError(f"Nothing fits: choose contexts below {pair.target.context:,} tokens and smaller trees.")
    of, done, stopped = (repeats + 1) * len(samples), 0, False
    try:
        for turn in range(repeats + 1):  # the first round warms up and is thrown away
            for (shape, context, size), taken in samples.items():
                method = Planted(shape_of(shape, size, turn), accept)
                sample = one_step(sessions[context], method, turn)
                taken += [sample] if turn else []
                done += 1
                progress(done, of)
    except KeyboardInterrupt:
        stopped = True
    sections = [
        {"shape": shape, "context": context, "rows": rows({size: samples.get((shape, context, size)) for size in sizes})}
        for shape in SHAPES
        for context in sessions
    ]
    rounds = max(map(len, samples.values()))  # the last one may be broken off
    about = {**common.machine(pair), "rounds": rounds, "accept": accept, "stopped": stopped}
    return {**about, "sections": sections}


def rows(samples: dict[int, list[tuple[dict[str, float], int]] | None]) -> list[dict[str, Any]]:
    """One row a size: median ms of every part and of the step, what share of it the tree's bookkeeping is, and all that is not
    a forward; mean tokens; and tokens a second over those of plain decoding, which is size 0."""
    table, plain = [], None
    for size, taken in samples.items():
        if not taken:
            continue
        spent = [sum(parts.values()) for parts, _ in taken]

        def share(names, taken=taken, spent=spent):
            return statistics.median(sum(parts.get(name, 0.0) for name in names) / all for (parts, _), all in zip(taken, spent))

        row = {"name": str(size), "nodes": size}
        for part in PARTS:
            row[f"{part}_ms"] = 1e3 * statistics.median(parts.get(part, 0.0) for parts, _ in taken)
        row["step_ms"] = 1e3 * statistics.median(spent)
        row["bookkeeping"], row["overhead"] = share(BOOKKEEPING), share((*BOOKKEEPING, "verify", "trace"))
        row["tokens"] = statistics.mean(tokens for _, tokens in taken)
        plain = row["step_ms"] if size == 0 else plain
        row["vs_plain"] = row["tokens"] * plain / row["step_ms"] if plain else None
        table.append(row)
    return table


app = typer.Typer(add_completion=False)


@app.command()
def main(
    size: Annotated[list[int], typer.Option(min=0, help="nodes; may be given several times")] = SIZES,
    context: Annotated[list[int], typer.Option(min=1, help="tokens; may be given several times")] = CONTEXTS,
    repeats: Annotated[int, typer.Option(min=1, help="rounds")] = 9,
    accept: Annotated[float | None, typer.Option(min=0, max=1, help="accept this share of the tested drafts")] = None,
    made: Annotated[str, typer.Option("--random", metavar="SIZE", help="random weights: " + ", ".join(RANDOM))] = "",
    target: common.Target = "", draft: common.Draft = "", device: common.Device = "", dtype: common.Dtype = "",
    threads: common.Threads = 0, as_json: common.Json = False,
) -> None:  # fmt: skip
    """Time a step against the size of its tree and the length of the context; Ctrl-C ends it and prints what is known.

    Example: labkit bench growth --context 250 --size 0 --size 64 --threads 1
    """
    if threads:
        torch.set_num_threads(threads)
    pair = random_pair(made, device, dtype) if made else load(target, draft, device, dtype)
    with common.bar("growing") as progress:
        result = bench(pair, tuple(size), tuple(context), repeats, accept, progress)
    if as_json:
        return print(json.dumps(result, indent=1))
    console = common.paper()
    forced = "as the models decide" if accept is None else f"forced to {accept:g}"
    rounds = f"{result['rounds']} rounds, one run, in turn"
    console.print(f"{common.head(result)}; medians of {rounds}; acceptance {forced}", soft_wrap=True)
    for section in result["sections"]:
        console.print(common.table(f"{section['shape']}, {section['context']} tokens", COLUMNS, section["rows"]))
