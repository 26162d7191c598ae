"""What training on letters came to: plain text, other cuts of it, CharBench and the language games (P099, P010)."""

from __future__ import annotations

import random
from collections import Counter

import torch
from torch import nn

from labkit.tokenization.charbench import GOLD, LENGTHS, correlations, properties, stratified, words
from labkit.tokenization.charbench_study import CUTS, Pupil, asked
from labkit.tokenization.language_games import CHOICES, GAMES, play
from labkit.tokenization.stochastok import stochastok
from labkit.train.figures import held_out_loss, spread_windows, token_bytes
from labkit.train.letters_ground import Cutter, answer_logprobs, padded
from labkit.train.tokenizer import END_OF_TEXT
from labkit.train.tokens import TokenSet

EACH, GAMES_EACH = 280, 300  # items measured: of every task and length, of every game
HELD_WINDOW, HELD_WINDOWS = 512, 48  # tokens; windows that plain text is measured on
RECUTS, HEAVY = 200, 0.5  # words whose cuts are compared; p of the other cut
AT_ONCE = 256  # rows of a forward
READS = {"plain": "as it is", "dropout": "with BPE-dropout", "stochastok": "with StochasTok"}


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


def summary(figures: dict) -> str:
    """The part's row in the model card."""
    steps, (right, games) = figures["steps"], map(sum, zip(*figures["games"].values()))
    tasks = ", ".join(f"{task} {one / items:.1%}" for task, (one, items) in figures["tasks"][CUTS[0]].items())
    return (
        f"The draft after {steps['text']:,} steps of training text read {READS[figures['arm']]} and {steps['questions']:,} steps "
        f"of questions about letters; it has unlearned to write. On words never asked about: {tasks}, games {right / games:.1%}."
    )


def card(found: dict[str, dict]) -> str:
    """What the model card says about all arms together, `found` by their names."""
    first = next(iter(found.values()))
    items, games = next(iter(first["tasks"][CUTS[0]].values()))[1], next(iter(first["games"].values()))[1]
    lines = [
        f"The draft three times over, for StochasTok (P099) and CharBench (P010). All went on from the same weights with "
        f"{first['steps']['text']:,} steps of 2,048 tokens of training text, each in its own way "
        f"(p = {found['stochastok']['p']:g}), then learned {first['steps']['questions']:,} steps of the same questions and games "
        f"in plain tokenisation; one seed. "
        f"Measured on words that training never asked about: {items:,} items a task (a standard error is about one point), "
        f"{games} a game. Plain text is measured before the questions, on held-out files; by then another cut of a word moves "
        f"the law behind it by the total variation given.\n",
        f"| | {' | '.join(found)} |",
        "|---" * (len(found) + 1) + "|",
    ]
    for task in GOLD:
        often = first["constant"][task] / items
        for cut in CUTS:
            name = f"{task} (commonest answer {often:.1%})" if cut == CUTS[0] else f"{task}, words {cut}"
            lines.append(_line(name, [f"{of['tasks'][cut][task][0] / items:.1%}" for of in found.values()]))
    for game in GAMES:
        shares = [f"{of['games'][game][0] / games:.1%}" for of in found.values()]
        lines.append(_line(f"game: {game} (guessing {1 / CHOICES:.0%})", shares))
    for name, said in (("text", "bits/byte of plain text"), ("moved", "law moved by another cut")):
        after = [f"{of[name]['after']:.3f}" for of in found.values()]
        lines.append(_line(f"{said} (before {first[name]['before']:.3f})", after))
    return "\n".join(lines) + "\n"


def _line(name: str, cells: list[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"
