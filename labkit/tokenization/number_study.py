"""The study of P087: the same sums, their numbers cut from the left and from the right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from random import Random

from labkit import parts
from labkit.knobs import knob
from labkit.methods import Study
from labkit.tokenization import addition
from labkit.tokenization.numbers import DIRECTIONS, Sum, chunks, few_shot, problems, prompt, read
from labkit.trace import Step

READER, ADDERS, CHOSEN = "one that reads both", "one for each", "the chosen model"
AT_ONCE = 3  # problems of a step
ANSWER = 24  # tokens of a few-shot answer at most
PLACES = 10  # digits of the longest sum


@dataclass
class NumberChunks(Study):
    """Does it matter for sums from which side numbers are cut into chunks (P087)?

    A model of 0.5 M parameters that learned sums and nothing else (`labkit train numbers`) reads numbers cut either way. It is
    asked new sums, every second a digit longer than its addends; answers are greedy, and checked by integer arithmetic. Asked
    from the left, it also repeats the question cut from the right before it adds, as the paper has its models do. Measured after
    training (addends of 4 to 9 digits, right where the sum is as long / where it grows): l2r 98 % / 76 %, r2l 98 % / 84 %,
    repeated 97 % / 81 %; of 7 and 8 digits alone l2r 97.5 % / 80.5 %, r2l 98.5 % / 98.5 %, repeated 96 % / 94.5 %. Only where it
    is to repeat does a mark say so: addends of 6 or 9 digits are cut the same both ways, and the direction of the answer cannot
    be known. Sums of ten digits, which open a fourth chunk, were seldom seen and mostly go wrong, whatever the direction.

    *One for each* are two models of the same size, alike but for the direction: after as many steps r2l has 98 % / 82 %, l2r
    48 % / 48 %; it has not yet learned numbers of 7 digits and more, whether they grow or not. One seed each, so mind the luck.
    *The chosen model* gets the paper's few-shot prompts, with separators that force the direction; the shipped model of Python
    code has learned no sums and gets none right. The paper: GPT-3.5 with 8 shots 75.6 % (l2r) and 97.8 % (r2l); l2r about 8 %
    where the sum is longer.
    """

    name, title, paper = "number-chunks", "Which way numbers are cut", "P087"
    charts = ("number_columns", "number_errors", "number_learning")
    who: str = knob(READER, choices=(READER, ADDERS, CHOSEN), label="Who adds", help="small models, or the page's")
    digits: int = knob(8, *addition.DIGITS, help="of both addends")
    size: int = knob(3, 1, 4, label="Chunks drawn", help="their digits, in the picture")
    items: int = knob(90, 2, 400, unit="sums", help="half grow by a digit")
    separator: str = knob("comma", choices=("comma", "space"), help="in prompts (chosen model)")
    shots: int = knob(4, 1, 8, help="solved sums (chosen model)")

    def steps(self, session, rng):
        seed = int(rng.initial_seed())
        asked, each = (self._few_shot(session, seed), 1) if self.who == CHOSEN else (self._adders(session, seed), AT_ONCE)
        tallies: dict[str, dict] = {}
        notes = {"of": self.items, "size": self.size, "who": self.who, "learned": learned(self._names())}
        done, shown = 0, (0, None)
        while group := list(islice(asked, each)):
            for problem, answers in group:
                done += 1
                for way, said in answers.items():
                    tally(tallies.setdefault(way, fresh()), problem, said)
                telling = 1 + 2 * problem.grows + any(said != sum(problem) for said in answers.values())
                if telling >= shown[0]:
                    shown = telling, self._drawn(problem, answers)
            yield Step(emitted=[], notes={**notes, "done": done, "tallies": deepcopy(tallies), "shown": shown[1]})

    def _adders(self, session, seed: int) -> Iterator[tuple[Sum, dict[str, int | None]]]:
        runners = {way: addition.adder(name, str(session.runner.device)) for name in self._names() for way in addition.ways(name)}
        for problem in problems(self.items, self.digits, Random(2**41 + seed)):
            yield problem, {way: addition.answer(runner, problem, way) for way, runner in runners.items()}

    def _names(self) -> tuple[str, ...]:
        return {ADDERS: DIRECTIONS, READER: (addition.BOTH,), CHOSEN: ()}[self.who]

    def _few_shot(self, session, seed: int) -> Iterator[tuple[Sum, dict[str, int | None]]]:
        for problem, solved in few_shot(self.items, self.shots, seed):
            ways = ("nosep", f"{self.separator}_l2r", f"{self.separator}_r2l")
            yield problem, {way: self._written(session, prompt(problem, solved, way)) for way in ways}

    def _written(self, session, text: str) -> int | None:
        """The number that the chosen model writes greedily behind a prompt, up to the line's end."""
        ids = session.vocabulary.encode(text)
        other, written, said = session.open(ids[-(session.runner.context - ANSWER) :]), [], ""
        while "\n" not in said and len(written) < ANSWER:
            written.append(int(other.logits.argmax()))
            other.push(written[-1])
            said = session.vocabulary.decode(written)
        return read(said)

    def _drawn(self, problem: Sum, answers: dict[str, int | None]) -> dict:
        """One problem, cut both ways; "said" by the way it was asked, None = no number."""
        rows = {"a": problem.a, "b": problem.b, "sum": sum(problem)}
        cut = {way: {row: chunks(str(value), way, self.size) for row, value in rows.items()} for way in DIRECTIONS}
        for way, said in answers.items():
            direction = way[-3:]
            if direction in DIRECTIONS:
                cut[direction]["said"] = [] if said is None else chunks(str(said), direction, self.size)
        return cut


def fresh() -> dict:
    """Counters of one way: right answers and all, by length, by carries; wrong digits by place from the left, and answers that
    have the right length but a wrong digit, or another length."""
    by_place = {"places": [0] * PLACES, "long": [0] * PLACES}
    return {"same": [0, 0], "grows": [0, 0], "carries": [[0, 0] for _ in range(PLACES)], **by_place, "length": 0}


def tally(into: dict, problem: Sum, said: int | None) -> None:
    """Count one answer."""
    due, right = str(sum(problem)), said == sum(problem)
    for pair in (into["grows" if problem.grows else "same"], into["carries"][problem.carries]):
        pair[0] += right
        pair[1] += 1
    if said is None or len(str(said)) != len(due):
        into["length"] += 1
        return
    for place, (one, other) in enumerate(zip(due, str(said))):
        into["places"][place] += one != other
        into["long"][place] += 1


def learned(names: tuple[str, ...]) -> dict[str, list[tuple[int, dict]]]:
    """How the models came to add, from the figures that go with them: for each way to cut (step, shares of right answers)."""
    found = {}
    for name in names:
        figures = json.loads((parts.FOLDER / f"numbers-{name}.json").read_text(encoding="utf-8"))
        for way in addition.ways(name):
            found[way] = [(look["step"], look["accuracy"][way]) for look in figures["curve"]]
    return found
