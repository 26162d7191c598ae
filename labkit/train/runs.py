"""Whole training runs: from a budget and a few choices to a model folder, and to a pair with its figures and card."""

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import transformers

from labkit.train import attention
from labkit.train.card import write_card
from labkit.train.checkpoint import read_state
from labkit.train.plan import BATCH, DECAY_SHARE, NEEDLES_EVERY, Plan
from labkit.train.pretrain import TEACHER_SHARE, Trainer, pretrain
from labkit.train.release import load_model, measure, read_json, weights_digest, write_model
from labkit.train.tokenizer import load_tokenizer
from labkit.train.tokens import cache_folder, load_tokens

TARGET_SHARE = 0.7  # of a pair's minutes
Report = Callable[[str], None]


def train_model(
    role: str,
    out: Path,
    *,
    tokens: int | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    rate: float = 2e-3,
    decay: float = DECAY_SHARE,
    needles_every: int = NEEDLES_EVERY,
    init: Path | None = None,
    resume: Path | None = None,
    teacher: Path | None = None,
    tokenizer: Path | None = None,
    report: Report = print,
) -> Path:
    """Train one model ("target" or "draft") and write it to the folder `out`/role, which is returned.

    The budget is `tokens`, or `minutes` (turned into tokens once, by timing a few steps), exactly one of them unless
    `resume` names a checkpoint, which knows its own. `decay`: the share of the run in which the windows are long and the
    rate falls; `needles_every`: of this many long batches one is needles. `init`: a folder with weights to start from.
    `teacher`: a folder with a model whose next-token distributions are learned too. `tokenizer`: the folder of the one to
    use, the shipped one (`out`/target) by default. Checkpoints and the loss curve go into the cache folder. Raises
    ValueError for bad choices, for folders without what is needed, and when an unfinished run would be overwritten.
    """
    out = Path(out)
    _check(tokens, minutes, threads, rate, resume, init, decay, needles_every)
    if threads is not None:
        torch.set_num_threads(threads)
    coder = load_tokenizer(tokenizer or out / "target")
    corpus = load_tokens(coder, seed)
    guide = None
    if teacher is not None:
        guide = load_model(teacher, device)
        guide.set_attn_implementation(attention.NAME if device == "cpu" else "sdpa")
    place = cache_folder() / role
    if resume is None:
        refuse_to_overwrite(place)
    fixed = {"batch": BATCH["cuda" if device.startswith("cuda") else "cpu"], "rate": rate, "seed": seed}
    fixed |= {"decay": decay, "needles_every": needles_every}
    plan = Plan.of(tokens or 10**12, **fixed)
    trainer = Trainer(role, plan, corpus, device, guide)
    if resume is not None:
        trainer.resume(resume, tokens)
    else:
        if tokens is None:
            plan = Plan.of(_tokens_in(minutes, decay, trainer, report), **fixed)
            trainer = Trainer(role, plan, corpus, device, guide)
        if init is not None:
            trainer.start_from(init, read_json(init, "training.json").get("runs", []))
    model = pretrain(trainer, place, report)
    training = {"runs": [*trainer.progress.earlier_runs, record(trainer, teacher)]}
    write_model(model, coder, out / role, training, place / "loss.csv")
    return out / role


def train_pair(out: Path, *, tokens: int | None = None, minutes: float | None = None, report: Report = print, **rest):
    """Train a target, then a draft that learns from it, measure both, and write the model card.

    `minutes` are shared 70 to 30; `tokens` are each model's. The rest is as in `train_model`.
    """
    shares = {"target": TARGET_SHARE, "draft": 1 - TARGET_SHARE}
    out = Path(out)
    for role, share in shares.items():
        budget = {"tokens": tokens, "minutes": None if minutes is None else minutes * share}
        teacher = out / "target" if role == "draft" else None
        train_model(role, out, teacher=teacher, report=report, **budget, **rest)
    measure_pair(out, report=report)
    return out


def measure_pair(out: Path, seed: int = 0, report: Report = print) -> Path:
    """Measure the pair in `out`/target and `out`/draft and write `figures.json` beside each, and the model card."""
    out = Path(out)
    corpus = load_tokens(load_tokenizer(out / "target"), seed)
    measure(out / "target", out / "draft", corpus, report)
    write_card(out)
    return out


def record(trainer: Trainer, teacher: Path | None) -> dict:
    """One run for `training.json`: what was done, on what, for how long."""
    progress = trainer.progress
    manifest = trainer.tokens.manifest
    entry = {
        "role": trainer.role,
        "plan": asdict(progress.plan),
        "tokens": progress.seen,
        "minutes": round(progress.seconds / 60, 1),
        "device": trainer.device.type,
        "dtype": str(trainer.dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "corpus": {key: manifest[key] for key in ("fingerprint", "seed", "files", "characters", "tokens", "sources")},
    }
    if teacher is not None:
        entry["teacher"] = {"sha256": weights_digest(teacher), "share": TEACHER_SHARE}
    return entry


def _tokens_in(minutes: float, decay: float, trainer: Trainer, report: Report) -> int:
    """How many tokens fit into `minutes`, by timing two steps on short windows and two on long ones."""
    seconds = {}
    for decaying, share in ((False, 1 - decay), (True, decay)):
        plan = trainer.progress.plan
        trainer.progress.plan = Plan(plan.tokens, 0 if decaying else plan.tokens, plan.batch, 0.0, plan.seed)
        trainer.step()  # the first one of its kind is slower
        before = trainer.progress.seconds
        trainer.step()
        trainer.step()
        seconds[share] = (trainer.progress.seconds - before) / 2 / plan.batch
    budget = minutes * 60 / sum(share * each for share, each in seconds.items())
    steps = max(1, int(budget // trainer.progress.plan.batch))
    report(f"{minutes:g} minutes are {steps * trainer.progress.plan.batch / 1e6:.2f} M tokens at this speed")
    return steps * trainer.progress.plan.batch


def _check(tokens, minutes, threads, rate, resume, init, decay, needles_every) -> None:
    given = {"tokens": tokens, "minutes": minutes, "threads": threads, "rate": rate}
    given |= {"decay": decay, "needles_every": needles_every}
    for name, value in given.items():
        if value is not None and value <= 0:
            raise ValueError(f"{name} is {value}: give a number above 0")
    if decay > 1:
        raise ValueError(f"decay is {decay}: it is a share of the run, at most 1")
    if resume is None and (tokens is None) == (minutes is None):
        raise ValueError("give a budget: either tokens or minutes")
    if resume is not None and minutes is not None:
        raise ValueError(f"minutes is {minutes} together with resume: a checkpoint's budget can only change in tokens")
    if resume is not None and init is not None:
        raise ValueError("both resume and init are given: a checkpoint holds its own weights, leave out init")
    if threads is not None and threads > (os.cpu_count() or 1):
        raise ValueError(f"threads is {threads}: this machine has {os.cpu_count()}")


def refuse_to_overwrite(place: Path) -> None:
    """Raises ValueError when an unfinished run lies in `place`."""
    if not (place / "latest").is_dir():
        return
    state = read_state(place / "latest")
    if state["seen"] < state["plan"]["tokens"]:
        raise ValueError(
            f"an unfinished run lies in {place} ({state['seen'] / 1e6:.1f} M tokens done): continue it with "
            f"--resume {place / 'latest'}, or delete the folder"
        )
