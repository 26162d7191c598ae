"""The language games of StochasTok (P099): which of four words has, holds, begins with, ends with, is longest or shortest?

Answered by likelihood: the word that the model finds likeliest behind the question. Exactly one of the four is right.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from labkit.tokenization.charbench import LENGTHS, words

CHOICES = 4
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
