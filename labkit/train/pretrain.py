"""The training loop: a Llama-style model, Muon for its matrices and AdamW for the rest.

`pretrain` runs a plan from its start, from given weights, or from a checkpoint; it can be stopped at any time and
continued exactly from the last checkpoint. A draft can learn from a teacher, the target it will serve.
"""

import csv
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from labkit.train import attention
from labkit.train.checkpoint import load_checkpoint, load_weights, read_state, save_checkpoint
from labkit.train.device import fast_dtype, keep_freed_memory
from labkit.train.plan import ASKED_WEIGHT, LONG_WINDOW, SHORT_WINDOW, Plan, config_of
from labkit.train.tokens import TokenSet, WholeNeedles, Windows

MICRO_BATCH = {"cpu": 2048, "cuda": 32_768}  # tokens a forward: what fits the caches / fills the device
SAVE_EVERY = 100  # steps
TEACHER_SHARE = 0.9  # of a distilled draft's loss; the text itself has the rest
CLIP = 1.0  # gradient norm


@dataclass
class Progress:
    """Where a run is. `seen` tokens of `plan.tokens`; `loss` in nats a token, smoothed; `rate` in tokens a second."""

    plan: Plan
    seen: int = 0
    step: int = 0
    code_windows: dict[str, int] = field(default_factory=lambda: {"512": 0, "2048": 0})  # used so far, by length
    needle_windows: int = 0
    earlier_runs: list[dict] = field(default_factory=list)  # that led to the weights this one started from
    loss: float | None = None
    needle_loss: float | None = None
    seconds: float = 0.0  # of work, all parts of the run together
    speed: float = 0.0

    def line(self) -> str:
        """One line for a person: how far, the losses, the speed, and how long it will still take."""
        left = (self.plan.tokens - self.seen) / self.speed if self.speed else float("nan")
        needles = f"  needles {self.needle_loss:.3f}" if self.needle_loss is not None else ""
        return (
            f"{self.seen / 1e6:7.2f} of {self.plan.tokens / 1e6:.2f} M tokens  loss {self.loss or 0.0:.3f}{needles}"
            f"  {self.speed:,.0f} tokens/s  {left / 60:.0f} min left"
        )


class Trainer:
    """One run over a corpus: model, optimizers, data position. `step()` does one optimizer step."""

    def __init__(self, role: str, plan: Plan, tokens: TokenSet, device: str = "cpu", teacher: nn.Module | None = None):
        """`role`: "target" or "draft"; `teacher`: a model of the same vocabulary to learn from, or None.

        Raises ValueError for an unknown role, or a CUDA device where there is none.
        """
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"device {device!r} is not there: PyTorch sees no GPU; use --device cpu")
        torch.manual_seed(plan.seed)
        self.role, self.device = role, torch.device(device)
        self.tokens, self.teacher = tokens, teacher
        self.progress = Progress(plan)
        on_cpu = self.device.type == "cpu"
        self.model = LlamaForCausalLM._from_config(
            config_of(role), attn_implementation=attention.NAME if on_cpu else "sdpa", dtype=torch.float32
        )
        self._quiet_outputs()
        self.model.to(self.device).train()
        self.optimizers = make_optimizers(self.model, plan.rate)
        self._open_text(plan.seed)
        self.dtype = fast_dtype(self.device)

    def _open_text(self, seed: int) -> None:
        self.code = {length: Windows(self.tokens.train, length, seed) for length in (SHORT_WINDOW, LONG_WINDOW)}
        self.needles = WholeNeedles(self.tokens.needles, self.tokens.asked, LONG_WINDOW, seed)

    def _quiet_outputs(self) -> None:
        """Start every block as the identity (its two output matrices at zero): better after few tokens."""
        for layer in self.model.model.layers:
            nn.init.zeros_(layer.self_attn.o_proj.weight)
            nn.init.zeros_(layer.mlp.down_proj.weight)

    def step(self) -> None:
        """One optimizer step on the next batch."""
        began = time.perf_counter()
        progress, plan = self.progress, self.progress.plan
        rows, asked = self._next_rows()
        rate = plan.rate_at(progress.seen)
        micro = max(1, MICRO_BATCH[self.device.type] // (rows.shape[1] - 1))
        total = 0.0
        for part, wanted in zip(rows.split(micro), asked.split(micro)):
            loss = self._loss(part, wanted) * len(part) / len(rows)
            loss.backward()
            total += loss.item()
        descend(self.model, self.optimizers, rate)
        progress.seen += plan.batch
        progress.step += 1
        name = "needle_loss" if asked.any() else "loss"
        before = getattr(progress, name)
        setattr(progress, name, total if before is None else 0.98 * before + 0.02 * total)
        took = time.perf_counter() - began
        progress.seconds += took
        progress.speed = plan.batch / took if not progress.speed else 0.95 * progress.speed + 0.05 * plan.batch / took

    def _next_rows(self) -> tuple[Tensor, Tensor]:  # both int64 [rows, window + 1]: tokens, and 1 where one is asked for
        progress, plan = self.progress, self.progress.plan
        length = plan.window_at(progress.seen)
        rows = plan.batch // length
        if length == LONG_WINDOW and progress.step % plan.needles_every == 0:
            both = self.needles.batch(progress.needle_windows, rows)
            progress.needle_windows += rows
        else:
            batch = self.code[length].batch(progress.code_windows[str(length)], rows)
            progress.code_windows[str(length)] += rows
            both = batch, np.zeros_like(batch)
        return tuple(torch.from_numpy(one).to(self.device) for one in both)

    def _fast(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def _loss(self, rows: Tensor, asked: Tensor) -> Tensor:  # both [rows, window + 1] -> nats a token
        inputs, wanted = rows[:, :-1], rows[:, 1:].reshape(-1)
        weights = 1 + (ASKED_WEIGHT - 1) * asked[:, 1:].reshape(-1)
        with self._fast():
            logits = self.model(inputs, use_cache=False).logits
        log_q = logits.flatten(0, 1).float().log_softmax(-1)  # [tokens, V]
        text_loss = (F.nll_loss(log_q, wanted, reduction="none") * weights).mean()
        if self.teacher is None:
            return text_loss
        with torch.no_grad(), self._fast():
            log_p = self.teacher(inputs, use_cache=False).logits.flatten(0, 1).float().log_softmax(-1)
        divergence = F.kl_div(log_q, log_p, log_target=True, reduction="batchmean")  # forward KL, the full law
        return TEACHER_SHARE * divergence + (1 - TEACHER_SHARE) * text_loss

    def start_from(self, weights: Path, runs: list[dict]) -> None:
        """Begin with the weights in a folder instead of random ones; `runs` is how they came about, for the record.

        Raises ValueError when they are of another model.
        """
        load_weights(weights, self.model)
        self.progress.earlier_runs = runs

    def save(self, folder: Path) -> None:
        """Write a checkpoint to continue from."""
        save_checkpoint(folder, self.model, self.optimizers, asdict(self.progress) | self._identity())

    def _identity(self) -> dict:
        """What must be the same for a checkpoint to be continued."""
        return {
            "role": self.role,
            "corpus": self.tokens.manifest["fingerprint"],
            "teacher": "none" if self.teacher is None else "a teacher",
        }

    def resume(self, folder: Path, tokens: int | None = None) -> None:
        """Continue from a checkpoint; with `tokens`, to another budget than the checkpoint's own.

        Raises ValueError when the checkpoint is of another model, corpus or teaching, or when it is decaying already
        and another budget is asked for.
        """
        state = read_state(folder)
        for name, ours in self._identity().items():
            if state[name] != ours:
                raise ValueError(f"{folder} was trained with {name} {state[name]!r}, not {ours!r}: start a new run")
        plan = Plan(**state["plan"])
        if tokens is not None and tokens != plan.tokens:
            if state["seen"] > plan.decay_from:
                raise ValueError(f"{folder} is already decaying: extend a run from its folder 'stable' instead")
            kept = {"batch": plan.batch, "rate": plan.rate, "seed": plan.seed, "needles_every": plan.needles_every}
            plan = Plan.of(tokens, state["seen"], **kept)
        load_checkpoint(folder, self.model, self.optimizers)
        fields = {name: state[name] for name in Progress.__dataclass_fields__ if name != "plan"}
        self.progress = Progress(plan, **fields)
        self._open_text(plan.seed)


def needs_muon() -> None:
    """Raises ValueError when PyTorch is too old to have Muon."""
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(f"training needs PyTorch 2.9 or newer for its optimizer Muon; this is {torch.__version__}")


def make_optimizers(model: nn.Module, rate: float) -> dict[str, torch.optim.Optimizer]:
    """Muon (weight decay 0.1, AdamW's update size) for the blocks' matrices; AdamW without decay for the rest.

    Raises ValueError when PyTorch is too old to have Muon.
    """
    needs_muon()
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    muon = torch.optim.Muon(matrices, lr=rate, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    return {"muon": muon, "adamw": torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)}


def descend(model: nn.Module, optimizers: dict[str, torch.optim.Optimizer], rate: float) -> None:
    """One step of all optimizers at this learning rate, down the gradients that `model` holds, clipped; they are gone then."""
    nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def pretrain(trainer: Trainer, folder: Path, report: Callable[[str], None] = print) -> LlamaForCausalLM:
    """Run `trainer` to the end of its plan; checkpoints and `loss.csv` go into `folder`. Returns the model.

    Two checkpoints are kept: `latest`, saved every 100 steps, and `stable`, saved just before the decay begins, from
    which the run can be extended.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if trainer.device.type == "cpu":
        keep_freed_memory()
    progress = trainer.progress
    curve = folder / "loss.csv"
    _begin_curve(curve, progress.seen)
    while progress.seen < progress.plan.tokens:
        if progress.seen <= progress.plan.decay_from < progress.seen + progress.plan.batch:
            trainer.save(folder / "stable")
        trainer.step()
        if progress.step % 10 == 0:
            _log(curve, progress)
        if progress.step % SAVE_EVERY == 0:
            trainer.save(folder / "latest")
            report(progress.line())
    if progress.step % SAVE_EVERY:
        trainer.save(folder / "latest")
        report(progress.line())
    return trainer.model


def _begin_curve(curve: Path, seen: int) -> None:
    """Keep the rows up to `seen` tokens, which a resumed run continues; what came after them is done again."""
    rows = curve.read_text(encoding="utf-8").splitlines()[1:] if curve.is_file() else []
    kept = [row for row in rows if int(row.split(",")[0]) <= seen]
    curve.write_text("\n".join(["tokens,loss,needle_loss,rate,tokens_per_second", *kept, ""]), encoding="utf-8")


def _log(curve: Path, progress: Progress) -> None:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    rate = progress.plan.rate_at(progress.seen)
    row = [progress.seen, number(progress.loss), number(progress.needle_loss), f"{rate:.6f}", f"{progress.speed:.0f}"]
    with curve.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(row)
