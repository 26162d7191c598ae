"""Who is timed and how: every contender answers every prompt in turn, in one run. Shared by the decoding benches.

A slow minute of the machine hits all contenders alike, so that ratios within one run mean something; times of two runs do not.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Callable, Iterable, Iterator

import torch
import typer

from labkit.errors import LabError
from labkit.methods import Method, all_methods, method_info
from labkit.models import DTYPES, Pair, folder_of, load
from labkit.prompts import heldout
from labkit.run import run
from labkit.trace import ACCEPTED, UNREACHED, Cost, Request, Step

WIDE = 150  # columns of a table that goes into a file

Prompts = Annotated[int, typer.Option(help="held-out prompts, 1 to 120")]
Tokens = Annotated[int, typer.Option(help="new tokens a prompt")]
Temperatures = Annotated[list[float], typer.Option("--temperature", help="may be given several times")]
Target = Annotated[str, typer.Option(help="model name, id or folder")]
Draft = Annotated[str, typer.Option(help='model name, id or folder; "none" for none')]
Device = Annotated[str, typer.Option(help="cpu or cuda")]
Dtype = Annotated[str, typer.Option(help="float32, float64 or bfloat16")]
Threads = Annotated[int, typer.Option(help="torch threads; 0 = torch's own choice")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


@dataclass
class Answer:
    """What one contender made of one prompt; transformers' own decoders tell only tokens and seconds."""

    tokens: int
    seconds: float
    steps: int = 0
    cost: Cost = field(default_factory=Cost)
    drafted: int = 0  # nodes proposed, of these tested, of these accepted
    tested: int = 0
    accepted: int = 0
    evals: int | None = None  # evaluations of a constraint; None = the method counts none


@dataclass
class Contender:
    """Who writes behind a prompt: `write(ids, temperature, seed)`."""

    name: str
    write: Callable[[list[int], float, int], Answer]
    lossless: bool = True
    answers: list[Answer] = field(default_factory=list)  # one a prompt


def tally(steps: list[Step], seconds: float) -> Answer:
    """What the steps of a run add up to."""
    verdicts = [verdict for step in steps if step.tree for verdict in step.tree.verdicts]
    return Answer(
        sum(len(step.emitted) for step in steps),
        seconds,
        len(steps),
        sum((step.cost for step in steps), Cost()),
        len(verdicts),
        len(verdicts) - verdicts.count(UNREACHED),
        verdicts.count(ACCEPTED),
        steps[-1].notes.get("asked") if steps else None,  # counted from the run's begin
    )


def of_theme(theme: str) -> dict[str, type[Method]]:
    """The methods of a theme, by name."""
    return {name: cls for name, cls in all_methods().items() if method_info(cls).theme == theme}


def ours(pair: Pair, name: str, tokens: int, knobs: dict | None = None, title: str = "") -> Contender:
    """A method of the lab, with everything traced that its pages show; `title` where its name does not tell it from others."""

    def write(ids, temperature, seed):
        ask = {"ids": ids, "temperature": temperature, "max_new_tokens": tokens, "seed": seed}
        return timed(pair, Request(method=name, knobs=knobs or {}, **ask))

    return Contender(title or name, write, all_methods()[name].lossless)


def timed(pair: Pair, request: Request, method: Method | None = None) -> Answer:
    """Run a request to its end, by the clock; `method` as in `labkit.run`."""
    request.keep = ["laws", "tests"]
    started = time.perf_counter()
    steps = [event for event in run(pair, request, method) if isinstance(event, Step)]
    return tally(steps, time.perf_counter() - started)


def theirs(pair: Pair, tokens: int) -> list[Contender]:
    """transformers' own decoders on the same weights: plain, prompt lookup and, where there is a draft, assisted."""
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    logging.set_verbosity_error()

    def model_of(name):
        where, dtype = folder_of(name), pair.target.dtype
        return AutoModelForCausalLM.from_pretrained(where, dtype=dtype, local_files_only=True).to(pair.target.device).eval()

    target = model_of(pair.target_name)
    draft = model_of(pair.draft_name) if pair.draft else None

    def contender(name, **more):
        def write(ids, temperature, seed):
            torch.manual_seed(seed)
            started = time.perf_counter()
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
            new = len(out[0].tolist()) - len(ids)  # as a list: a GPU is waited for
            return Answer(new, time.perf_counter() - started)

        return Contender(name, write)

    found = [contender("generate"), contender("generate, prompt lookup", prompt_lookup_num_tokens=10)]
    return found + ([contender("generate, assisted", assistant_model=draft)] if draft is not None else [])


@dataclass
class Turns:
    """The order of play. After Ctrl-C `stopped` is true and only whole rounds are kept; who raises a `LabError` leaves."""

    progress: Callable[[int, int], Any]
    of: int  # turns in all
    done: int = 0
    stopped: bool = False
    left_out: dict[str, str] = field(default_factory=dict)  # who left, and what it said

    def play(self, contenders: list[Contender], prompts: list[list[int]], temperature: float) -> list[Contender]:
        """Those who answered every prompt, or all prompts until Ctrl-C; the first prompt comes twice, to warm up."""
        playing = [replace(contender, answers=[]) for contender in contenders]
        try:
            for turn, prompt in enumerate([prompts[0], *prompts]):
                for contender in list(playing):
                    try:
                        answer = contender.write(prompt, temperature, turn)
                    except LabError as refusal:
                        self.left_out[contender.name] = str(refusal)
                        self.of -= len(prompts) - turn
                        playing.remove(contender)
                    else:
                        contender.answers += [answer] if turn else []
                    self.done += 1
                    self.progress(self.done, self.of)
        except KeyboardInterrupt:
            self.stopped = True
        whole = min(len(contender.answers) for contender in playing)
        for contender in playing:
            del contender.answers[whole:]
        return playing if whole else []


def compare(
    pair: Pair,
    contenders: list[Contender],
    rows: Callable[[list[Contender]], list[dict[str, Any]]],
    prompts: int,
    tokens: int,
    temperatures: tuple[float, ...],
    progress: Callable[[int, int], Any],
) -> dict[str, Any]:
    """Let all play at every temperature; plain data with one section of `rows` a temperature.

    `progress(done, of)` is called after every turn. "prompts" of a section says how many all have answered: fewer than
    asked for after Ctrl-C, and then "stopped" is true.
    """
    texts = heldout(prompts)
    ids = [pair.vocabulary.encode(text)[: pair.target.context - tokens - 1] for text in texts]
    turns, sections = Turns(progress, len(temperatures) * (prompts + 1) * len(contenders)), []
    for temperature in temperatures:
        played = turns.play(contenders, ids, temperature)
        if played:
            answered = len(played[0].answers)
            sections.append({"temperature": temperature, "prompts": answered, "rows": rows(played)})
        if turns.stopped:
            break
    about = {**machine(pair), "prompts": prompts, "tokens": tokens, "stopped": turns.stopped, "left_out": turns.left_out}
    return {**about, "sections": sections}


def prepared(target: str, draft: str, device: str, dtype: str, threads: int) -> Pair:
    """The pair to measure; `threads` 0 leaves torch's own choice."""
    if threads:
        torch.set_num_threads(threads)
    return load(target, draft, device, dtype)


def ratio(contender: Contender, other: Contender) -> float:
    """How many times faster: the median of the prompts' ratios of seconds a token."""
    pairs = zip(contender.answers, other.answers)
    return statistics.median((b.seconds / b.tokens) / (a.seconds / a.tokens) for a, b in pairs)


def pace(contender: Contender, generate: Contender) -> dict[str, Any]:
    """The columns that every bench begins with: median time a token, and the ratio to transformers' `generate`."""
    middle = statistics.median(answer.seconds / answer.tokens for answer in contender.answers)
    return {
        "name": contender.name,
        "lossless": contender.lossless,
        "ms_per_token": 1e3 * middle,
        "tokens_per_second": 1 / middle,
        "vs_generate": ratio(contender, generate),
    }


def machine(pair: Pair) -> dict[str, Any]:
    """Models, device, dtype and threads."""
    return {
        "target": pair.target_name,
        "draft": pair.draft_name,
        "device": torch.cuda.get_device_name() if pair.target.device.type == "cuda" else platform.processor() or "cpu",
        "dtype": next(name for name, dtype in DTYPES.items() if dtype == pair.target.dtype),
        "threads": torch.get_num_threads(),
    }


@contextmanager
def bar(words: str) -> Iterator[Callable[[int, int], Any]]:
    """A progress bar on standard error; yields `progress(done, of)`."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(words, total=None)
        yield lambda done, of: shown.update(task, completed=done, total=of)


def show(result: dict[str, Any], columns: dict[str, str]) -> None:
    """Print what `compare` found: one table a temperature, with the columns (key: heading)."""
    console = paper()
    console.print(
        f"{head(result)}; medians of {result['prompts']} prompts x {result['tokens']} tokens, one run, in turn", soft_wrap=True
    )
    for section in result["sections"]:
        console.print(table(f"temperature {section['temperature']:g}", columns, section["rows"]))
        if section["prompts"] < result["prompts"]:
            console.print(f"Stopped after {section['prompts']} prompts.")
    if not result["sections"]:
        console.print("Stopped before everybody had answered one prompt.")
    for name, reason in result["left_out"].items():
        console.print(f"Left out: {name}. {reason}", soft_wrap=True)


def paper():
    """A rich console on standard output, wide where it is no terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDE)


def head(result: dict[str, Any]) -> str:
    """Where a result comes from: models, device, dtype, threads."""
    draft = result["draft"] or "no draft"
    return f"{result['target']} with {draft} on {result['device']}, {result['dtype']}, {result['threads']} threads"


def table(title: str, columns: dict[str, str], rows: Iterable[dict[str, Any]]):
    """`rows` as a rich table: the name, then the columns (key: heading), two decimals."""
    from rich.table import Column, Table

    made = Table(Column(title, no_wrap=True), *columns.values())
    for row in rows:
        name = row["name"] if row.get("lossless", True) else f"{row['name']} (lossy)"
        made.add_row(name, *("" if row.get(key) is None else format(row[key], ".2f") for key in columns))
    return made
