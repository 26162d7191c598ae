"""Do split tokens teach letters? (P099, P010): the shipped draft goes on three ways, then all learn the same questions.

The arms go on with training text, from the same weights and with the same windows: as the tokenizer cuts it, with BPE-dropout,
with StochasTok. Then each is taught CharBench's questions and StochasTok's language games, the same items in the same order,
all in plain tokenisation as in the release. One word in five is never asked in training; those are what is measured.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit import parts
from labkit.models import SHIPPED, load_model, vocabulary_of
from labkit.tokenization.charbench import GOLD, LENGTHS, ask, words
from labkit.tokenization.charbench_study import BASE
from labkit.tokenization.language_games import GAMES, play
from labkit.tokenization.stochastok import ARMS, stochastok
from labkit.train import attention
from labkit.train.card import write_card
from labkit.train.checkpoint import load_checkpoint, read_state, save_checkpoint
from labkit.train.device import fast_dtype, keep_freed_memory
from labkit.train.letters_exam import card, on_questions, on_text, summary
from labkit.train.letters_ground import Cutter, answer_logprobs
from labkit.train.pretrain import descend, make_optimizers
from labkit.train.tokenizer import END_OF_TEXT, load_tokenizer
from labkit.train.tokens import Windows, cache_folder, load_tokens

P = 0.1  # of StochasTok and of BPE-dropout alike
WINDOW, ROWS = 128, 16  # tokens; windows of a step: continuation
QUESTIONS, PLAYED = 96, 32  # items of a step: fine-tuning
RATES = {"text": 6e-4, "questions": 2e-3}  # peaks; ours
WARMUP = 50  # steps
SAVE_EVERY = 100  # steps


def recut(cutter: Cutter, arm: str, ids: Sequence[int], rng: torch.Generator) -> list[int]:
    """A window's tokens as the arm reads them, cut to the window's length."""
    if arm == "dropout":
        return cutter.dropped(ids, P, rng)[: len(ids)]
    return stochastok(ids, cutter.table, P if arm == "stochastok" else 0.0, rng)[: len(ids)]


def lessons(cutter: Cutter, seed: int, step: int) -> list[list[tuple[list[int], list[int]]]]:
    """The items of a fine-tuning step, as (question, answer) in tokens: CharBench's, then the games'. The same for all arms."""
    rng = random.Random(f"{seed} {step}")
    known, tasks = words(False), list(GOLD)
    asked = [ask(rng.choice(tasks), rng.choice(known[rng.choice(LENGTHS)]), rng) for _ in range(QUESTIONS)]
    played = [play(rng.choice(GAMES), rng, test=False) for _ in range(PLAYED)]
    pairs = [(item.prompt, f"{item.gold}\n") for item in asked], [(game.prompt, game.answers[game.gold]) for game in played]
    return [[([END_OF_TEXT, *cutter.encode(ask)], cutter.encode(answer)) for ask, answer in some] for some in pairs]


def text_loss(model: nn.Module, rows: Tensor) -> Tensor:  # [rows, window + 1] -> nats a token
    """The loss of a language model on windows."""
    logits = model(rows[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].reshape(-1))


def rate_at(step: int, steps: int, peak: float) -> float:
    """Warm-up, then a cosine to zero."""
    return peak * min(1, (step + 1) / WARMUP) * (1 + math.cos(math.pi * step / steps)) / 2


def fit(
    model: nn.Module, phase: str, steps: int, loss_at: Callable[[int], Tensor], place: Path, report: Callable[[str], None]
) -> None:
    """`steps` optimizer steps of a phase ("text", "questions"); goes on from the checkpoint in `place` if there is one."""
    optimizers, done, smooth = make_optimizers(model, RATES[phase]), 0, None
    if place.is_dir():
        load_checkpoint(place, model, optimizers)
        done = read_state(place)["step"]
    device = next(model.parameters()).device
    for step in range(done, steps):
        with torch.autocast(device.type, fast_dtype(device), enabled=fast_dtype(device) != torch.float32):
            loss = loss_at(step)
        loss.backward()
        descend(model, optimizers, rate_at(step, steps, RATES[phase]))
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            save_checkpoint(place, model, optimizers, {"step": step + 1})
            report(f"{place.name}: step {step + 1} of {steps}, loss {smooth:.3f}")


def train_arm(cutter: Cutter, arm: str, steps: dict[str, int], tokens: np.ndarray, seed: int, place: Path, device, report):
    """One arm, both phases; returns the model as it is after the text, and after the questions."""
    model = load_model(BASE, device, torch.float32).train()
    model.set_attn_implementation(attention.NAME if device.type == "cpu" else "sdpa")
    windows = Windows(tokens, WINDOW, seed)

    def reading(step: int) -> Tensor:
        rng = torch.Generator().manual_seed(seed * 1_000_003 + step)
        rows = [recut(cutter, arm, row, rng) for row in windows.batch(step * ROWS, ROWS).tolist()]
        shortest = min(map(len, rows))  # half characters at a window's ends are lost to BPE-dropout
        return text_loss(model, torch.tensor([row[:shortest] for row in rows], device=device))

    def answering(step: int) -> Tensor:
        return -sum(answer_logprobs(model, some)[0].mean() for some in lessons(cutter, seed, step))

    fit(model, "text", steps["text"], reading, place / f"{arm}-text", report)
    read = copy.deepcopy(model).eval()
    fit(model, "questions", steps["questions"], answering, place / f"{arm}-questions", report)
    return read, model.eval()


def train_letters(
    text_steps: int = 400,
    question_steps: int = 1200,
    *,
    device: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    folder: Path = parts.FOLDER,
    report: Callable[[str], None] = print,
) -> list[Path]:
    """Train the three parts "letters-plain", "letters-dropout" and "letters-stochastok", measure them; returns their files.

    A run with the same settings goes on from its checkpoints. Raises ValueError for a number of steps below 1.
    """
    steps = {"text": text_steps, "questions": question_steps}
    for phase, count in steps.items():
        if count < 1:
            raise ValueError(f"{phase} steps are {count}: give a number above 0")
    if threads is not None:
        torch.set_num_threads(threads)
    where = torch.device(device)
    if where.type == "cpu":
        keep_freed_memory()
    cutter = Cutter(load_tokenizer(SHIPPED[BASE]))
    corpus, base = load_tokens(cutter.tokenizer, seed), load_model(BASE, where, torch.float32)
    base.name = BASE
    vocabulary, before = vocabulary_of(base), on_text(base, cutter, corpus)
    report(f"the shipped draft: {before}")
    print_of = [parts.fingerprint(BASE), corpus.manifest["fingerprint"], *map(str, steps.values()), str(seed)]
    place, made, found = cache_folder() / "letters" / "-".join(print_of), {}, {}
    for arm in ARMS:
        read, taught = train_arm(cutter, arm, steps, corpus.train, seed, place, where, report)
        made[arm] = {name: weight.detach().bfloat16() for name, weight in taught.named_parameters()}
        taught.load_state_dict({name: weight.float() for name, weight in made[arm].items()}, strict=False)  # measured as loaded
        after, about = on_text(read, cutter, corpus), {"arm": arm, "steps": steps, "p": 0.0 if arm == "plain" else P}
        about |= {"seed": seed, "torch": torch.__version__, "corpus": corpus.manifest["fingerprint"]}
        about["text"] = {"before": before["bits_per_byte"], "after": after["bits_per_byte"]}
        about["moved"] = {"before": before["moved"], "after": after["moved"]}
        found[arm] = about | on_questions(taught, cutter, vocabulary)
        found[arm]["summary"] = summary(found[arm])
        report(f"{arm}: {found[arm]['summary']}")
    found[ARMS[-1]]["card"] = card(found)
    files = [parts.save(f"letters-{arm}", made[arm], BASE, found[arm], folder) for arm in ARMS]
    if folder == parts.FOLDER:
        write_card(folder.parent)
    return files
