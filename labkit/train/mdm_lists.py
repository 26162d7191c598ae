"""Masked diffusion of lists (`mdm-lists`): a model of 0.8 M parameters, taught problems whose answers are all known (P132).

Fresh problems for ever, all tasks and sizes mixed, a task the oftener the further it was found above its floor (`shares`); the
problem is never masked. Of each answer a number of tokens between one and all is hidden, each number as often: what t ~ U(0, 1)
and independent masks come to, without the draws that hide nothing. The loss is an answer's mean over its hidden tokens. So the
floor is known: a model that knew every conditional would come to H(Y|X) / |Y|, the logarithm of the number of right answers over
their length. Unshifted, from random weights. See `labkit.diffusion.lists`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from labkit import parts
from labkit.diffusion.lists import END, HEAD, LEAST, LENGTH, MASK, MOST, TASKS, VOCABULARY, count, draw, length
from labkit.diffusion.predictor import assembled, open_llama
from labkit.models import SHIPPED
from labkit.train.card import write_card
from labkit.train.checkpoint import load_checkpoint, read_state, save_checkpoint
from labkit.train.device import fast_dtype, keep_freed_memory
from labkit.train.pretrain import descend, make_optimizers
from labkit.train.tokens import cache_folder

NAME = "mdm-lists"
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 4, "max_position_embeddings": LENGTH, "tie_word_embeddings": True, "bos_token_id": None,
    "eos_token_id": END, "pad_token_id": None,
}  # fmt: skip
STEPS = 3000
GROUPS, ROWS = 8, 32  # forwards of a step, and the problems of each: their answers are equally long
RATE = 2e-3  # of Muon and AdamW alike; rises over WARMUP steps, falls over the last DECAY of the run
WARMUP, DECAY = 100, 0.5
SAVE_EVERY = 100  # steps; the tasks' shares are set anew as often
LEAST_GAP = 0.01  # nats: a task nearer to its floor is drawn as if it were this far, so that none is forgotten
TESTS = 16  # held-out problems of each task and size
HELD_OUT = 2**40  # the seed of what is tested; training counts up from its own

PAIRS = [(task, n) for task in TASKS for n in range(LEAST, MOST + 1)]
LENGTHS = [length(draw(task, n, Random(0))[0]) for task, n in PAIRS]


def shares(above: dict[str, float]) -> list[float]:
    """How often each of PAIRS is drawn, relative to the others: as the root of its task's gap to the floor (nats), sizes alike.

    The root, because evenly the one task that needs ten times the problems never gets them, and by the gap itself it would take
    them all. A task that was not measured has LEAST_GAP.
    """
    return [math.sqrt(max(above.get(task, 0.0), LEAST_GAP)) for task, _ in PAIRS]


def problems(rows: int, rng: Random, weights: list[float]) -> Tensor:  # int64 [rows, HEAD + answer]
    """Problems with one of their answers each, all of one length; over many calls each of PAIRS comes as its weight says."""
    wanted = rng.choices(LENGTHS, weights)[0]
    fitting, theirs = zip(*[(pair, weight) for pair, size, weight in zip(PAIRS, LENGTHS, weights) if size == wanted])
    drawn = [draw(*pair, rng) for pair in rng.choices(fitting, theirs, k=rows)]
    return torch.tensor([[*problem, *answer] for problem, answer in drawn])


def covered(rows: int, size: int, rng: torch.Generator) -> Tensor:
    """Which tokens of `rows` answers of `size` tokens are hidden: bool [rows, size]; one to all of them, evenly spread."""
    share = (torch.rand(1, generator=rng) + torch.arange(rows) / rows) % 1
    hidden = (share * size).long().clamp(max=size - 1) + 1
    ranks = torch.rand(rows, size, generator=rng).argsort(-1)
    return ranks < hidden[:, None]


def loss_of(model: LlamaForCausalLM, ids: Tensor, hidden: Tensor) -> Tensor:
    """Each answer's mean cross-entropy over its hidden tokens, nats [B]: ids [B, HEAD + answer], hidden [B, answer]."""
    due = ids[:, HEAD:]
    seen = torch.cat([ids[:, :HEAD], due.masked_fill(hidden, MASK)], 1)
    states = model.model(seen, use_cache=False).last_hidden_state[:, HEAD:][hidden]
    logits = (states @ model.lm_head.weight.to(states.dtype).t()).float()
    logits = logits.index_fill(-1, torch.tensor([MASK], device=logits.device), float("-inf"))  # as it is used
    each = torch.zeros(hidden.shape, device=logits.device)
    each[hidden] = F.cross_entropy(logits, due[hidden], reduction="none")
    return each.sum(1) / hidden.sum(1)


KEPT = ("done", "seconds", "curve", "plans", "begun", "leaning")  # of a run, from one start of the trainer to the next


class ListTrainer:
    """One run: model, optimizers, place in the plan. `step()` does one optimizer step."""

    def __init__(self, steps: int, seed: int = 0, device: str = "cpu"):
        torch.manual_seed(seed)
        self.steps, self.seed, self.device = steps, seed, torch.device(device)
        self.done, self.loss, self.seconds, self.curve = 0, None, 0.0, []
        self.plans = [[0, steps]]  # from which step on the run was to have how many
        self.begun = 0  # the step that the optimizers are new at
        self.leaning = SAVE_EVERY  # the step from which on the tasks were drawn by their gaps, not evenly
        self.model = open_llama(LlamaConfig(**SHAPE))
        for layer in self.model.model.layers:  # every block begins as the identity
            nn.init.zeros_(layer.self_attn.o_proj.weight)
            nn.init.zeros_(layer.mlp.down_proj.weight)
        self.model.to(self.device).train()
        self.optimizers = make_optimizers(self.model, RATE)
        self.dtype = fast_dtype(self.device)

    def step(self) -> None:
        """One optimizer step on the next problems."""
        began = time.process_time()
        draws, rng = Random(self.seed * 1_000_003 + self.done), torch.Generator().manual_seed(self.seed * 1_000_003 + self.done)
        weights = shares(self.curve[-1]["above"] if self.curve else {})
        total = 0.0
        for _ in range(GROUPS):
            ids = problems(ROWS, draws, weights)
            hidden = covered(ROWS, ids.shape[1] - HEAD, rng)
            with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
                loss = loss_of(self.model, ids.to(self.device), hidden.to(self.device)).mean() / GROUPS
            loss.backward()
            total += loss.item()
        rate = RATE * min(1.0, (self.done - self.begun + 1) / WARMUP, (self.steps - self.done) / (DECAY * self.steps))
        descend(self.model, self.optimizers, rate)
        self.loss = total if self.loss is None else 0.98 * self.loss + 0.02 * total
        self.done += 1
        self.seconds += time.process_time() - began

    def save(self, folder: Path) -> None:
        """Write a checkpoint to go on from."""
        save_checkpoint(folder, self.model, self.optimizers, {name: getattr(self, name) for name in ("seed", "loss", *KEPT)})

    def resume(self, folder: Path) -> None:
        """Go on from a checkpoint; a new number of steps may be given. Raises ValueError when it holds none."""
        state = read_state(folder)
        load_checkpoint(folder, self.model, self.optimizers)
        self.loss = state["loss"]
        self._take(state)

    def go_on_from(self, folder: Path) -> None:
        """Go on from the part in `folder`: its weights and its place in the plan, with new optimizers, warmed up again.

        Raises `ModelError` when there is no such part.
        """
        about, stored = parts.figures(NAME, folder), parts.load_alone(NAME, self.device, folder)
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                weight.copy_(stored[name])
        done = about["steps"]
        self._take({"leaning": done} | about | {"done": done, "begun": done, "seconds": about["cpu_seconds"]})

    def _take(self, state: dict) -> None:
        for name in KEPT:
            setattr(self, name, state[name])
        if self.plans[-1][1] != self.steps:
            self.plans.append([self.done, self.steps])


@torch.inference_mode()
def measured(model: LlamaForCausalLM, tests: int, sizes: range = range(LEAST, MOST + 1)) -> dict[str, dict[str, float]]:
    """By task, on held-out problems: the loss, its floor H(Y|X) / |Y| on the same problems, and how far it is above; nats."""
    found = {}
    for task in TASKS:
        losses, floors = [], []
        for n in sizes:
            rng, masks = Random(HELD_OUT + n), torch.Generator().manual_seed(HELD_OUT + n)
            drawn = [draw(task, n, rng) for _ in range(tests)]
            ids = torch.tensor([[*problem, *answer] for problem, answer in drawn], device=model.device)
            hidden = torch.cat([covered(tests, ids.shape[1] - HEAD, masks) for _ in range(4)]).to(model.device)
            losses.append(loss_of(model, ids.repeat(4, 1), hidden).mean().item())
            floors.append(sum(math.log(count(problem)) / length(problem) for problem, _ in drawn) / tests)
        loss, floor = (sum(values) / len(values) for values in (losses, floors))
        found[task] = {name: round(value, 4) for name, value in (("loss", loss), ("floor", floor), ("above", loss - floor))}
    return found


def train_lists(
    steps: int = STEPS,
    *,
    device: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    from_shipped: bool = False,
    folder: Path = parts.FOLDER,
    report: Callable[[str], None] = print,
) -> Path:
    """Train `mdm-lists`, measure it and write it as a part; its file. A run that was stopped goes on where it was.

    `from_shipped`: where there is no such run, go on from the part in `folder`, to `steps` in all, with new optimizers.
    Raises ValueError for bad choices, `ModelError` when that part is missing.
    """
    if steps < WARMUP:
        raise ValueError(f"{steps} steps are asked for: give at least {WARMUP}")
    if threads is not None:
        torch.set_num_threads(threads)
    keep_freed_memory()
    run, place = ListTrainer(steps, seed, device), cache_folder() / f"{NAME}-{seed}"
    if (place / "state.json").is_file():
        run.resume(place)
    elif from_shipped:
        run.go_on_from(folder)
        if run.done >= steps:
            raise ValueError(f"{steps} steps are asked for in all, and the part has had {run.done} of them: give more")
    while run.done < steps:
        run.step()
        if run.done % SAVE_EVERY == 0 or run.done == steps:
            worst = {task: found["above"] for task, found in measured(run.model, 2).items()}
            run.curve.append({"step": run.done, "above": worst})
            run.save(place)
            said = ", ".join(f"{task} {above:.2f}" for task, above in sorted(worst.items(), key=lambda one: -one[1])[:4])
            where = f"step {run.done:,} of {steps:,}, loss {run.loss:.3f}, {run.seconds:.0f} s"
            report(f"{NAME}: {where}; most above the floor: {said}")
    return publish(run, folder)


def publish(run: ListTrainer, folder: Path) -> Path:
    """Measure a run's model as it will be loaded, and write it as the part; its file."""
    made = {name: weight.detach().to("cpu", torch.bfloat16) for name, weight in run.model.named_parameters()}
    about = {"shape": SHAPE, "mask": MASK, "end": END, "shift": False, "context": LENGTH}
    about |= {
        "parameters": sum(tensor.numel() for tensor in made.values()), "steps": run.steps, "problems": run.steps * GROUPS * ROWS,
        "seed": run.seed, "cpu_seconds": round(run.seconds), "torch": torch.__version__, "tests": TESTS,
        "plans": run.plans, "leaning": run.leaning,
    }  # fmt: skip
    parts.save(NAME, made, parts.ALONE, about, folder)
    model = assembled(about, parts.load_alone(NAME, torch.device("cpu"), folder)).module
    about |= {"nats": measured(model, TESTS), "curve": run.curve}
    file = parts.save(NAME, made, parts.ALONE, {"summary": summary(about), **about}, folder)
    if folder == parts.FOLDER:
        write_card(SHIPPED["lab-target"].parent)
    return file


def summary(about: dict) -> str:
    """The part's row in the model card."""
    above = {task: found["above"] for task, found in about["nats"].items()}
    within = [task for task, nats in above.items() if nats <= 0.03]
    others = ", ".join(f"{task} {nats:.2f}" for task, nats in above.items() if task not in within)
    return (
        f"A masked-diffusion model of its own ({about['parameters'] / 1e6:.2f} M parameters) that answers problems on lists, "
        f"squares, dominoes, sums and brackets (P132); {about['problems'] / 1e3:,.0f} thousand problems, "
        f"{about['cpu_seconds'] / 60:.0f} minutes of one CPU thread, "
        f"from step {about['leaning']:,} of {about['steps']:,} on the tasks drawn by the root of their gap to the floor. "
        f"Held-out loss within 0.03 nats a token of its floor "
        f"H(Y|X)/|Y| in {len(within)} of {len(above)} tasks" + (f"; above it: {others}." if others else ".")
    )
