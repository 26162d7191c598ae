"""AdaSPEC run properly (P008): 1,000 + 1,000 steps for every share and seed, so that the page can show curves at once."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from labkit.lm import Session
from labkit.models import load_runner
from labkit.parts import fingerprint
from labkit.speculative.contest import Contest, alpha
from labkit.speculative.distil import FORWARD
from labkit.speculative.narrow import narrowed
from labkit.train.checkpoint import load_checkpoint, read_state, save_checkpoint
from labkit.train.device import keep_freed_memory
from labkit.train.figures import spread_windows
from labkit.train.release import read_json, write_json
from labkit.train.tokenizer import load_tokenizer
from labkit.train.tokens import Windows, cache_folder, load_tokens

SHARES = [0.2, 0.4, 1.0]
WINDOW, BATCH = 96, 4  # tokens; windows of a gradient step
WINDOWS, HELD_OUT = 512, 40  # windows learned from, again and again as in the paper's epochs; windows of the exam
RATE = 2e-3
LOOK_EVERY = 50  # steps
FILE = "adaspec.json"


def train_adaspec(
    out: Path,
    *,
    width: int = 32,
    steps: int = 1000,
    seeds: int = 3,
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> Path:
    """Train narrow drafts by AdaSPEC and by plain distillation; write their curves to `out`/adaspec.json, which is returned.

    The text is part of the training text; alpha is measured on held-out files. A seed draws the order of the text. The file
    is written after every seed, checkpoints go into the cache folder, and a run with the same settings goes on where the last
    one stopped. Raises ValueError for a number below 1.
    """
    for name, value in (("steps", steps), ("seeds", seeds), ("width", width)):
        if value < 1:
            raise ValueError(f"{name} is {value}: give a number above 0")
    keep_freed_memory()
    out, where = Path(out), torch.device(device)
    names = {role: str(out / role) for role in ("target", "draft")}
    settings = {"width": width, "steps": steps, "windows": WINDOWS, "window": WINDOW, "batch": BATCH, "rate": RATE}
    known = {"models": {role: fingerprint(name) for role, name in names.items()}, "settings": settings, "seeds": []}
    if (out / FILE).is_file():
        before = json.loads((out / FILE).read_text(encoding="utf-8"))
        if all(before[name] == known[name] for name in ("models", "settings")):
            known = before
    tokens = load_tokens(load_tokenizer(out / "target"))
    text = torch.from_numpy(Windows(tokens.train, WINDOW, 0).batch(0, WINDOWS))[:, :-1].to(where)
    exam = spread_windows(tokens.held_out, WINDOW, HELD_OUT)[:, :-1].to(where)
    target, draft = (load_runner(name, where, torch.float32) for name in names.values())
    start = narrowed(draft.fresh(), width, text[:20].tolist())
    taught, p = teach(target, text), teach(target, exam).flatten(0, 1).float().exp()
    report(f"{known['models']['target']}: {len(text)} windows taught")
    for seed in range(len(known["seeds"]), seeds):
        contest = Contest(start, SHARES, steps, RATE, FORWARD)
        key = hashlib.sha256(json.dumps([known["models"], settings, seed]).encode()).hexdigest()[:16]
        place = cache_folder() / f"adaspec-{key}"
        known["seeds"].append(one_run(contest, seed, text, taught, exam, p, place, report))
        (out / FILE).write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return out / FILE


def teach(target, windows: Tensor) -> Tensor:
    """The target's log-probs [W, S, V] at every place of `windows` [W, S], in half precision: they are kept for all epochs."""
    with torch.inference_mode():
        said = [Session(target, window).prompt_logits().log_softmax(-1).half() for window in windows.tolist()]
    return torch.stack(said).clone()


def one_run(
    contest: Contest, seed: int, text: Tensor, taught: Tensor, exam: Tensor, p: Tensor, place: Path, report
) -> dict:
    """One seed: by name, the steps taken and alpha after them. It goes on from the checkpoint in the folder `place`."""
    steps = contest.steps
    curves = resumed(contest, place)
    if not curves:
        first = round(alpha(contest.reference, exam, p), 4)
        curves = {name: [[0], [first]] for name in ("reference", *(f"share {share:g}" for share in SHARES))}
    while not contest.over:
        rows = batch(seed, contest.done, len(text))
        contest.step(text[rows], taught[rows].flatten(0, 1).float())
        if contest.done % LOOK_EVERY and contest.done % steps:
            continue
        for name, pupil in contest.pupils.items():
            if name == "longer" and name not in curves:
                curves[name] = [curves["reference"][0][-1:], curves["reference"][1][-1:]]
            taken = contest.done if name in ("reference", "longer") else contest.done - steps
            curves[name][0].append(taken)
            curves[name][1].append(round(alpha(pupil, exam, p), 4))
        save(contest, curves, place)
        latest = "  ".join(f"{name} {curves[name][1][-1]:.4f}" for name in contest.pupils)
        report(f"seed {seed}, step {contest.done} of {2 * steps}: {latest}")
    shutil.rmtree(place)
    return curves


def batch(seed: int, step: int, windows: int) -> list[int]:
    """The windows of a step: a function of seed and step alone, so that a run can go on anywhere. Each once an epoch."""
    epoch, place = divmod(step, windows // BATCH)
    order = torch.randperm(windows, generator=torch.Generator().manual_seed(1000 * seed + epoch))
    return order[place * BATCH : (place + 1) * BATCH].tolist()


def save(contest: Contest, curves: dict, place: Path) -> None:
    """A checkpoint, whole or not at all: every draft with its optimizer, and the curves so far."""
    fresh = place.with_name(place.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    everybody = {"reference": contest.reference} | contest.pupils
    for name, pupil in everybody.items():
        save_checkpoint(fresh / name, pupil.model, {"adamw": pupil.optimizer}, {"done": pupil.done})
    write_json(fresh, "contest.json", {"done": contest.done, "curves": curves})
    shutil.rmtree(place, ignore_errors=True)
    fresh.rename(place)


def resumed(contest: Contest, place: Path) -> dict:
    """Put the checkpoint in `place` into `contest`; returns its curves, none when there is no checkpoint."""
    state = read_json(place, "contest.json")
    if not state:
        return {}
    contest.done = state["done"]
    if (place / "longer").is_dir():
        contest.begin_second()
    for name, pupil in ({"reference": contest.reference} | contest.pupils).items():
        load_checkpoint(place / name, pupil.model, {"adamw": pupil.optimizer})
        pupil.done = read_state(place / name)["done"]
    return state["curves"]
