"""A small any-subset model over five letters, whose answers are remembered: laws that can be enumerated."""

from __future__ import annotations

import itertools
from functools import cache

import tiny_models
import torch
from torch import Tensor

from labkit.diffusion.asarm import PART, AsArm, Shape, two_stream
from labkit.lm import Session

LETTERS = 5
SHAPE = Shape(vocabulary=LETTERS, width=16, layers=2, heads=2, inner=24)


def random_model(shape: Shape = SHAPE, spread: float = 0.5) -> AsArm:
    """Random weights, large enough that places matter to each other; in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = AsArm(shape).double().requires_grad_(False)
        for weight in model.parameters():
            weight.copy_(spread * torch.randn_like(weight) + (weight.ndim == 1))
    return model


class Remembering:
    """The model, but a question asked before is answered from memory."""

    def __init__(self, model: AsArm):
        self.model, self.shape, self.mask, self.known = model, model.shape, model.mask, {}

    def __call__(self, *question: Tensor) -> Tensor:
        key = tuple(str(part.tolist()) for part in question)
        if key not in self.known:
            self.known[key] = self.model(*question)
        return self.known[key].clone()


def letters_pair(model) -> object:
    """A pair over the letters whose sessions find `model` where the shipped any-subset model would be."""
    pair = tiny_models.letters_pair("llama, grouped, tied", LETTERS)
    pair.memory[PART] = model
    return pair


@cache
def _runner():
    return tiny_models.letters_pair("llama, grouped, tied", LETTERS).target


def session_of(law) -> Session:
    """A session whose model is never asked."""
    return Session(_runner(), [1], law)


def joint(model: AsArm, given: list[int], places: list[int], law) -> dict[tuple[int, ...], float]:
    """The density of every filling of `places` (in the order of their ranks), by one two-stream pass over all of them."""
    fillings = torch.tensor(list(itertools.product(range(LETTERS), repeat=len(places))))
    ids = torch.tensor(given).expand(len(fillings), -1).clone()
    ids[:, places] = fillings
    laws = law(two_stream(model, ids, torch.tensor(places).expand(len(fillings), -1)))
    chances = laws.gather(2, fillings[:, :, None])[:, :, 0].prod(1)
    return dict(zip(map(tuple, fillings.tolist()), chances.tolist()))
