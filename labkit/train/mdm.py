"""Masked diffusion of Python (`mdm-py`): the causal target with its mask taken off, taught to fill in what is hidden.

The objective is LLaDA's, with less variance and the same minimum: the masked shares of a batch are spread evenly over (0, 1), and
the loss is a text's mean over its masked places. Of the texts 60 % are masked evenly; 40 % look as semi-autoregressive sampling
shows them: a visible beginning, one block masked in part, nothing but masks behind it (inferred). A fifth ends inside the window,
with ends of text behind. The network starts from the causal target and keeps its shift: the logits at a place speak of the next
token. See `labkit.diffusion.predictor`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from labkit import parts
from labkit.diffusion.predictor import assembled, open_llama
from labkit.models import SHIPPED, vocabulary
from labkit.train.card import write_card
from labkit.train.checkpoint import load_checkpoint, load_weights, read_state, save_checkpoint
from labkit.train.device import fast_dtype, keep_freed_memory
from labkit.train.mdm_exam import examined
from labkit.train.plan import config_of
from labkit.train.pretrain import descend, make_optimizers
from labkit.train.tokenizer import END_OF_TEXT, FIM_MIDDLE, FIM_PREFIX, MASK, load_tokenizer
from labkit.train.tokens import TokenSet, cache_folder, load_tokens

NAME, BASE = "mdm-py", "lab-target"
CONTEXT = 256  # places
TOKENS = {"cpu": 16_000_000, "cuda": 600_000_000}
BATCH = {"cpu": 8192, "cuda": 65_536}  # tokens a step
MICRO_BATCH = {"cpu": 2048, "cuda": 65_536}  # tokens a forward
RATE = 2e-3  # of Muon and AdamW alike; rises over WARMUP steps, falls over the last DECAY of the run
WARMUP, DECAY = 100, 0.5
LEAST = 0.02  # the smallest masked share; the rarer ones teach little and weigh the same
STATES, ENDED = 0.4, 0.2  # shares of the texts that show a state of decoding, that end in the window
BEHIND = 16  # places behind the block of such a state that count in its loss
SAVE_EVERY = 50  # steps


def texts(tokens: np.ndarray, rows: int, rng: np.random.Generator) -> Tensor:  # int64 [rows, CONTEXT]
    """Windows of the training text, none of them in fill-in-the-middle form; a share ENDED ends inside, padded with ends."""
    found = []
    while len(found) < rows:
        start = int(rng.integers(len(tokens) - CONTEXT))
        window = tokens[start : start + CONTEXT].astype(np.int64)
        if ((window >= FIM_PREFIX) & (window <= FIM_MIDDLE)).any():
            continue
        if len(found) < ENDED * rows:
            ends = np.flatnonzero(window[32:] == END_OF_TEXT)
            if not len(ends):
                continue
            window[32 + ends[0] :] = END_OF_TEXT
        found.append(window)
    return torch.from_numpy(np.stack(found))


def masked(ids: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which places of ids [B, L] are hidden, and which of these count in the loss: bool [B, L] twice. Some of each row do."""
    rows, length = ids.shape
    share = (torch.rand(1, generator=rng) + torch.arange(rows) / rows) % 1
    share = share[torch.randperm(rows, generator=rng)] * (1 - LEAST) + LEAST
    chance = torch.rand(rows, length, generator=rng)
    hidden = chance < share[:, None]
    counts = hidden.clone()
    place = torch.arange(length)
    for row in torch.randperm(rows, generator=rng)[: round(STATES * rows)].tolist():
        size = int(torch.randint(16, 65, (), generator=rng))
        start = int(torch.randint(16, length - size + 1, (), generator=rng))
        block = (place >= start) & (place < start + size)
        behind = place >= start + size
        hidden[row] = block & (chance[row] < share[row]) | behind
        counts[row] = hidden[row] & (place < start + size + BEHIND)
    for row in (~counts.any(1)).nonzero()[:, 0].tolist():
        one = int(torch.randint(length, (), generator=rng))
        hidden[row, one] = counts[row, one] = True
    return hidden, counts


class MaskTrainer:
    """One run: model, optimizers, place in the plan. `step()` does one optimizer step."""

    def __init__(self, tokens: TokenSet, budget: int, seed: int = 0, device: str = "cpu", start: Path | None = None):
        """`start`: a folder with the causal target to begin from; None = random weights, unshifted."""
        torch.manual_seed(seed)
        self.tokens, self.seed, self.device = tokens, seed, torch.device(device)
        self.batch = BATCH[self.device.type]
        self.steps, self.done, self.loss, self.seconds, self.shift = max(1, budget // self.batch), 0, None, 0.0, start is not None
        self.model = open_llama(config_of("target")).to(self.device)
        if start is not None:
            load_weights(start, self.model)
        self.optimizers = make_optimizers(self.model, RATE)
        self.dtype = fast_dtype(self.device)

    def rows(self, ids: Tensor, hidden: Tensor) -> Tensor:
        """What the network reads: ids [B, L] with their hidden places masked, moved by one place when shifted."""
        seen = ids.masked_fill(hidden, MASK)
        return torch.cat([seen.new_full((len(seen), 1), END_OF_TEXT), seen[:, :-1]], 1) if self.shift else seen

    def step(self) -> None:
        """One optimizer step on the next texts."""
        began = time.perf_counter()
        ids = texts(self.tokens.train, self.batch // CONTEXT, np.random.default_rng((self.seed, self.done)))
        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + self.done)
        hidden, counts = masked(ids, rng)
        total = 0.0
        parts_of = [part.split(MICRO_BATCH[self.device.type] // CONTEXT) for part in (ids, hidden, counts)]
        for part, covered, asked in zip(*parts_of):
            loss = self._loss(part.to(self.device), covered.to(self.device), asked.to(self.device)) * len(part) / len(ids)
            loss.backward()
            total += loss.item()
        rate = RATE * min(1.0, (self.done + 1) / WARMUP, (self.steps - self.done) / (DECAY * self.steps))
        descend(self.model, self.optimizers, rate)
        self.loss = total if self.loss is None else 0.98 * self.loss + 0.02 * total
        self.done += 1
        self.seconds += time.perf_counter() - began

    def _loss(self, ids: Tensor, hidden: Tensor, counts: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            states = self.model.model(self.rows(ids, hidden), use_cache=False).last_hidden_state[counts]
            logits = states @ self.model.lm_head.weight.to(states.dtype).t()  # the masked places' only
        each = F.cross_entropy(logits.float(), ids[counts], reduction="none")
        weight = 1 / counts.sum(1, keepdim=True).expand(-1, ids.shape[1])[counts]
        return (each * weight).sum() / len(ids)

    def save(self, folder: Path) -> None:
        """Write a checkpoint to go on from."""
        kept = ("steps", "seed", "done", "loss", "seconds", "shift")
        save_checkpoint(folder, self.model, self.optimizers, {name: getattr(self, name) for name in kept})

    def resume(self, folder: Path, steps: int) -> None:
        """Go on from a checkpoint, to `steps` in all. Raises ValueError when it holds none, or is of another seed."""
        state = read_state(folder)
        if state["seed"] != self.seed:
            raise ValueError(f"{folder} was begun with seed {state['seed']}, not {self.seed}: give that seed, or clear it")
        load_checkpoint(folder, self.model, self.optimizers)
        self.done, self.loss, self.seconds, self.shift = state["done"], state["loss"], state["seconds"], state["shift"]
        self.steps = steps


def run_mask_training(run: MaskTrainer, folder: Path, report: Callable[[str], None] = print) -> None:
    """Run to the end of the plan; the checkpoint goes into `folder`."""
    while run.done < run.steps:
        run.step()
        if run.done % SAVE_EVERY == 0 or run.done == run.steps:
            run.save(folder)
            speed = run.done * run.batch / run.seconds
            left = (run.steps - run.done) * run.batch / speed
            said = f"step {run.done:,} of {run.steps:,}, loss {run.loss:.3f}, {speed:,.0f} tokens/s"
            report(f"{NAME}: {said}, {left / 60:.0f} min left")


def train_mdm(
    tokens: int | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    folder: Path = parts.FOLDER,
    report: Callable[[str], None] = print,
) -> Path:
    """Train `mdm-py` for `tokens` in all, measure it and write it as a part; returns its file.

    On a CPU it starts from the causal target, on CUDA from random weights, unshifted. A run that was stopped goes on where it
    was, to another number of tokens too. Raises ValueError for too few tokens.
    """
    where = torch.device(device)
    budget = TOKENS[where.type] if tokens is None else tokens
    if budget < BATCH[where.type]:
        raise ValueError(f"{budget} tokens are asked for: give at least {BATCH[where.type]}, one step's")
    if threads is not None:
        torch.set_num_threads(threads)
    if where.type == "cpu":
        keep_freed_memory()
    corpus = load_tokens(load_tokenizer(SHIPPED[BASE]), seed)
    run = MaskTrainer(corpus, budget, seed, device, SHIPPED[BASE] if where.type == "cpu" else None)
    place = cache_folder() / f"{NAME}-{seed}"
    if (place / "state.json").is_file():
        run.resume(place, run.steps)
    run_mask_training(run, place, report)
    made = {name: weight.detach().to("cpu", torch.bfloat16) for name, weight in run.model.named_parameters()}
    about = {
        "mask": MASK, "end": END_OF_TEXT, "shift": run.shift, "context": CONTEXT, "shape": config_of("target").to_diff_dict(),
        "tokens": run.done * run.batch, "steps": run.done, "seed": seed, "seconds": round(run.seconds), "device": device,
        "torch": torch.__version__, "corpus": corpus.manifest["fingerprint"],
    }  # fmt: skip
    report("measuring")
    measured = assembled(about, {name: weight.float() for name, weight in made.items()})
    about |= examined(measured, corpus, vocabulary(BASE))
    about["summary"] = summary(about)
    report(about["summary"])
    file = parts.save(NAME, made, BASE, about, folder, parts.TOKENIZER)
    if folder == parts.FOLDER:
        write_card(folder.parent)
    return file


def summary(about: dict) -> str:
    """The part's row in the model card."""
    by_share = ", ".join(f"{loss:.2f} at {share}" for share, loss in about["loss_by_share"].items())
    worst = max(abs(sure - right) for sure, right, places in about["calibration"] if places >= 50)
    start = "from the causal target, its mask taken off" if about["shift"] else "from random weights"
    return (
        f"Masked diffusion of Python, {start}: {about['tokens'] / 1e6:.1f} M tokens, {about['seconds'] / 3600:.1f} hours on "
        f"{about['device']}. Held out: a bound of {about['bound']:.2f} nats a token (by masked share {by_share}); "
        f"one masked token is filled in right {about['infilled']:.1%} of the time; {about['parses']:.0%} of its completions "
        f"parse; confidences are at most {worst:.2f} from the share that is right."
    )
