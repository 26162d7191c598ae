"""CharBench (P010) on the page: three small drafts that were taught its questions, and the chosen model, which was not."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch

from labkit import parts
from labkit.errors import KnobError, ModelError
from labkit.knobs import knob
from labkit.lm import Session
from labkit.methods import Study
from labkit.models import load_model, make_runner, vocabulary_of
from labkit.tokenization.charbench import (
    GOLD,
    INDEXING,
    LENGTHS,
    PROPERTIES,
    Item,
    ask,
    bias,
    buckets,
    correlations,
    overlap,
    pieces_of,
    properties,
    stratified,
    words,
)
from labkit.tokenization.stochastok import ARMS, below, trained
from labkit.trace import Step

BASE = "lab-draft"
UNTAUGHT = "chosen model"
CUTS = ("as the tokenizer cuts", "letter by letter")
ROOM = 4  # tokens in which a model that was not taught must write its number; one that was writes it in one
EXAMPLES = 4  # solved questions before one, for a model that was not taught


class Pupil(NamedTuple):
    """A model that answers: its runner, vocabulary, the token it begins behind, and whether it was taught the questions."""

    runner: object
    vocabulary: object
    lead: list[int]
    taught: bool


@cache
def arm(name: str, device: torch.device, dtype: torch.dtype):
    """A runner of the shipped draft after the training that the part `letters-NAME` holds. Raises `ModelError` without it."""
    model = load_model(BASE, device, dtype)
    parts.merge(model, BASE, f"letters-{name}")
    runner = make_runner(model)
    runner.name = BASE
    return runner


def asked(item: Item, pupil: Pupil, letter_by_letter: bool, lead: str = "") -> tuple[list[int], list[int], list[int]]:
    """A question in a pupil's tokens, its word's tokens, and how many characters of the word each of them holds.

    `letter_by_letter` writes the word, and the space before it, in single bytes. Raises `ModelError` where that cannot be done.
    """
    text = lead + (item.prompt if pupil.taught else item.prompt.rstrip())
    ids, vocabulary = pupil.vocabulary.encode(text), pupil.vocabulary
    start, size = text.encode().rindex(f" {item.word} =".encode()) + 1, len(item.word)
    found, inside, at = [], [], 0
    for token in ids:
        piece = vocabulary.spelling(token)
        touches = at < start + size and at + len(piece) > start
        own = _bytes(pupil, piece) if touches and letter_by_letter else [token]
        found += own
        for one in own:
            wide = len(vocabulary.spelling(one))
            if at < start + size and at + wide > start:
                inside.append(one)
            at += wide
    return found, inside, pieces_of([vocabulary.spelling(token) for token in found], start, size)


def _bytes(pupil: Pupil, piece: bytes) -> list[int]:
    known = _single(pupil.vocabulary)
    if any(byte not in known for byte in piece):
        raise ModelError("This model's tokenizer has no token for every letter: choose to cut as the tokenizer does.")
    return [known[byte] for byte in piece]


@cache
def _single(vocabulary) -> dict[int, int]:
    """The tokens of one byte, by that byte."""
    return {piece[0]: token for token in range(vocabulary.size) if len(piece := vocabulary.spelling(token)) == 1}


def answer(session: Session, vocabulary, room: int) -> int | None:
    """The number that a model writes behind a question, greedily, in `room` tokens; None when it writes something else."""
    text = ""
    for _ in range(room):
        token = int(session.logits.argmax())
        text += vocabulary.piece(token)
        if text.strip() and not text.strip().isdigit() or text.endswith("\n"):
            break
        session.push(token)
    digits = "".join(letter for letter in text.strip().partition("\n")[0] if letter in "0123456789")
    return int(digits) if digits and text.strip().startswith(digits) else None


@dataclass
class CharBench(Study):
    """Letters in words: what is hard about them, the number of tokens or the length of the one that hides the letter?

    The pupils are the shipped draft, taught these questions after three kinds of training text (`labkit train letters`); the
    chosen model answers behind four solved questions. All words are ones that no pupil was ever asked about. Every step asks
    all of them one question of each length, task by task. At this size the paper's signs show: long words hurt, the number of
    tokens hardly does, and where a place is asked for a long token that hides it does. Left out: its large models, and prompts in
    plain English.
    """

    name, title, paper = "charbench", "CharBench: letters in words", "P010"
    charts = ("charbench_tasks", "charbench_words", "charbench_buckets", "charbench_r")
    task: str = knob("find_first", choices=tuple(GOLD), help="shown in detail")
    arm: str = knob("stochastok", choices=(*ARMS, UNTAUGHT), label="Who", help="whose answers are shown")
    cut: str = knob(CUTS[0], choices=CUTS, label="Words are cut", help="the asked word's tokens")
    each: int = knob(20, 2, 60, unit="words", label="Words a length", help="for each task")
    shortest: int = knob(4, 4, 10, unit="letters", help="words from")
    longest: int = knob(10, 4, 10, unit="letters", help="words to")

    def steps(self, session, rng):
        if self.shortest > self.longest:
            raise KnobError(f"Words from {self.shortest} to {self.longest} letters are none: raise Longest or lower Shortest.")
        lengths = range(self.shortest, self.longest + 1)
        pupils, source = self._pupils(session), random.Random(below(2**31, rng))
        drawn = {task: stratified(task, self.each, source, lengths) for task in GOLD}
        items, answers = [], {who: [] for who in pupils}
        pieces, shown = [], {}
        tasks = [self.task, *(task for task in GOLD if task != self.task)]
        turns = [(task, number) for number in range(self.each) for task in tasks]
        for done, (task, number) in enumerate(turns, 1):
            for item in drawn[task][number :: self.each]:  # one of each length
                items.append(item)
                for who, pupil in pupils.items():
                    told = "" if pupil.taught else _examples(task, source)
                    ids, inside, held = asked(item, pupil, self.cut == CUTS[1], told)
                    other = Session(pupil.runner, pupil.lead + ids)
                    other.ledger = session.ledger
                    answers[who].append(answer(other, pupil.vocabulary, 1 if pupil.taught else ROOM))
                    if who == self.arm:
                        pieces.append(held)
                        shown[task] = (item, inside, held, answers[who][-1])
            yield Step(emitted=[], notes={"done": done, "of": len(turns)} | self._notes(items, answers, pieces, shown))

    def _pupils(self, session) -> dict[str, Pupil]:
        """Who answers, by name: the three drafts and the chosen model."""
        found = {}
        for name in ARMS:
            runner = arm(name, session.runner.device, session.runner.dtype)
            found[name] = Pupil(runner, vocabulary_of(runner), [0], True)
        return found | {UNTAUGHT: Pupil(session.runner, session.vocabulary, [], False)}

    def _notes(self, items: list[Item], answers: dict, pieces: list[list[int]], shown: dict) -> dict:
        right = {who: [one == item.gold for one, item in zip(of, items)] for who, of in answers.items()}
        places = defaultdict(list)  # the items of each task
        for place, item in enumerate(items):
            places[item.task].append(place)
        here = places[self.task]
        tables = {task: [properties(items[place], pieces[place]) for place in of] for task, of in places.items()}
        r = {task: correlations([right[self.arm][at] for at in of], tables[task]) for task, of in places.items()}
        mine = [right[self.arm][place] for place in here]
        looked = ("WL", "TTL") if self.task in INDEXING else ("WL", "NT")
        wrong = {who: {place for place in here if not of[place]} for who, of in right.items()}
        latest = {
            task: {"word": item.word, "letter": item.letter, "gold": item.gold, "pieces": held, "answer": said, "ids": inside}
            for task, (item, inside, held, said) in shown.items()
        }
        return {
            "task": self.task,
            "who": self.arm,
            "cut": self.cut,
            "accuracy": {
                who: {task: [sum(of[place] for place in places[task]), len(places[task])] for task in places}
                for who, of in right.items()
            },
            "constant": {task: Counter(items[at].gold for at in of).most_common(1)[0][1] for task, of in places.items()},
            "r": r,
            "exam": self._exam(),
            "properties": list(PROPERTIES),
            "buckets": {name: buckets(mine, [row[name] for row in tables[self.task]]) for name in looked},
            "overlap": {who: overlap(wrong[self.arm], of) for who, of in wrong.items() if who != self.arm},
            "bias": bias([items[place].gold for place in here], [answers[self.arm][place] for place in here]),
            "table": [
                [items[place].word, items[place].letter, items[place].gold, answers[self.arm][place], *row.values()]
                for place, row in zip(here, tables[self.task])
            ],
            "latest": latest,
            "tokens": [one["ids"] for one in latest.values()],
        }

    def _exam(self) -> dict:
        """r of the chosen draft and task over all items that the training measured, and how many; empty for other answers."""
        known = [one for one in trained("arm", "tasks", "r") if one["arm"] == self.arm and self.cut == CUTS[0]]
        return {"r": known[0]["r"][self.task], "items": known[0]["tasks"][self.cut][self.task][1]} if known else {}


def _examples(task: str, source: random.Random) -> str:
    """Solved questions of this task, about words of the other split, each on a line of its own."""
    known = words(False)
    items = [ask(task, source.choice(known[source.choice(LENGTHS)]), source) for _ in range(EXAMPLES)]
    return "".join(f"{item.prompt}{item.gold}\n" for item in items)
