"""The command line: `labkit …`. Nothing heavy is imported before the command that needs it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from labkit.errors import KnobError, LabError, PromptError, TraceError
from labkit.trace import Request, Setting, Step, Trace

app = typer.Typer(
    name="labkit",
    help="Token Lab: see how a language model writes, one token at a time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
bench = typer.Typer(help="Measure the lab on this machine.", no_args_is_help=True)
app.add_typer(bench, name="bench")

# a command that reads its own options, so that this module needs nothing heavy for its help
HANDED_ON = {"context_settings": {"allow_extra_args": True, "ignore_unknown_options": True}, "add_help_option": False}
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def papers(
    theme: Annotated[str, typer.Option(help="Only this theme: sampling, speculative, attention, …")] = "",
    works: Annotated[bool, typer.Option("--working", help="Only papers that something here realises.")] = False,
    as_json: Json = False,
) -> None:
    """List the catalogue of 185 papers, and which of them work here.

    Example: labkit papers --theme speculative --working
    """
    from labkit import catalog
    from labkit.methods import all_methods, all_studies, all_transforms

    by = catalog.working([*all_methods().values(), *all_studies().values(), *all_transforms().values()])
    rows = [
        {**_whole(paper), "working": paper.id in by, "by": by.get(paper.id, [])}
        for paper in catalog.papers().values()
        if theme in ("", paper.theme) and (paper.id in by or not works)
    ]
    if theme and not any(paper.theme == theme for paper in catalog.papers().values()):
        known = dict.fromkeys(paper.theme for paper in catalog.papers().values())
        raise LabError(f"There is no theme {theme!r}: choose one of {', '.join(known)}.")
    cells = [[row["id"], row["theme"], str(row["year"]), row["title"], ", ".join(row["by"])] for row in rows]
    _show(rows, ["id", "theme", "year", "title", "works as"], cells, as_json)


@app.command()
def methods(as_json: Json = False) -> None:
    """List the methods that can decode, with their knobs.

    Example: labkit methods --json
    """
    from labkit.methods import all_methods, method_info

    rows = [_whole(method_info(method)) for method in all_methods().values()]
    cells = [
        [
            row["name"],
            row["theme"],
            row["paper"],
            "yes" if row["lossless"] else "no",
            _knobs(row["knobs"]),
            row["title"],
        ]
        for row in rows
    ]
    _show(rows, ["name", "theme", "paper", "lossless", "knobs", "title"], cells, as_json)


@app.command()
def models(as_json: Json = False) -> None:
    """List the models that may be chosen here.

    Example: LABKIT_MODELS=Qwen/Qwen3-0.6B labkit models
    """
    from labkit.models import available

    rows = [_whole(model) for model in available()]
    cells = [
        [
            row["name"],
            row["role"],
            f"{row['layers']} x {row['width']}",
            f"{row['parameters']:,}",
            f"{row['vocabulary']:,}",
        ]
        + [f"{row['context']:,}", "yes" if row["default"] else ""]
        for row in rows
    ]
    _show(rows, ["name", "role", "layers x width", "parameters", "vocabulary", "context", "default"], cells, as_json)


@app.command()
def decode(
    method: Annotated[str, typer.Option(help="A name from `labkit methods`.")] = "plain",
    knobs: Annotated[list[str] | None, typer.Option("--set", metavar="KNOB=VALUE", help="Turn a knob; repeat.")] = None,
    prompt: Annotated[str | None, typer.Option(help="The text to go on from.")] = None,
    prompt_file: Annotated[Path | None, typer.Option(help="A file with the prompt; - is standard input.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="How many tokens to write at most.")] = 64,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Same seed, same text.")] = 0,
    top_h: Annotated[float | None, typer.Option(help="Keep the likeliest up to this share of the entropy.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Keep the k likeliest tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Keep the likeliest tokens up to this mass.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Keep tokens at least this share of the best one.")] = None,
    eta: Annotated[float | None, typer.Option(help="Cut tokens below this floor, lower where unsure.")] = None,
    typical: Annotated[float | None, typer.Option(help="Keep the least odd tokens up to this mass.")] = None,
    target: Annotated[str, typer.Option(help="A model: shipped name, folder or hub id.")] = "",
    draft: Annotated[str, typer.Option(help="The draft model, for methods that need one.")] = "",
    dtype: Annotated[str, typer.Option(help="float32, float64 or bfloat16.")] = "",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "",
    trace: Annotated[Path | None, typer.Option(help="Save the whole trace here, for `labkit view` or a bench.")] = None,
    as_json: Json = False,
) -> None:
    """Write with a method, in this process; report tokens, steps and cost.

    Example: labkit decode --method chain --set length=6 --prompt "def read_config(path):" --max-new-tokens 96 --json
    """
    from labkit.methods import all_methods

    text = _prompt(prompt, prompt_file)
    if method not in (known := all_methods()):
        raise KnobError(f"There is no method {method!r}: choose one of {', '.join(sorted(known))}.")
    cuts = [("top-h", "alpha", top_h), ("top-k", "k", top_k), ("top-p", "p", top_p), ("min-p", "p", min_p)]
    cuts += [("eta", "epsilon", eta), ("typical", "mass", typical)]
    transforms = [Setting(name, {knob: value}) for name, knob, value in cuts if value is not None]
    request = _request(known[method], knobs, text, temperature, transforms, max_new_tokens, seed, target, draft)
    whole = _whole_run(request, known[method], device, dtype, as_json)
    if trace:
        _save(whole, trace)
    cost = whole.cost
    kept = ("target_forwards", "target_tokens", "draft_forwards", "draft_tokens", "seconds")
    result = {"ids": whole.ids, "text": whole.closing.text, "steps": len(whole.steps)}
    result["cost"] = {name: getattr(cost, name) for name in kept}
    if as_json:
        print(json.dumps(result))
        return
    print(result["text"])
    print(
        f"\n{len(whole.ids)} tokens in {len(whole.steps)} steps and {cost.seconds:.2f} s: "
        f"{cost.target_forwards} target forwards ({cost.target_tokens} tokens), "
        f"{cost.draft_forwards} draft forwards ({cost.draft_tokens} tokens)",
        file=sys.stderr,
    )


@app.command()
def studies(as_json: Json = False) -> None:
    """List the studies: experiments over many runs, with their knobs.

    Example: labkit studies --json
    """
    from labkit.methods import all_studies, method_info

    rows = [_whole(method_info(study)) for study in all_studies().values()]
    cells = [[row["name"], row["theme"], row["paper"], _knobs(row["knobs"]), row["title"]] for row in rows]
    _show(rows, ["name", "theme", "paper", "knobs", "title"], cells, as_json)


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="A name from `labkit studies`.")],
    knobs: Annotated[list[str] | None, typer.Option("--set", metavar="KNOB=VALUE", help="Turn a knob; repeat.")] = None,
    prompt: Annotated[str, typer.Option(help="The text to study, where one matters.")] = "def read(path):\n",
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Same seed, same answer.")] = 0,
    target: Annotated[str, typer.Option(help="A model: shipped name, folder or hub id.")] = "",
    draft: Annotated[str, typer.Option(help="The draft model, for studies that need one.")] = "",
    trace: Annotated[Path | None, typer.Option(help="Save the frames here, for `labkit view` or a bench.")] = None,
    as_json: Json = False,
) -> None:
    """Run a study to its end, in this process; report what its last step knows.

    Example: labkit study NAME --set prompts=8 --json
    """
    from labkit.methods import all_studies

    if name not in (known := all_studies()):
        raise KnobError(f"There is no study {name!r}: choose one of {', '.join(sorted(known)) or 'none, there are none'}.")
    asked = _request(known[name], knobs, prompt, temperature, [], 64, seed, target, draft)
    whole = _whole_run(asked, known[name], "", "", as_json)
    if trace:
        _save(whole, trace)
    last = whole.steps[-1].notes if whole.steps else {}
    print(json.dumps({"steps": len(whole.steps), "seconds": whole.cost.seconds, "notes": last}, indent=None if as_json else 1))


@app.command()
def view(
    trace: Annotated[Path, typer.Argument(help="A trace saved by `labkit decode --trace` or by a bench.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="fig.html, fig.png or fig.svg.")],
    name: Annotated[str, typer.Option("--view", help="Which picture; the first one when left out.")] = "",
    step: Annotated[int | None, typer.Option(help="Show the trace up to this step; all of it when left out.")] = None,
) -> None:
    """Draw a saved trace into a file, with no model.

    Example: labkit view run.json -o tree.svg --view draft_tree --step 12
    """
    from labkit import figures
    from labkit.views import export

    export.write(figures.draw(trace, name, step), output)


@app.command(**HANDED_ON)
def train(context: typer.Context) -> None:
    """Rebuild the shipped models from the texts that every install has.

    Example: labkit train --help
    """
    from labkit.train.command import app as trainer

    trainer(context.args, prog_name="labkit train")


@app.command(**HANDED_ON)
def sweep(context: typer.Context) -> None:
    """Run methods x knobs x prompts x seeds with Ray, here or on a cluster; results in Parquet.

    Example: labkit sweep --methods chain,lookup --set chain.length=2,4,8 --prompts 8 --out results/
    """
    from labkit.cluster.sweep import app as sweeping

    sweeping(context.args, prog_name="labkit sweep")


@app.command(**HANDED_ON)
def cluster(context: typer.Context) -> None:
    """Serve the engine from many machines with Ray Serve: one replica a GPU, as many as visitors need.

    Example: labkit cluster --address auto --replicas 1 8
    """
    from labkit.cluster.engine import app as serving

    serving(context.args, prog_name="labkit cluster")


@bench.command("decode", **HANDED_ON)
def bench_decode(context: typer.Context) -> None:
    """Time every method against transformers on held-out prompts.

    Example: labkit bench decode --json
    """
    from labkit.bench.decode import app as decoding

    decoding(context.args, prog_name="labkit bench decode")


@bench.command("speculative", **HANDED_ON)
def bench_speculative(context: typer.Context) -> None:
    """Acceptance, forwards and speed of every drafting method, beside transformers and beside what would be possible.

    Example: labkit bench speculative --methods chain,lookup --json
    """
    from labkit.bench.speculative import app as drafting

    drafting(context.args, prog_name="labkit bench speculative")


@bench.command("sampling", **HANDED_ON)
def bench_sampling(context: typer.Context) -> None:
    """Time every transform, and count what every decoder of the sampling theme asks of the model.

    Example: labkit bench sampling --prompts 4 --json
    """
    from labkit.bench.sampling import app as sampling

    sampling(context.args, prog_name="labkit bench sampling")


@bench.command("growth", **HANDED_ON)
def bench_growth(context: typer.Context) -> None:
    """Time a step against the size of its tree and the length of the context.

    Example: labkit bench growth --json
    """
    from labkit.bench.growth import app as growing

    growing(context.args, prog_name="labkit bench growth")


@bench.command("tensorbleu", **HANDED_ON)
def bench_tensorbleu(context: typer.Context) -> None:
    """Time BLEU of a batch in tensors against NLTK and sacrebleu.

    Example: labkit bench tensorbleu --json
    """
    from labkit.bench.tensorbleu import app as scoring

    scoring(context.args, prog_name="labkit bench tensorbleu")


@bench.command("attention", **HANDED_ON)
def bench_attention(context: typer.Context) -> None:
    """Time a decode step under every cache policy, by context: milliseconds and bytes read.

    Example: labkit bench attention --context 8192 --json
    """
    from labkit.bench.attention import app as attending

    attending(context.args, prog_name="labkit bench attention")


@bench.command("kernels", **HANDED_ON)
def bench_kernels(context: typer.Context) -> None:
    """Time the Triton kernels against dense attention, and say what the bytes allow.

    Example: labkit bench kernels --length 131072 --json
    """
    from labkit.bench.kernels import app as attending

    attending(context.args, prog_name="labkit bench kernels")


@bench.command("diffusion", **HANDED_ON)
def bench_diffusion(context: typer.Context) -> None:
    """Count the forwards of every unmasking policy, and judge what it writes: continuations, infilling, lists.

    Example: labkit bench diffusion --texts 20 --json
    """
    from labkit.bench.diffusion import app as unmasking

    unmasking(context.args, prog_name="labkit bench diffusion")


@bench.command("class", **HANDED_ON)
def bench_class(context: typer.Context) -> None:
    """A class of simulated students on one engine: steps, Stop, memory, errors; --ramp finds where it breaks.

    Example: labkit bench class --visitors 40 --minutes 10 --json
    """
    from labkit.bench.classroom import app as attending

    attending(context.args, prog_name="labkit bench class")


@bench.command("ui")
def bench_ui(
    repeats: Annotated[int, typer.Option(help="How often each thing is timed.")] = 40,
    as_json: Json = False,
) -> None:
    """Time the pages in a real Chromium: scrub, knobs, steps, Stop, loading, payload, memory.

    Example: labkit bench ui --repeats 100
    """
    from labkit.bench.ui import measure

    with _quiet(as_json).status("starting") as status:
        found = measure(repeats, status.update)
    cells = [one.cells() for one in found]
    _show([one.row() for one in found], ["what", "median / p95", "times", "budget", ""], cells, as_json)


@app.command()
def lab(
    port: Annotated[int, typer.Option(envvar="LABKIT_PORT", help="Where the dashboards answer.")] = 8866,
    engine_port: Annotated[int, typer.Option(envvar="LABKIT_ENGINE_PORT", help="Where the engine listens.")] = 8765,
    pool: Annotated[int, typer.Option(min=0, help="Kernels kept warm for each dashboard; 70 MB each.")] = 1,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the welcome page in a browser.")] = False,
    a_class: Annotated[bool, typer.Option("--class", help="Serve a class: other machines may come in.")] = False,
    host: Annotated[str, typer.Option(help="Class: the address to listen on; 0.0.0.0 is every one.")] = "0.0.0.0",
    visitors: Annotated[int, typer.Option(min=1, help="Class: how many come; a warm kernel for each, 70 MB.")] = 40,
    pages: Annotated[int, typer.Option(min=1, help="Class: pages that each visitor may have open.")] = 3,
    first: Annotated[str, typer.Option(help="Class: the dashboard that the address leads to.")] = "00_welcome",
    base_url: Annotated[str, typer.Option(help="Class: the path before every page, behind a proxy.")] = "/",
    token: Annotated[str, typer.Option(envvar="LABKIT_TOKEN", help="Class: the word at the door; made up if empty.")] = "",
    key: Annotated[str, typer.Option(envvar="LABKIT_KEY", help="Class: the teacher's key; made up if empty.")] = "",
) -> None:
    """Start the engine and the dashboards, for this machine or for a class; Ctrl-C ends both.

    Example: labkit lab --class --visitors 40 --first 01_entropy
    """
    from labkit.host.launch import serve_dashboards
    from labkit.host.lesson import Class, serve_class

    if a_class:
        serve_class(port, engine_port, Class(host, visitors, pages, first, base_url, token, key))
    else:
        serve_dashboards(port, engine_port, pool, open_browser)


@app.command()
def notebook(
    port: Annotated[int, typer.Option(envvar="LABKIT_NOTEBOOK_PORT", help="Where JupyterLab answers.")] = 8888,
    engine_port: Annotated[int, typer.Option(envvar="LABKIT_ENGINE_PORT", help="Where the engine listens.")] = 8765,
    open_browser: Annotated[bool, typer.Option("--open", help="Open JupyterLab in a browser.")] = False,
) -> None:
    """Start the engine and JupyterLab on this machine; Ctrl-C ends both.

    Example: labkit notebook --open
    """
    from labkit.host.launch import serve_notebooks

    serve_notebooks(port, engine_port, open_browser)


@app.command()
def engine(
    host: Annotated[
        str, typer.Option(help="The address to listen on; only this machine unless you change it.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="LABKIT_ENGINE_PORT", help="The port; 0 takes a free one.")] = 8765,
    token: Annotated[
        str, typer.Option(envvar="LABKIT_ENGINE_TOKEN", help="What a notebook has to show; the variable hides it from `ps`.")
    ] = "",
    open_to_all: Annotated[bool, typer.Option("--open-to-all", help="Listen beyond this machine without a token.")] = False,
) -> None:
    """Start only the engine: one process that holds the models for many notebooks.

    Example: LABKIT_TARGET=Qwen/Qwen3-0.6B labkit engine --port 9001
    """
    from labkit.engine.server import main as serve

    serve(host, port, token=token, open_to_all=open_to_all)


def _request(
    kind: type, knobs: list[str] | None, prompt: str, temperature: float, transforms: list[Setting], tokens: int, seed: int,
    target: str, draft: str,
) -> Request:  # fmt: skip
    from labkit.knobs import check, schema

    return Request(
        method=kind.name,
        prompt=prompt,
        knobs=check(schema(kind), _pairs(knobs or [])),
        temperature=temperature,
        transforms=transforms,
        max_new_tokens=tokens,
        seed=seed,
        target=target,
        draft=draft,
    )


def _whole_run(request: Request, kind: type, device: str, dtype: str, as_json: bool) -> Trace:
    """Run a request to its end in this process, with a progress bar."""
    from rich.progress import Progress

    from labkit.models import NO_DRAFT, load, spare_threads
    from labkit.run import run

    pair = load(request.target, request.draft if kind.drafts == "model" else NO_DRAFT, device, dtype)
    spare_threads(pair)
    events = run(pair, request)
    whole = Trace(next(events))
    with Progress(console=_quiet(as_json), transient=True) as progress:
        bar = progress.add_task("writing" if kind.writes else "studying", total=request.max_new_tokens if kind.writes else None)
        for event in events:
            whole.add(event)
            if isinstance(event, Step):
                progress.advance(bar, len(event.emitted))
                if "of" in event.notes:
                    progress.update(bar, completed=event.notes["done"], total=event.notes["of"])
    return whole


def _whole(struct: msgspec.Struct) -> dict[str, Any]:
    """A struct as a dict with its defaults written out: outside readers should not have to know them."""
    fields = {name: getattr(struct, name) for name in struct.__struct_fields__}
    return {
        name: [_whole(item) if isinstance(item, msgspec.Struct) else item for item in value]
        if isinstance(value, list)
        else value
        for name, value in fields.items()
    }


def _show(rows: list[dict], head: list[str], cells: list[list[str]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*head, box=box.SIMPLE)
    for row in cells:
        table.add_row(*map(escape, row))
    Console().print(table)


def _quiet(as_json: bool):
    """Where progress goes: standard error, and nowhere when that is no terminal or only JSON is wanted."""
    from rich.console import Console

    return Console(stderr=True, quiet=as_json or not sys.stderr.isatty())


def _knobs(knobs: list[dict]) -> str:
    return ", ".join(f"{knob['name']}={knob['default']}" for knob in knobs)


def _save(trace: Trace, path: Path) -> None:
    try:
        trace.save(path)
    except OSError as refused:
        raise TraceError(f"The trace cannot go to {str(path)!r} ({refused.strerror}): choose another file.") from None


def _pairs(settings: list[str]) -> dict[str, str]:
    for setting in settings:
        if "=" not in setting:
            raise KnobError(f"--set {setting!r} sets nothing: write it as knob=value.")
    return dict(setting.split("=", 1) for setting in settings)


def _prompt(text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None):
        raise PromptError("One prompt is needed: give either --prompt or --prompt-file.")
    if file is None:
        return text
    if str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "it is not UTF-8 text"
        raise PromptError(f"The prompt file {str(file)!r} cannot be read ({reason}): check the path.") from None


def main() -> None:
    """Run the command line; what a person can mend is one sentence on standard error and exit code 2."""
    try:
        app()
    except LabError as problem:
        print(f"labkit: {problem}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
