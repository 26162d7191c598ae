"""`labkit train …`: rebuild or extend the shipped models, and measure them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from labkit.train import train

HELP = """Train the shipped models from text that every install has.

Example: labkit train pair --minutes 30
"""
app = typer.Typer(no_args_is_help=True, add_completion=False, help=HELP)

Out = Annotated[Path, typer.Option(help="Folder of the pair: its `target` and `draft` are written there.")]
Tokens = Annotated[int | None, typer.Option(help="Budget in tokens a model (or give --minutes).")]
Minutes = Annotated[float | None, typer.Option(help="Budget in minutes of work, turned into tokens at the start.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; all of them by default.")]
Seed = Annotated[int, typer.Option(help="Of the first weights, the corpus and the order of the text.")]
Rate = Annotated[float, typer.Option(help="Peak learning rate.")]
Decay = Annotated[float, typer.Option(help="Share of the run with long windows, needles and a falling rate.")]
Every = Annotated[int, typer.Option("--needles-every", help="Of this many long batches one is needles.")]
Init = Annotated[Path | None, typer.Option(help="Folder with weights to start from, instead of random ones.")]
Resume = Annotated[Path | None, typer.Option(help="Checkpoint to continue; with --tokens, to a new budget in all.")]
Tokenizer = Annotated[Path | None, typer.Option(help="Folder of the tokenizer; the pair's own by default.")]

DEFAULT_OUT = Path("data/models")


@contextmanager
def refusals() -> Iterator[None]:
    """A ValueError inside ends the command with its sentence."""
    try:
        yield
    except ValueError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None


def _run(what: str, out: Path, **choices) -> None:
    with refusals():
        typer.echo(f"written: {train(what, out, **choices)}")


@app.command(epilog="Example: labkit train pair --minutes 60 --threads 2")
def pair(
    out: Out = DEFAULT_OUT,
    tokens: Tokens = None,
    minutes: Minutes = None,
    device: Device = "cpu",
    threads: Threads = None,
    seed: Seed = 0,
    rate: Rate = 2e-3,
    tokenizer: Tokenizer = None,
) -> None:
    """Train a target, then a draft that learns from it; measure both; write the model card."""
    choices = {"device": device, "threads": threads, "seed": seed, "rate": rate, "tokenizer": tokenizer}
    _run("pair", out, tokens=tokens, minutes=minutes, report=typer.echo, **choices)


@app.command(epilog="Example: labkit train target --tokens 20000000 --init data/models/target --rate 0.0012")
def target(
    out: Out = DEFAULT_OUT,
    tokens: Tokens = None,
    minutes: Minutes = None,
    device: Device = "cpu",
    threads: Threads = None,
    seed: Seed = 0,
    rate: Rate = 2e-3,
    decay: Decay = 0.3,
    needles_every: Every = 3,
    init: Init = None,
    resume: Resume = None,
    tokenizer: Tokenizer = None,
) -> None:
    """Train the target alone. A draft made for another target keeps working, but agrees less."""
    choices = {"device": device, "threads": threads, "seed": seed, "rate": rate, "tokenizer": tokenizer}
    choices |= {"decay": decay, "needles_every": needles_every}
    _run("target", out, tokens=tokens, minutes=minutes, init=init, resume=resume, report=typer.echo, **choices)


@app.command(epilog="Example: labkit train draft --tokens 10000000 --teacher data/models/target")
def draft(
    out: Out = DEFAULT_OUT,
    tokens: Tokens = None,
    minutes: Minutes = None,
    device: Device = "cpu",
    threads: Threads = None,
    seed: Seed = 0,
    rate: Rate = 2e-3,
    init: Init = None,
    resume: Resume = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Folder of the target to learn from, which raises the acceptance rate.")
    ] = None,
    tokenizer: Tokenizer = None,
) -> None:
    """Train the draft alone, from the text or from a target's next-token distributions too."""
    choices = {"device": device, "threads": threads, "seed": seed, "rate": rate, "tokenizer": tokenizer}
    choices |= {"init": init, "resume": resume, "teacher": teacher}
    _run("draft", out, tokens=tokens, minutes=minutes, report=typer.echo, **choices)


@app.command(epilog="Example: labkit train ngrams --megabytes 2")
def ngrams(
    megabytes: Annotated[float, typer.Option(help="Size of the table; the most frequent tri-grams are kept.")] = 2.0,
    seed: Annotated[int, typer.Option(help="Of the corpus.")] = 0,
) -> None:
    """Count the training text's tri-grams: the table that ADED drafts from (P113)."""
    from labkit.train.ngrams import train_ngrams

    with refusals():
        file = train_ngrams(megabytes, seed, report=typer.echo)
    typer.echo(f"written: {file}")


@app.command("ngrams-super", epilog="Example: labkit train ngrams-super --megabytes 3.4")
def ngrams_super(
    megabytes: Annotated[float, typer.Option(help="Size of the table; the most frequent n-grams are kept.")] = 3.4,
    seed: Annotated[int, typer.Option(help="Of the corpus.")] = 0,
) -> None:
    """Count the training text's two- to six-grams: the table that smooths superposed drafts (P171)."""
    from labkit.train.ngrams_super import train_ngrams_super

    with refusals():
        file = train_ngrams_super(megabytes, seed, report=typer.echo)
    typer.echo(f"written: {file}")


@app.command()
def morphs() -> None:
    """List Python's names, and train the pieces behind roots and affixes: what the morphological segmenter knows (P101)."""
    from labkit.train.morphs import train_morphs

    with refusals():
        names = train_morphs(report=typer.echo)
    typer.echo(f"written: {', '.join(names)}")


@app.command(epilog="Example: labkit train exits --tokens 2400000 --threads 1")
def exits(
    tokens: Annotated[int | None, typer.Option(help="Budget in tokens.")] = None,
    device: Device = "cpu",
    threads: Threads = None,
    seed: Seed = 0,
    rate: Rate = 3e-3,
    resume: Resume = None,
    from_shipped: Annotated[bool, typer.Option(help="Go on from the part that is there, made for earlier weights.")] = False,
) -> None:
    """Teach the shipped target's early layers to speak: a low-rank part that makes the model lab-exits (P157)."""
    from labkit.train.exits import train_exits

    with refusals():
        choices = {"rate": rate, "resume": resume, "from_shipped": from_shipped}
        file = train_exits(tokens, device=device, threads=threads, seed=seed, report=typer.echo, **choices)
    typer.echo(f"written: {file}")


@app.command("stop-head", epilog="Example: labkit train stop-head --tokens 500000 --threads 1")
def stop_head(
    tokens: Annotated[int, typer.Option(help="Of the target's own text, drafted at every place.")] = 500_000,
    weight: Annotated[float, typer.Option(help="What a refusal weighs beside an acceptance, 1 to 12.")] = 6.0,
    depth: Annotated[int, typer.Option(help="Residual blocks, 0 to 4.")] = 3,
    shared_blocks: Annotated[bool, typer.Option("--shared-blocks", help="All blocks are one, as in the release.")] = False,
    device: Device = "cpu",
    threads: Threads = None,
    seed: Seed = 0,
) -> None:
    """Train the heads that tell SpecDec++ when to stop drafting; a run that was stopped goes on where it was."""
    from labkit.train.stop_head import train_stop_head

    choices = {"tokens": tokens, "weight": weight, "depth": depth, "shared_blocks": shared_blocks}
    with refusals():
        file = train_stop_head(**choices, device=device, threads=threads, seed=seed, report=typer.echo)
    typer.echo(f"written: {file}")


@app.command(epilog="Example: labkit train adadec --windows 400 --threads 1")
def adadec(
    windows: Annotated[int, typer.Option(help="Of training text, 256 tokens each.")] = 400,
    device: Device = "cpu",
    threads: Threads = None,
    seed: Seed = 0,
) -> None:
    """Learn from which entropy on AdaDec pauses (P003)."""
    from labkit.train.adadec import train_adadec

    with refusals():
        file = train_adadec(windows, device=device, threads=threads, seed=seed, report=typer.echo)
    typer.echo(f"written: {file}")


@app.command(epilog="Example: labkit train dhsa --threads 1")
def dhsa(
    steps: Annotated[int, typer.Option(help="Of 512 gaps each.")] = 2000,
    device: Device = "cpu",
    threads: Threads = None,
    seed: Seed = 0,
) -> None:
    """Learn where DHSA cuts a text (P056), from the target's own attention; a stopped run goes on where it was."""
    from labkit.train.dhsa import train_dhsa

    with refusals():
        file = train_dhsa(steps, device=device, threads=threads, seed=seed, report=typer.echo)
    typer.echo(f"written: {file}")


@app.command(epilog="Example: labkit train letters --threads 1")
def letters(
    text_steps: Annotated[int, typer.Option(help="Steps of training text, 2,048 tokens each.")] = 400,
    question_steps: Annotated[int, typer.Option(help="Steps of questions, 128 each.")] = 1200,
    device: Device = "cpu",
    threads: Threads = None,
    seed: Seed = 0,
) -> None:
    """Teach the draft letters, after text cut in three ways (P099, P010); a run that was stopped goes on where it was."""
    from labkit.train.letters import train_letters

    with refusals():
        files = train_letters(text_steps, question_steps, device=device, threads=threads, seed=seed, report=typer.echo)
    for file in files:
        typer.echo(f"written: {file}")


@app.command("mdm-py", epilog="Example: labkit train mdm-py --tokens 16000000 --threads 1")
def mdm_py(
    tokens: Annotated[int | None, typer.Option(help="Tokens in all; 16 M on a CPU, 600 M on CUDA by default.")] = None,
    device: Device = "cpu",
    threads: Threads = None,
    seed: Seed = 0,
) -> None:
    """Train the masked-diffusion model of Python; a run that was stopped goes on where it was."""
    from labkit.train.mdm import train_mdm

    with refusals():
        file = train_mdm(tokens, device=device, threads=threads, seed=seed, report=typer.echo)
    typer.echo(f"written: {file}")


@app.command(epilog="Example: labkit train tokenizer my-models/target --rebuild")
def tokenizer(
    out: Annotated[Path, typer.Argument(help="Folder to write tokenizer.json into.")],
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make another one than the frozen one.")] = False,
) -> None:
    """Train another tokenizer. The shipped one is frozen: models trained with it can't read another's tokens."""
    if not rebuild:
        typer.echo("Error: the shipped tokenizer is frozen; to make another one all the same, add --rebuild", err=True)
        raise typer.Exit(2)
    if (out / "model.safetensors").exists():
        typer.echo(f"Error: {out} holds a model that needs its own tokenizer: name another folder", err=True)
        raise typer.Exit(2)
    from labkit.train import corpus
    from labkit.train.tokenizer import save_tokenizer, train_tokenizer

    found = corpus.documents(corpus.sources())
    texts = (document.text for document in found if not corpus.is_held_out(document.digest))
    save_tokenizer(train_tokenizer(texts), out)
    typer.echo(f"written: {out}")


@app.command(epilog="Example: labkit train tokenizers")
def tokenizers() -> None:
    """Train the tokenizers that the pages compare (ten minutes), and measure them on held-out text."""
    from labkit.train.tokenizers import train_tokenizers

    with refusals():
        typer.echo(f"written: {train_tokenizers(report=typer.echo)}")


@app.command(epilog="Example: labkit train superwords --size 12000 --transition 7000")
def superwords(
    size: Annotated[int, typer.Option(help="Entries of the vocabulary.")] = 12_000,
    transition: Annotated[int, typer.Option(help="Entries after which merges may cross spaces.")] = 7_000,
) -> None:
    """Learn the tokenizer whose later merges cross the spaces (P034), from code, licences and 74 languages' phrases."""
    from labkit.train.superwords import train_superword_tokenizer

    with refusals():
        file = train_superword_tokenizer(size, transition, report=typer.echo)
    typer.echo(f"written: {file}")


@app.command(epilog="Example: labkit train figures --out data/models --threads 2")
def figures(out: Out = DEFAULT_OUT, threads: Threads = None) -> None:
    """Measure the pair on held-out text (some minutes) and write figures.json beside each model, and the card."""
    import torch

    from labkit.train.runs import measure_pair

    if threads is not None:
        torch.set_num_threads(threads)
    with refusals():
        measure_pair(out, report=typer.echo)
    typer.echo(f"written: {out / 'README.md'}")


@app.command(epilog="Example: labkit train prompts data/prompts/heldout.json --count 120")
def prompts(
    file: Annotated[Path, typer.Argument(help="JSON file to write.")],
    count: Annotated[int, typer.Option(help="How many prompts.", min=1)] = 120,
    models: Annotated[Path, typer.Option(help="Folder of the pair whose tokenizer counts the tokens.")] = DEFAULT_OUT,
) -> None:
    """Write prompts taken from the held-out files, for benches and tests."""
    from labkit.train.prompts import held_out_prompts, write_prompts
    from labkit.train.tokenizer import load_tokenizer

    with refusals():
        write_prompts(held_out_prompts(load_tokenizer(models / "target"), count), file)
    typer.echo(f"written: {file}")


@app.command(epilog="Example: labkit train topics data/prompts/topics.json")
def topics(file: Annotated[Path, typer.Argument(help="JSON file to write.")]) -> None:
    """Write the prompts of two narrow topics, from one held-out file each, for streams of requests."""
    from labkit.train.prompts import topic_prompts, write_prompts

    with refusals():
        write_prompts(topic_prompts(), file)
    typer.echo(f"written: {file}")


@app.command("needles", epilog="Example: labkit train needles --count 16")
def needles(
    file: Annotated[Path, typer.Option(help="Where to write them.")] = Path("data/prompts/needles.json"),
    count: Annotated[int, typer.Option(help="How many for each class of distances.")] = 16,
    models: Annotated[Path, typer.Option(help="Folder of the pair whose tokenizer counts.")] = DEFAULT_OUT,
) -> None:
    """Write the held-out "assign early, use late" questions that cache policies are compared by."""
    from labkit.train.prompts import needle_prompts, write_prompts
    from labkit.train.tokenizer import load_tokenizer

    with refusals():
        write_prompts(needle_prompts(load_tokenizer(models / "target"), count), file)
    typer.echo(f"written: {file}")


@app.command(epilog="Example: labkit train attributes data/prompts/attributes.json")
def attributes(
    file: Annotated[Path, typer.Argument(help="JSON file to write.")],
    count: Annotated[int, typer.Option(help="How many places.", min=1)] = 48,
) -> None:
    """Write places behind a dot in held-out files, where a name has to be guessed."""
    from labkit.train.prompts import attribute_places, write_prompts

    with refusals():
        write_prompts(attribute_places(count), file)
    typer.echo(f"written: {file}")


@app.command(epilog="Example: labkit train questions data/prompts/extraction.json")
def questions(
    file: Annotated[Path, typer.Argument(help="JSON file to write.")],
    count: Annotated[int, typer.Option(help="How many questions.", min=2)] = 40,
    models: Annotated[Path, typer.Option(help="Folder of the pair whose tokenizer counts the tokens.")] = DEFAULT_OUT,
) -> None:
    """Write extractive questions about held-out code, with examples, for exact-extract (P147)."""
    from labkit.train.prompts import write_prompts
    from labkit.train.questions import extraction_questions
    from labkit.train.tokenizer import load_tokenizer

    with refusals():
        write_prompts(extraction_questions(load_tokenizer(models / "target"), count), file)
    typer.echo(f"written: {file}")


@app.command(epilog="Example: labkit train adaspec --steps 1000 --seeds 3")
def adaspec(
    out: Out = DEFAULT_OUT,
    width: Annotated[int, typer.Option(help="Dimensions of the narrow draft's states.")] = 32,
    steps: Annotated[int, typer.Option(help="Gradient steps of each of the two phases.")] = 1000,
    seeds: Annotated[int, typer.Option(help="Runs, each with the text in another order.")] = 3,
    device: Device = "cpu",
) -> None:
    """Distil narrow drafts by AdaSPEC and plainly, and write their curves for the page; no weights are kept."""
    from labkit.train.adaspec import train_adaspec

    with refusals():
        typer.echo(f"written: {train_adaspec(out, width=width, steps=steps, seeds=seeds, device=device, report=typer.echo)}")


@app.command(epilog="Example: labkit train numbers --only r2l --threads 1")
def numbers(
    only: Annotated[str, typer.Option(help="One of them: l2r, r2l or both (reads either way).")] = "",
    steps: Annotated[int, typer.Option(help="Optimizer steps of 256 sums.")] = 1300,
    device: Device = "cpu",
    threads: Threads = None,
    seed: Seed = 0,
) -> None:
    """Train models to add that cut numbers from the left, from the right, or either way (P087); a stopped run goes on."""
    from labkit.train.numbers import NAMES, train_numbers

    choices = {"device": device, "threads": threads, "seed": seed}
    with refusals():
        files = train_numbers((only,) if only else NAMES, steps, **choices, report=typer.echo)
    typer.echo("\n".join(f"written: {file}" for file in files))


@app.command(epilog="Example: labkit train asarm --threads 1")
def asarm(
    steps: Annotated[int, typer.Option(help="Optimizer steps of 2,048 tokens.")] = 6000,
    device: Device = "cpu",
    threads: Threads = None,
    seed: Seed = 0,
) -> None:
    """Train the any-subset model that fills places in any order and checks its own guesses (P006); a stopped run goes on."""
    from labkit.train.asarm import train_asarm

    with refusals():
        file = train_asarm(steps, device=device, threads=threads, seed=seed, report=typer.echo)
    typer.echo(f"written: {file}")


@app.command("mdm-lists", epilog="Example: labkit train mdm-lists --threads 1")
def mdm_lists(
    steps: Annotated[int, typer.Option(help="Optimizer steps of 256 problems.")] = 3000,
    device: Device = "cpu",
    threads: Threads = None,
    seed: Seed = 0,
    from_shipped: Annotated[bool, typer.Option(help="Go on from the part that is there; --steps counts its own too.")] = False,
) -> None:
    """Train the masked-diffusion model of small problems whose answers are all known (P132); a stopped run goes on."""
    from labkit.train.mdm_lists import train_lists

    with refusals():
        choices = {"device": device, "threads": threads, "seed": seed, "from_shipped": from_shipped}
        typer.echo(f"written: {train_lists(steps, **choices, report=typer.echo)}")
