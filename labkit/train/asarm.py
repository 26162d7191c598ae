"""The any-subset model of P006, trained from random weights: every place of a random subset is guessed from the rest at once.

One pass of the two streams gives the law of every target, given what is visible and the targets before it; the loss is the mean
cross entropy over them. The share of targets is drawn anew for every batch, so that they are equally many in its rows; in half of
the rows they are scattered, as in the paper, in the others they lie in one run that often ends the window (ours: it is what a
prompt with nothing behind it looks like, which scattered targets rarely show). The paper starts from XLNet's weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from labkit import parts
from labkit.diffusion.asarm import PART, WINDOW, AsArm, Shape, two_stream
from labkit.models import SHIPPED
from labkit.train.card import write_card
from labkit.train.checkpoint import load_checkpoint, read_state, save_checkpoint
from labkit.train.device import fast_dtype, keep_freed_memory
from labkit.train.figures import spread_windows
from labkit.train.pretrain import descend, make_optimizers
from labkit.train.tokenizer import load_tokenizer
from labkit.train.tokens import TokenSet, Windows, cache_folder, load_tokens

BASE = "lab-target"  # whose tokenizer it reads by
STEPS = 6000  # 12 million tokens of text; a CPU core does 1.4 a second
BATCH = 16  # windows a step
RATE, WARMUP, DECAY = 2e-3, 100, 0.3  # peak, steps, share of the steps
EASY, FROM, EASED = 0.15, (0.5, 1.0), 500  # share of targets: begins at EASY, is U(FROM) from step EASED on
SCATTERED = 0.5  # of the rows
SAVE_EVERY = 50  # steps
TESTS = 64  # held-out windows
TEST_RATES = (0.3, 0.5, 0.7, 0.85, 0.95, 1.0)  # shares of targets they are measured at


def share_at(step: int, coin: float) -> float:
    """The share of targets in a step, by a uniform number: U(0.5, 1) when the warm-up is over, and less before."""
    done = min(1.0, step / EASED)
    low, high = (EASY + done * (end - EASY) for end in FROM)
    return low + coin * (high - low)


def draw_targets(rows: int, length: int, count: int, scattered: float, rng: np.random.Generator) -> Tensor:
    """`count` places of each of `rows` windows [rows, count], rising: scattered, or in one run (half of them at the end)."""
    found = np.empty((rows, count), dtype=np.int64)
    for row in found:
        if rng.random() < scattered:
            row[:] = np.sort(rng.permutation(length)[:count])
        else:
            last = length - count
            row[:] = (last if rng.random() < 0.5 else rng.integers(last + 1)) + np.arange(count)
    return torch.from_numpy(found)


def loss_of(model: AsArm, ids: Tensor, targets: Tensor) -> Tensor:
    """Nats for every target, [B, T]."""
    logits = two_stream(model, ids, targets).float()
    return F.cross_entropy(logits.transpose(1, 2), ids.gather(1, targets), reduction="none")


class Run:
    """A training run: model, optimizers and place in the text. `step()` does one optimizer step."""

    def __init__(self, tokens: TokenSet, steps: int, seed: int = 0, device: str = "cpu", shape: Shape = Shape()):
        torch.manual_seed(seed)
        self.steps, self.seed, self.device = steps, seed, torch.device(device)
        self.corpus = tokens.manifest["fingerprint"]
        self.done, self.loss, self.seconds, self.curve = 0, None, 0.0, []
        self.model = AsArm(shape).to(self.device)
        self.windows = Windows(tokens.train, WINDOW, seed)
        self.optimizers = make_optimizers(self.model, RATE)

    def step(self) -> None:
        """One optimizer step on the next windows."""
        began, dtype = time.process_time(), fast_dtype(self.device)
        rng = np.random.default_rng((self.seed, self.done))
        ids = torch.from_numpy(self.windows.batch(self.done * BATCH, BATCH))[:, :WINDOW].to(self.device)
        count = max(1, round(share_at(self.done, rng.random()) * WINDOW))
        targets = draw_targets(BATCH, WINDOW, count, SCATTERED, rng).to(self.device)
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss = loss_of(self.model, ids, targets).mean()
        loss.backward()
        rate = RATE * min(1, (self.done + 1) / WARMUP, (self.steps - self.done) / (DECAY * self.steps))
        descend(self.model, self.optimizers, rate)
        self.loss = loss.item() if self.loss is None else 0.98 * self.loss + 0.02 * loss.item()
        self.done += 1
        self.seconds += time.process_time() - began

    def save(self, folder: Path) -> None:
        """Write a checkpoint to continue from."""
        state = {"corpus": self.corpus, "done": self.done, "loss": self.loss, "seconds": self.seconds, "curve": self.curve}
        save_checkpoint(folder, self.model, self.optimizers, state)

    def resume(self, folder: Path) -> None:
        """Go on from a checkpoint, maybe to another number of steps. Raises ValueError when it is of other text or shape."""
        state = read_state(folder)
        if state["corpus"] != self.corpus:
            raise ValueError(f"{folder} was trained with corpus {state['corpus']!r}, not {self.corpus!r}: remove it")
        load_checkpoint(folder, self.model, self.optimizers)
        self.done, self.loss, self.seconds, self.curve = (state[key] for key in ("done", "loss", "seconds", "curve"))


@torch.inference_mode()
def held_out(model: AsArm, windows: Tensor) -> dict[str, dict[str, float]]:
    """Nats a target on `windows` [n, WINDOW], by the share of targets: "scattered" ones, and a run that "ends" the window."""
    found = {"scattered": {}, "ends": {}}
    for rate in TEST_RATES:
        count = round(rate * WINDOW)
        drawn = draw_targets(len(windows), WINDOW, count, 1.0, np.random.default_rng(count))
        last = torch.arange(WINDOW - count, WINDOW).expand(len(windows), -1)
        for kind, targets in (("scattered", drawn), ("ends", last)):
            losses = [loss_of(model, ids, of).mean().item() for ids, of in zip(windows.split(BATCH), targets.split(BATCH))]
            found[kind][str(rate)] = round(sum(losses) / len(losses), 4)
    return found


def train_asarm(
    steps: int = STEPS,
    *,
    device: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    folder: Path = parts.FOLDER,
    report: Callable[[str], None] = print,
) -> Path:
    """Train the part "asarm", measure it and write it beside the models; returns its file.

    A run that was stopped goes on where it was, to another number of `steps` if one is given. Raises ValueError for bad choices.
    """
    if steps < WARMUP:
        raise ValueError(f"{steps} steps are asked for: give at least {WARMUP}")
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "cpu":
        keep_freed_memory()
    tokens = load_tokens(load_tokenizer(SHIPPED[BASE]), seed)
    run, place = Run(tokens, steps, seed, device), cache_folder() / f"{PART}-{seed}"
    if (place / "state.json").is_file():
        run.resume(place)
        report(f"{PART}: goes on at step {run.done:,} from {place}")
    while run.done < steps:
        run.step()
        if run.done % SAVE_EVERY == 0 or run.done == steps:
            run.curve.append([run.done, round(run.loss, 4)])
            run.save(place)
            report(f"{PART}: step {run.done:,} of {steps:,}, loss {run.loss:.3f}, {run.seconds:.0f} s")
    made = {name: weight.detach().to("cpu", torch.bfloat16) for name, weight in run.model.named_parameters()}
    model = AsArm(run.model.shape)
    model.load_state_dict({name: weight.float() for name, weight in made.items()})  # measured as it will be loaded
    windows = spread_windows(tokens.held_out, WINDOW, TESTS)[:, :WINDOW]
    found = {
        "parameters": sum(weight.numel() for weight in made.values()), "shape": asdict(run.model.shape),
        "steps": run.done, "tokens": run.done * BATCH * WINDOW, "seed": seed, "cpu_seconds": round(run.seconds),
        "torch": torch.__version__, "corpus": tokens.manifest["fingerprint"], "tests": len(windows),
        "loss": held_out(model, windows), "curve": run.curve,
    }  # fmt: skip
    file = parts.save(PART, made, BASE, {"summary": summary(found), **found}, folder, parts.TOKENIZER)
    if folder == parts.FOLDER:
        write_card(SHIPPED[BASE].parent)
    return file


def summary(found: dict) -> str:
    """The part's row in the model card."""
    losses = "; ".join(f"{float(rate):.0%}: {loss:.2f}" for rate, loss in found["loss"]["scattered"].items())
    return (
        f"A model of its own ({found['parameters'] / 1e6:.1f} M parameters, windows of {WINDOW}) that fills any subset of places "
        f"and tells the joint density of them (P006); {found['tokens'] / 1e6:.1f} M tokens of text, "
        f"{found['cpu_seconds'] / 60:.0f} minutes of one CPU thread. Nats a place on {found['tests']} held-out windows, by the "
        f"share of places to fill (scattered): {losses}."
    )
