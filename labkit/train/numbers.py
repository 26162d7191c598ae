"""Two small models that add (P087): the same weights at first, the same sums, only their numbers are cut the other way.

A token's vector is the sum of its digits' vectors, one for every digit at every place of a chunk of one, two or three, and of one
of its own, which begins at zero. So the models need not find out from a few minutes of sums how the thousand three-digit tokens
are spelled, which a large model knows from its text. What is saved is the sum: a plain Llama.

Numbers grow longer as the run goes on. Half of the sums are of equally long numbers, and of these every second one is a digit
longer. A third model reads numbers cut either way, and learns to repeat in r2l form what was asked in l2r form.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from transformers import LlamaForCausalLM

from labkit import parts
from labkit.models import SHIPPED
from labkit.tokenization.addition import (
    BOTH,
    DIGITS,
    END,
    LONGEST,
    MARK_PIECE,
    PAD,
    PIECES,
    SIZE,
    assembled,
    config,
    sides,
    value,
    ways,
)
from labkit.tokenization.numbers import DIRECTIONS, Sum, equals, number, problems
from labkit.train.card import write_card
from labkit.train.checkpoint import load_checkpoint, read_state, save_checkpoint
from labkit.train.device import fast_dtype, keep_freed_memory
from labkit.train.pretrain import needs_muon
from labkit.train.tokens import cache_folder

NAMES = (*DIRECTIONS, BOTH)
STEPS = 1300
BATCH = 256  # sums a step
RATE = 3e-3  # of Muon and of the digits' vectors; falls to zero over the last 30 %
OWN_RATE = 0.1  # of RATE: of the vector that a token has for itself, which it is seen too seldom to learn fast
WARMUP = 50  # steps
PHASES = ((0.0, 1, 3), (0.16, 1, 6), (0.42, *DIGITS))  # from this share of the run on: digits of an addend, at least and most
SAVE_EVERY = 100  # steps; what it knows is measured then
LOOKS, TESTS = 20, 200  # sums a number of digits: along the way, and in the end
HELD_OUT = 2**40  # the seed of what is tested; training counts up from its own


class Spelled(nn.Module):
    """The tokens' vectors [V, d]: those of their digits and signs, summed, and each token's own on top."""

    def __init__(self, pieces: list[str], width: int):
        super().__init__()
        places = [(length, place, digit) for length in range(1, SIZE + 1) for place in range(length) for digit in "0123456789"]
        signs = [piece for piece in pieces if not piece.isdigit()]
        columns = {key: column for column, key in enumerate([*places, *signs])}
        uses = torch.zeros(len(pieces), len(columns))
        for token, piece in enumerate(pieces):
            keys = [(len(piece), *pair) for pair in enumerate(piece)] if piece.isdigit() else [piece]
            uses[token, [columns[key] for key in keys]] = 1
        self.register_buffer("uses", uses, persistent=False)
        self.digits = nn.Parameter(0.1 * torch.randn(len(columns), width))

    def forward(self, own: Tensor) -> Tensor:
        return own + self.uses @ self.digits


class Adder:
    """One run: model, optimizers, place in the curriculum. `step()` does one optimizer step."""

    def __init__(self, name: str, steps: int, seed: int = 0, device: str = "cpu"):
        torch.manual_seed(seed)
        self.ways, self.steps, self.seed, self.device = ways(name), steps, seed, torch.device(device)
        self.done, self.loss, self.seconds, self.curve = 0, None, 0.0, []
        pieces = [*PIECES, MARK_PIECE] if name == BOTH else PIECES
        self.model = LlamaForCausalLM._from_config(config(len(pieces)), attn_implementation="eager", dtype=torch.float32)
        for layer in self.model.model.layers:
            nn.init.zeros_(layer.self_attn.o_proj.weight)
            nn.init.zeros_(layer.mlp.down_proj.weight)
        self.table = self.model.model.embed_tokens
        nn.init.zeros_(self.table.weight)
        self.model.lm_head.weight = None  # it is the table, which is computed
        spelled = Spelled(pieces, self.table.embedding_dim)
        parametrize.register_parametrization(self.table, "weight", spelled)
        self.model.to(self.device)
        own = self.table.parametrizations.weight.original
        matrices = [weight for weight in self.model.model.layers.parameters() if weight.ndim == 2]
        gains = [weight for weight in self.model.parameters() if weight.ndim == 1]
        groups = [{"params": [*gains, spelled.digits], "share": 1.0}, {"params": [own], "share": OWN_RATE}]
        muon = torch.optim.Muon(matrices, lr=RATE, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
        self.optimizers = {"muon": muon, "adamw": torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), weight_decay=0.0)}

    def batch(self) -> tuple[Tensor, Tensor]:
        """(inputs, wanted), [BATCH, tokens] each: the same sums whatever the direction; -100 where nothing is asked."""
        rng = Random(self.seed * 1_000_003 + self.done)
        low, high = [(low, high) for share, low, high in PHASES if self.done >= share * self.steps][-1]
        rows = []
        for _ in range(BATCH):
            digits, other = rng.randint(low, high), rng.randint(low, high)
            same = rng.random() < 0.5
            drawn = equals(digits, rng.random() < 0.5, rng) if same else Sum(number(digits, rng), number(other, rng))
            rows.append(sides(drawn, self.ways[0] if len(self.ways) == 1 else rng.choice(self.ways)))
        width = max(len(asked) + len(due) for asked, due in rows) - 1
        inputs, wanted = torch.full((2, BATCH, width), PAD)
        wanted[:] = -100
        for row, (asked, due) in enumerate(rows):
            last = len(asked) + len(due) - 1
            inputs[row, :last] = torch.tensor([*asked, *due[:-1]])
            wanted[row, len(asked) - 1 : last] = torch.tensor(due)
        return inputs.to(self.device), wanted.to(self.device)

    def step(self) -> None:
        """One optimizer step on the next sums."""
        began = time.process_time()
        inputs, wanted = self.batch()
        asked, dtype = wanted >= 0, fast_dtype(self.device)
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32):
            states = self.model.model(inputs).last_hidden_state[asked]
            loss = F.cross_entropy((states @ self.table.weight.to(states.dtype).t()).float(), wanted[asked])
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        rate = RATE * min(1, (self.done + 1) / WARMUP, (self.steps - self.done) / (0.3 * self.steps))
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("share", 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.loss = loss.item() if self.loss is None else 0.95 * self.loss + 0.05 * loss.item()
        self.done += 1
        self.seconds += time.process_time() - began

    def tensors(self) -> dict[str, Tensor]:
        """The weights of a plain Llama, by their names, in bfloat16."""
        found = {name: weight for name, weight in self.model.named_parameters() if "embed_tokens" not in name}
        found["model.embed_tokens.weight"] = self.table.weight
        return {name: weight.detach().to("cpu", torch.bfloat16) for name, weight in found.items()}

    def save(self, folder: Path) -> None:
        state = {"steps": self.steps, "seed": self.seed, "done": self.done, "loss": self.loss}
        save_checkpoint(folder, self.model, self.optimizers, state | {"seconds": self.seconds, "curve": self.curve})

    def resume(self, folder: Path) -> None:
        """Go on from a checkpoint; a new number of steps may be given. Raises ValueError when it holds none."""
        state = read_state(folder)
        load_checkpoint(folder, self.model, self.optimizers)
        self.seed, self.done, self.loss = state["seed"], state["done"], state["loss"]
        self.seconds, self.curve = state["seconds"], state["curve"]


@torch.inference_mode()
def answers(model: LlamaForCausalLM, asked: list[list[int]]) -> list[list[int]]:
    """What the model writes greedily behind questions of equal length, up to the last one's end or `LONGEST` tokens."""
    rows = torch.tensor(asked, device=model.device)
    for _ in range(LONGEST):
        if (rows[:, len(asked[0]) :] == END).any(1).all():
            break
        states = model.model(rows).last_hidden_state[:, -1]
        rows = torch.cat([rows, (states @ model.model.embed_tokens.weight.t()).argmax(-1, keepdim=True)], 1)
    return rows[:, len(asked[0]) :].tolist()


def accuracy(model: LlamaForCausalLM, way: str, count: int) -> dict[str, dict[str, float]]:
    """The share of right answers to held-out sums by the digits of both addends: "same" length, and where the sum "grows"."""
    found = {}
    for digits in range(DIGITS[0], DIGITS[1] + 1):
        asked = problems(count, digits, Random(HELD_OUT + digits))
        said = answers(model, [sides(problem, way)[0] for problem in asked])
        right = [value(row) == sum(problem) for problem, row in zip(asked, said)]
        found[str(digits)] = {"same": sum(right[::2]) / len(right[::2]), "grows": sum(right[1::2]) / len(right[1::2])}
    return found


def train_numbers(
    names: tuple[str, ...] = NAMES,
    steps: int = STEPS,
    *,
    device: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    folder: Path = parts.FOLDER,
    report: Callable[[str], None] = print,
) -> list[Path]:
    """Train the models of these `names`, measure them and write them as parts; returns their files.

    A run that was stopped goes on where it was. Raises ValueError for bad choices.
    """
    if unknown := [name for name in names if name not in NAMES]:
        raise ValueError(f"there is no model {unknown[0]!r}: choose l2r, r2l or both")
    if steps < WARMUP:
        raise ValueError(f"{steps} steps are asked for: give at least {WARMUP}")
    needs_muon()
    if threads is not None:
        torch.set_num_threads(threads)
    keep_freed_memory()
    return [_train_one(name, steps, device, seed, folder, report) for name in names]


def _train_one(which: str, steps: int, device: str, seed: int, folder: Path, report: Callable[[str], None]) -> Path:
    name, run = f"numbers-{which}", Adder(which, steps, seed, device)
    place = cache_folder() / f"{name}-{steps}-{seed}"
    if (place / "state.json").is_file():
        run.resume(place)
    while run.done < steps:
        run.step()
        if run.done % SAVE_EVERY == 0 or run.done == steps:
            looks = {way: accuracy(run.model, way, LOOKS) for way in run.ways}
            run.curve.append({"step": run.done, "accuracy": looks})
            run.save(place)
            right = "; ".join("{} {:.2f} and {:.2f}".format(way, *_means(of)) for way, of in looks.items())
            report(f"{name}: step {run.done:,} of {steps:,}, loss {run.loss:.3f}, {run.seconds:.0f} s; right {right}")
    made = run.tensors()
    model = assembled({key: tensor.float() for key, tensor in made.items()})  # measured as it will be loaded
    found = {
        "parameters": sum(tensor.numel() for tensor in made.values()), "steps": steps, "sums": steps * BATCH, "seed": seed,
        "cpu_seconds": round(run.seconds), "torch": torch.__version__, "tests": TESTS,
        "accuracy": {way: accuracy(model, way, TESTS) for way in run.ways}, "curve": run.curve,
    }  # fmt: skip
    file = parts.save(name, made, parts.ALONE, {"summary": summary(which, found), **found}, folder)
    if folder == parts.FOLDER:
        write_card(SHIPPED["lab-target"].parent)
    return file


def _means(shares: dict[str, dict[str, float]]) -> tuple[float, float]:
    """The shares of right answers over all lengths of addends: where the sum is as long, and where it grows."""
    return tuple(sum(of[kind] for of in shares.values()) / len(shares) for kind in ("same", "grows"))


def summary(name: str, found: dict) -> str:
    """The part's row in the model card."""
    way = {"l2r": "from left to right", "r2l": "from right to left", BOTH: "either way"}[name]
    means = {way: _means(of) for way, of in found["accuracy"].items()}
    said = [f"{way} {same:.0%} where the sum is as long, {grown:.0%} where it grows" for way, (same, grown) in means.items()]
    return (
        f"A model of its own ({found['parameters'] / 1e6:.2f} M parameters) that adds numbers cut into chunks of three digits "
        f"{way} (P087); {found['sums'] / 1e3:,.0f} thousand sums, {found['cpu_seconds'] / 60:.0f} minutes of one CPU thread. "
        f"Right answers with addends of {DIGITS[0]} to {DIGITS[1]} digits: {'; '.join(said)}."
    )
