"""Do split tokens teach letters? (P099, P010): the shipped draft goes on three ways, then all learn the same questions.

The arms go on with training text, from the same weights and with the same windows: as the tokenizer cuts it, with BPE-dropout,
with StochasTok. Then each is taught CharBench's questions and StochasTok's language games, the same items in the same order,
all in plain tokenisation as in the release. One word in five is never asked in training; those are what is measured.
"""

from __future__ import annotations

import copy
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from labkit import parts
from labkit.models import SHIPPED, load_model, vocabulary_of
from labkit.tokenization.backend import spelled
from labkit.tokenization.charbench import GOLD, LENGTHS, ask, correlations, properties, stratified, words
from labkit.tokenization.charbench_study import BASE, CUTS, Pupil, asked
from labkit.tokenization.language_games import CHOICES, GAMES, play
from labkit.tokenization.stochastok import ARMS, expansions, merged, stochastok
from labkit.train import attention
from labkit.train.card import write_card
from labkit.train.checkpoint import load_checkpoint, read_state, save_checkpoint
from labkit.train.device import fast_dtype, keep_freed_memory
from labkit.train.figures import held_out_loss, spread_windows, token_bytes
from labkit.train.pretrain import CLIP, make_optimizers
from labkit.train.tokenizer import END_OF_TEXT, PAD, load_tokenizer
from labkit.train.tokens import TokenSet, Windows, cache_folder, load_tokens

P = 0.1  # of StochasTok and of BPE-dropout alike
WINDOW, ROWS = 128, 16  # tokens; windows of a step: continuation
QUESTIONS, PLAYED = 96, 32  # items of a step: fine-tuning
RATES = {"text": 6e-4, "questions": 2e-3}  # peaks; ours
WARMUP = 50  # steps
SAVE_EVERY = 100  # steps
EACH, GAMES_EACH = 280, 300  # items measured: of every task and length, of every game
HELD_WINDOW, HELD_WINDOWS = 512, 48  # tokens; windows that plain text is measured on
RECUTS, HEAVY = 200, 0.5  # words whose cuts are compared; p of the other cut
AT_ONCE = 256  # rows of a forward when measuring


class Cutter:
    """Texts to tokens and tokens to other tokens of the same text, for one tokenizer of the `tokenizers` library."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        special = tokenizer.get_added_tokens_decoder()
        names = tokenizer.get_vocab(with_added_tokens=False)
        self.ids = {spelled(name): token for name, token in names.items() if token not in special}
        self.spellings = {token: piece for piece, token in self.ids.items()}
        self.table = expansions(self.ids)
        model = json.loads(tokenizer.to_str())["model"]
        self.ranks = {(spelled(left), spelled(right)): rank for rank, (left, right) in enumerate(model["merges"])}

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def dropped(self, ids: Sequence[int], p: float, rng: torch.Generator) -> list[int]:
        """The same text by BPE-dropout; reserved tokens stay, half characters at the ends go."""
        found, text = [], b""
        for token in [*ids, None]:
            if token in self.spellings:
                text += self.spellings[token]
                continue
            for name, _ in self.tokenizer.pre_tokenizer.pre_tokenize_str(text.decode("utf-8", "ignore")):
                found += [self.ids[piece] for piece in merged(spelled(name), self.ranks, p, rng)]
            found, text = found if token is None else [*found, token], b""
        return found

    def recut(self, arm: str, ids: Sequence[int], rng: torch.Generator) -> list[int]:
        """A window's tokens as the arm reads them, cut to the window's length."""
        if arm == "dropout":
            return self.dropped(ids, P, rng)[: len(ids)]
        return stochastok(ids, self.table, P if arm == "stochastok" else 0.0, rng)[: len(ids)]


def padded(rows: Sequence[Sequence[int]]) -> Tensor:  # int64 [rows, longest]
    """Rows of ids, filled up behind their ends, which causal attention never sees."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows])


def lessons(cutter: Cutter, seed: int, step: int) -> list[list[tuple[list[int], list[int]]]]:
    """The items of a fine-tuning step, as (question, answer) in tokens: CharBench's, then the games'. The same for all arms."""
    rng = random.Random(f"{seed} {step}")
    known, tasks = words(False), list(GOLD)
    asked = [ask(rng.choice(tasks), rng.choice(known[rng.choice(LENGTHS)]), rng) for _ in range(QUESTIONS)]
    played = [play(rng.choice(GAMES), rng, test=False) for _ in range(PLAYED)]
    pairs = [(item.prompt, f"{item.gold}\n") for item in asked], [(game.prompt, game.answers[game.gold]) for game in played]
    return [[([END_OF_TEXT, *cutter.encode(ask)], cutter.encode(answer)) for ask, answer in some] for some in pairs]


def answer_logprobs(model: nn.Module, pairs: Sequence[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
    """ln p of every token of the answers, [n], and the row each belongs to, [n]; the LM head runs on these places only."""
    ids = padded([ask + answer for ask, answer in pairs]).to(model.device)
    row = torch.tensor([number for number, (_, answer) in enumerate(pairs) for _ in answer], device=model.device)
    place = torch.tensor([len(ask) + at for ask, answer in pairs for at in range(len(answer))], device=model.device)
    states = model.model(ids[:, :-1], use_cache=False).last_hidden_state[row, place - 1]
    logs = model.lm_head(states).float().log_softmax(-1)
    return logs.gather(1, ids[row, place][:, None])[:, 0], row


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
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, steps, RATES[phase])
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
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
        rows = [cutter.recut(arm, row, rng) for row in windows.batch(step * ROWS, ROWS).tolist()]
        shortest = min(map(len, rows))  # half characters at a window's ends are lost to BPE-dropout
        return text_loss(model, torch.tensor([row[:shortest] for row in rows], device=device))

    def answering(step: int) -> Tensor:
        return -sum(answer_logprobs(model, some)[0].mean() for some in lessons(cutter, seed, step))

    fit(model, "text", steps["text"], reading, place / f"{arm}-text", report)
    read = copy.deepcopy(model).eval()
    fit(model, "questions", steps["questions"], answering, place / f"{arm}-questions", report)
    return read, model.eval()


@torch.inference_mode()
def on_text(model: nn.Module, cutter: Cutter, corpus: TokenSet) -> dict[str, float]:
    """Bits a byte of held-out text in plain tokenisation; and how far another cut of a word moves the law behind it.

    "moved" is the mean total variation between the laws behind a word as the tokenizer cuts it and as StochasTok does with p =
    0.5, over words kept apart and cut otherwise.
    """
    windows = spread_windows(corpus.held_out, HELD_WINDOW, HELD_WINDOWS).to(model.device)
    loss = held_out_loss(model, windows, token_bytes(cutter.tokenizer).to(model.device))
    rng, source, found = torch.Generator().manual_seed(0), random.Random(0), []
    while len(found) < RECUTS:
        plain = cutter.encode(" " + source.choice(words(True)[source.choice(LENGTHS)]))
        other = stochastok(plain, cutter.table, HEAVY, rng)
        if other != plain:
            laws = [model(torch.tensor([[END_OF_TEXT, *ids]], device=model.device)).logits[0, -1] for ids in (plain, other)]
            p, q = (logits.float().softmax(-1) for logits in laws)
            found.append((p - q).abs().sum().item() / 2)
    return {"bits_per_byte": loss["bits_per_byte"], "moved": sum(found) / len(found)}


@torch.inference_mode()
def on_questions(model: nn.Module, cutter: Cutter, vocabulary) -> dict:
    """CharBench by both cuts of the word, and the games; on words kept apart, the same items for every model.

    An answer is the likeliest token behind the question, right when it spells the number.
    """
    pupil, found = Pupil(None, vocabulary, [END_OF_TEXT], True), {"tasks": {}, "constant": {}, "r": {}, "games": {}}
    for cut in CUTS:
        rng, found["tasks"][cut] = random.Random(0), {}
        for task in GOLD:
            items = stratified(task, EACH, rng)
            put = [asked(item, pupil, cut == CUTS[1]) for item in items]
            said = []
            for at in range(0, len(items), AT_ONCE):
                rows = [[END_OF_TEXT, *ids] for ids, _, _ in put[at : at + AT_ONCE]]
                last = torch.tensor([len(row) - 1 for row in rows], device=model.device)
                states = model.model(padded(rows).to(model.device), use_cache=False).last_hidden_state
                said += model.lm_head(states[torch.arange(len(rows), device=model.device), last]).argmax(-1).tolist()
            right = [vocabulary.piece(token) == str(item.gold) for token, item in zip(said, items)]
            found["tasks"][cut][task] = [sum(right), len(right)]
            found["constant"][task] = Counter(item.gold for item in items).most_common(1)[0][1]
            if cut == CUTS[0]:
                table = [properties(item, held) for item, (_, _, held) in zip(items, put)]
                found["r"][task] = correlations(right, table)
    rng = random.Random(0)
    for name in GAMES:
        games = [play(name, rng) for _ in range(GAMES_EACH)]
        pairs = [([END_OF_TEXT, *cutter.encode(game.prompt)], cutter.encode(end)) for game in games for end in game.answers]
        scores = []
        for at in range(0, len(pairs), AT_ONCE):
            logs, row = answer_logprobs(model, pairs[at : at + AT_ONCE])
            scores.append(logs.new_zeros(len(pairs[at : at + AT_ONCE])).index_add(0, row, logs))
        chosen = torch.cat(scores).view(-1, CHOICES).argmax(1).tolist()
        found["games"][name] = [sum(pick == game.gold for pick, game in zip(chosen, games)), len(games)]
    return found


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
    place, files = cache_folder() / "letters" / "-".join(print_of), []
    for arm in ARMS:
        read, taught = train_arm(cutter, arm, steps, corpus.train, seed, place, where, report)
        tensors = {name: weight.detach().bfloat16() for name, weight in taught.named_parameters()}
        taught.load_state_dict({name: weight.float() for name, weight in tensors.items()}, strict=False)  # measured as loaded
        after, exam = on_text(read, cutter, corpus), on_questions(taught, cutter, vocabulary)
        figures = {"arm": arm, "steps": steps, "p": P if arm != "plain" else 0.0, "seed": seed, "torch": torch.__version__}
        figures |= {"corpus": corpus.manifest["fingerprint"]}
        figures["text"] = {"before": before["bits_per_byte"], "after": after["bits_per_byte"]}
        figures["moved"] = {"before": before["moved"], "after": after["moved"]}
        figures |= exam
        figures["summary"] = summary(figures)
        report(f"{arm}: {figures['summary']}")
        files.append(parts.save(f"letters-{arm}", tensors, BASE, figures, folder))
    if folder == parts.FOLDER:
        write_card(folder.parent)
    return files


READS = {"plain": "as it is", "dropout": "with BPE-dropout", "stochastok": "with StochasTok (P099)"}


def summary(figures: dict) -> str:
    """The part's row in the model card."""
    of = figures["tasks"][CUTS[0]]
    often = figures["constant"]
    tasks = ", ".join(f"{task} {of[task][0] / of[task][1]:.1%} (commonest answer {often[task] / of[task][1]:.1%})" for task in of)
    games = [sum(column) for column in zip(*figures["games"].values())]
    return (
        f"The draft after {figures['steps']['text']} steps of training text read {READS[figures['arm']]}, then "
        f"{figures['steps']['questions']} steps of questions about letters. On words never asked about: {tasks}; language games "
        f"{games[0] / games[1]:.1%} (guessing {1 / CHOICES:.0%}). Plain text, before the questions: "
        f"{figures['text']['before']:.3f} bits a byte before, {figures['text']['after']:.3f} after. No language model any more."
    )
