"""AdaSPEC run properly (P008): 1,000 + 1,000 steps for every share and seed, so that the page can show curves at once."""

import json
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
from labkit.train.device import keep_freed_memory
from labkit.train.figures import spread_windows
from labkit.train.tokenizer import load_tokenizer
from labkit.train.tokens import Windows, load_tokens

SHARES = [0.2, 0.4, 1.0]
WINDOW, BATCH = 96, 6  # tokens; windows of a gradient step
WINDOWS, HELD_OUT = 768, 40  # windows learned from, again and again as in the paper's epochs; windows of the exam
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
    is written after every seed, and a run with the same settings goes on behind the seeds it holds. Raises ValueError for a
    number below 1.
    """
    for name, value in (("steps", steps), ("seeds", seeds), ("width", width)):
        if value < 1:
            raise ValueError(f"{name} is {value}: give a number above 0")
    keep_freed_memory()
    out, place = Path(out), torch.device(device)
    names = {role: str(out / role) for role in ("target", "draft")}
    settings = {"width": width, "steps": steps, "windows": WINDOWS, "window": WINDOW, "batch": BATCH, "rate": RATE}
    known = {"models": {role: fingerprint(name) for role, name in names.items()}, "settings": settings, "seeds": []}
    if (out / FILE).is_file():
        before = json.loads((out / FILE).read_text(encoding="utf-8"))
        if all(before[name] == known[name] for name in ("models", "settings")):
            known = before
    tokens = load_tokens(load_tokenizer(out / "target"))
    text = torch.from_numpy(Windows(tokens.train, WINDOW, 0).batch(0, WINDOWS))[:, :-1].to(place)
    exam = spread_windows(tokens.held_out, WINDOW, HELD_OUT)[:, :-1].to(place)
    target, draft = (load_runner(name, place, torch.float32) for name in names.values())
    start = narrowed(draft.fresh(), width, text[:20].tolist())
    taught, p = teach(target, text), teach(target, exam).flatten(0, 1).float().exp()
    report(f"{known['models']['target']}: {len(text)} windows taught")
    for seed in range(len(known["seeds"]), seeds):
        known["seeds"].append(one_run(start, steps, seed, text, taught, exam, p, report))
        (out / FILE).write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return out / FILE


def teach(target, windows: Tensor) -> Tensor:
    """The target's log-probs [W, S, V] at every place of `windows` [W, S], in half precision: they are kept for all epochs."""
    with torch.inference_mode():
        said = [Session(target, window).prompt_logits().log_softmax(-1).half() for window in windows.tolist()]
    return torch.stack(said).clone()


def one_run(start, steps: int, seed: int, text: Tensor, taught: Tensor, exam: Tensor, p: Tensor, report) -> dict:
    """One seed: by name, the steps taken and alpha after them."""
    contest = Contest(start, SHARES, steps, RATE, FORWARD)
    first = alpha(contest.reference, exam, p)
    curves = {name: [[0], [first]] for name in ("reference", *(f"share {share:g}" for share in SHARES))}
    rng, order = torch.Generator().manual_seed(seed), []
    while not contest.over:
        if len(order) < BATCH:
            order = torch.randperm(len(text), generator=rng).tolist()
        rows, order = order[:BATCH], order[BATCH:]
        contest.step(text[rows], taught[rows].flatten(0, 1).float())
        if contest.done % LOOK_EVERY and contest.done % steps:
            continue
        for name, pupil in contest.pupils.items():
            if name == "longer" and name not in curves:
                curves[name] = [curves["reference"][0][-1:], curves["reference"][1][-1:]]
            taken = contest.done if name in ("reference", "longer") else contest.done - steps
            curves[name][0].append(taken)
            curves[name][1].append(round(alpha(pupil, exam, p), 4))
        latest = "  ".join(f"{name} {curves[name][1][-1]:.4f}" for name in contest.pupils)
        report(f"seed {seed}, step {contest.done} of {2 * steps}: {latest}")
    return curves
