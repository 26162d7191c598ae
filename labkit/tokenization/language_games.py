"""The language games of StochasTok (P099): which of four words has, holds, begins with, ends with, is longest or shortest?

Answered by likelihood: the word that the model finds likeliest behind the question. Exactly one of the four is right.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

import torch

from labkit.knobs import knob
from labkit.lm import Session
from labkit.methods import Study
from labkit.models import vocabulary_of
from labkit.tokenization.charbench import LENGTHS, words
from labkit.tokenization.charbench_study import arm
from labkit.tokenization.stochastok import ARMS, below, trained
from labkit.trace import Step

CHOICES = 4
BEGIN = 0  # the shipped draft's end of text, behind which every lesson began
GAMES = ("most", "contains", "starts", "ends", "longest", "shortest")
PART = {"contains": (2, 3), "starts": (2, 3), "ends": (2, 3)}  # letters of the part asked for, from and to


class Game(NamedTuple):
    """A question with its choices; `gold` is the place of the right one."""

    game: str
    part: str  # the letter or letters asked for; "" for lengths
    choices: tuple[str, ...]
    gold: int

    @property
    def prompt(self) -> str:
        """The question in its compact form; what is missing is the word."""
        return f"{' '.join(filter(None, (self.game, self.part, *self.choices)))} ="

    @property
    def answers(self) -> tuple[str, ...]:
        """What could follow, one for each choice; the end of the line belongs to it."""
        return tuple(f" {word}\n" for word in self.choices)


def score(game: str, part: str, word: str) -> int:
    """What the right word has most of."""
    if game == "most":
        return word.count(part)
    if game == "contains":
        return part in word
    if game == "starts":
        return word.startswith(part)
    if game == "ends":
        return word.endswith(part)
    return len(word) if game == "longest" else -len(word)


def play(game: str, rng: random.Random, test: bool = True) -> Game:
    """A question of this game whose right word is alone at the top; words of a length drawn at random."""
    known = words(test)
    while True:
        chosen = tuple(rng.choice(known[rng.choice(LENGTHS)]) for _ in range(CHOICES))
        gold = rng.randrange(CHOICES)
        part = _part(game, chosen[gold], rng)
        scores = [score(game, part, word) for word in chosen]
        if scores.count(max(scores)) == 1 and scores[gold] == max(scores):
            return Game(game, part, chosen, gold)


def _part(game: str, word: str, rng: random.Random) -> str:
    if game == "most":
        return rng.choice(word)
    if game not in PART:
        return ""
    size = rng.randint(*PART[game])
    at = {"starts": 0, "ends": len(word) - size}.get(game, rng.randint(0, len(word) - size))
    return word[at : at + size]


def likeliest(game: Game, runner, session: Session) -> int:
    """The choice that the runner's model gives the highest ln p behind the question; counted into `session`'s ledger."""
    encode, scores = vocabulary_of(runner).encode, []
    asked = [BEGIN, *encode(game.prompt)]
    for end in game.answers:
        ids = encode(end)
        other = Session(runner, asked + ids)
        other.ledger = session.ledger
        logs = other.prompt_logits()[len(asked) - 1 : -1].log_softmax(-1)
        scores.append(logs.gather(1, torch.tensor(ids, device=logs.device)[:, None]).sum().item())
    return scores.index(max(scores))


@dataclass
class LanguageGames(Study):
    """Which of four words? Six games about letters, played by small drafts that read their training text in three ways.

    The paper's test of StochasTok. The players are the shipped draft after plain text, BPE-dropout or StochasTok and the same
    lessons (`labkit train letters`); no word was ever asked about in a lesson. A step is one round of all games. The paper's
    large gain does not show at this size and after so few steps; the numbers say so.
    """

    name, title, paper = "language-games", "Language games", "P099"
    charts = ("language_games",)
    rounds: int = knob(40, 1, 300, unit="rounds", help="six games each")

    def steps(self, session, rng):
        source, known = random.Random(below(2**31, rng)), trained("arm", "games", "text", "moved")
        players = {name: arm(name, session.runner.device, session.runner.dtype) for name in ARMS}
        right = {name: dict.fromkeys(GAMES, 0) for name in players}
        for done in range(1, self.rounds + 1):
            for name in GAMES:
                game = play(name, source)
                for who, runner in players.items():
                    right[who][name] += likeliest(game, runner, session) == game.gold
            games = {who: {name: [hits, done] for name, hits in of.items()} for who, of in right.items()}
            yield Step(emitted=[], notes={"done": done, "of": self.rounds, "games": games, "trained": known})
