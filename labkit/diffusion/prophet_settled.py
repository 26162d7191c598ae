"""P185's discovery, counted: when does the final answer stand for good, and when would Prophet have stopped?"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Iterator

import torch
from torch import Tensor

from labkit.diffusion.ground import State, predictor_of
from labkit.diffusion.lists import LENGTH, TASKS, draw, length, valid
from labkit.diffusion.parallel_cost import trained
from labkit.diffusion.predictor import MaskPredictor
from labkit.diffusion.prophet import Prophet
from labkit.knobs import knob
from labkit.law import Law
from labkit.lm import Session
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.trace import Step

PYTHON, ROOM = "python", 24  # places of a text's answer


class Patient(Prophet):
    """Prophet, who never stops and only says when he would have: the very rounds of static decoding."""

    def stop(self, state: State, logits: Tensor) -> bool:
        self.would = super().stop(state, logits)
        return False

    def noted(self, state: State) -> dict:
        return super().noted(state) | {"would": self.would}


def answers(rounds: list[Step]) -> list[dict[int, int]]:
    """What each round would answer if it were the last: tokens by place, the final ones and the guesses."""
    found, done = [], {}
    for step in rounds:
        found.append(done | dict(zip(step.notes["places"], step.notes["tokens"][0])))
        done = done | dict(zip(step.at, step.emitted))
    return found


def settled(found: list[list[int]]) -> int:
    """The first round, from 1, from which on every answer is the last one."""
    different = [number for number, answer in enumerate(found, 1) if answer != found[-1]]
    return different[-1] + 1 if different else 1


@dataclass
class ProphetSettled(Study):
    """From which round on does the final answer stand, and is that when Prophet stops (P185)?

    Static decoding, greedy whatever the temperature. Each round names a token for every place; the answer has settled in the
    first round from which these never change again, up to the end of text. Prophet's rule is asked in every round and not
    obeyed, so both are told of the same run: he stops in the first round that he would, and takes that round's answer. Python:
    held-out prompts, answers of 24 places in one block. Lists: `mdm-lists`; the whole answer, which is right or wrong. The paper
    (LLaDA-8B): 97 to 99 % of the answers stand after half of the rounds.
    """

    name, title, paper = "prophet-settled", "When answers settle", "P185"
    charts = ("prophet_settled",)
    task: str = knob(PYTHON, choices=(PYTHON, *TASKS), help="what is answered")
    texts: int = knob(24, 4, 60, unit="answers", label="Answers", help="one a step")
    n: int = knob(10, 3, 12, unit="items", help="of a list")
    early: float = knob(7.5, 0.0, 20.0, help="lead to stop in the first third", step=0.1)
    middle: float = knob(5.0, 0.0, 20.0, help="lead to stop in the second third", step=0.1)
    late: float = knob(2.5, 0.0, 20.0, help="lead to stop in the last third", step=0.1)
    region: int = knob(5, 0, 64, unit="places", help="masked places that must be ahead; 0 = all")

    def steps(self, session: Session, rng: torch.Generator) -> Iterator[Step]:
        bars = {"early": self.early, "middle": self.middle, "late": self.late, "region": self.region}
        policy, runs = Patient(block=LENGTH, **bars), []
        for network, state, problem in self.asked(session, Random(int(rng.initial_seed()))):
            twin = session.open(state.ids[: state.first].tolist())
            twin.law = Law(0)
            rounds = list(policy.fill(state, network, twin, rng))
            found = answers(rounds)
            ends = [place for place, token in found[-1].items() if token == network.end]
            size = min(ends, default=state.last - state.first - 1) + 1
            found = [[answer[place] for place in range(size)] for answer in found]
            leaves = next((number for number, step in enumerate(rounds, 1) if step.notes["would"]), len(rounds))
            run = {"rounds": policy.schedule, "settled": settled(found), "exit": leaves, "same": found[leaves - 1] == found[-1]}
            if problem:
                run |= {"right": valid(problem, tuple(found[-1])), "right_then": valid(problem, tuple(found[leaves - 1]))}
            runs = [*runs, run]
            yield Step(emitted=[], notes={"done": len(runs), "of": self.texts, "task": self.task, "runs": runs})

    def asked(self, session: Session, draws: Random) -> Iterator[tuple[MaskPredictor, State, tuple[int, ...]]]:
        """The network, the text to fill, and of a list its problem (empty = Python)."""
        if self.task == PYTHON:
            network = predictor_of(session)
            for text in heldout(self.texts):
                ids = session.vocabulary.encode(text)[-(network.context - ROOM) :]
                yield network, State(ids, ROOM, network.mask, network.end, network.device), ()
            return
        network = trained(str(session.runner.device))
        for _ in range(self.texts):
            problem = draw(self.task, self.n, draws)[0]
            yield network, State(list(problem), length(problem), network.mask, network.end, network.device), problem
