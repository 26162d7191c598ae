"""The perfect model of the small problems: exact conditionals instead of a network, so that what goes wrong is the decoder's."""

from __future__ import annotations

from functools import lru_cache
from math import log

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.diffusion.lists import (
    END,
    FACES,
    HEAD,
    ITEMS,
    LENGTH,
    MASK,
    VOCABULARY,
    Tokens,
    answers,
    listed,
    task_of,
)
from labkit.ledger import Ledger

LEAST = 1e-35  # a probability of zero is told as this, so that logarithms stay numbers


class Perfect:
    """p(token | problem, what is final), computed from all right answers; called like a `MaskPredictor`, one forward a call.

    Where what is final fits no right answer any more, the places left are told as if nothing were final.
    """

    mask, end, shift, context, vocabulary = MASK, END, False, LENGTH, VOCABULARY
    device = torch.device("cpu")
    quantiles = [place / 100 for place in range(101)]

    def __call__(self, ids: Tensor, ledger: Ledger) -> Tensor:
        """ln p [B, L, V] in float64 at every masked place of ids [B, L]; the others' rows say nothing."""
        rows, length = ids.shape
        ids = ids.cpu()
        with ledger.forward(self, rows * length, 1, length):
            told = torch.full((rows, length, VOCABULARY), log(LEAST), dtype=torch.float64)
            problems, which = ids[:, :HEAD].unique(dim=0, return_inverse=True)
            for number, problem in enumerate(problems.tolist()):
                mine = (which == number).nonzero()[:, 0]
                told[mine, HEAD:] = conditionals(tuple(problem), ids[mine, HEAD:]).clamp(min=LEAST).log()
            return told

    def flops(self, length: int) -> int:
        """No network runs."""
        return 0


def conditionals(problem: Tokens, made: Tensor) -> Tensor:
    """The law of every place [R, Y, V] given what is final in answers [R, Y] with masks; only masked places matter."""
    task = task_of(problem)
    if task == "shuffle":
        return _unused(torch.tensor(listed(problem)), made)
    return _dominoes(made) if task == "domino" else _counted(problem, made)


def _unused(items: Tensor, made: Tensor) -> Tensor:
    """Every item that does not stand anywhere yet, evenly."""
    free = (~(made[:, :, None] == items).any(1)).double()
    law = torch.zeros(len(made), VOCABULARY, dtype=torch.float64)
    law[:, items] = free / free.sum(1, keepdim=True).clamp(min=1)
    return law[:, None].expand(*made.shape, VOCABULARY)


def _dominoes(made: Tensor) -> Tensor:
    """The neighbour's face where a neighbour is final, any face where none is."""
    one = torch.full((len(made), 1), MASK)
    left, right = torch.cat([one, made[:, :-1]], 1), torch.cat([made[:, 1:], one], 1)
    faces = torch.arange(FACES)
    fits_left = (left == MASK)[..., None] | ((left - ITEMS[0])[..., None] % FACES == faces)
    fits_right = (right == MASK)[..., None] | ((right - ITEMS[0])[..., None] // FACES == faces)
    fitting = (fits_left[..., :, None] & fits_right[..., None, :]).flatten(2).double()
    law = torch.zeros(*made.shape, VOCABULARY, dtype=torch.float64)
    law[..., ITEMS[0] : ITEMS[-1] + 1] = fitting / fitting.sum(-1, keepdim=True)
    return law


def _counted(problem: Tokens, made: Tensor) -> Tensor:
    """The shares of the answers that agree with what is final."""
    table, values = _table(problem)
    told = F.one_hot(made, VOCABULARY)[..., values].flatten(1).float()  # [R, Y * values]; a mask is none of them
    agree = ((told @ table.t()) == (made != MASK).sum(1, keepdim=True)).float()  # [R, S]
    agree = torch.where(agree.any(1, keepdim=True), agree, 1.0)
    shares = (agree @ table).double() / agree.sum(1, keepdim=True)
    law = torch.zeros(*made.shape, VOCABULARY, dtype=torch.float64)
    law[..., values] = shares.view(*made.shape, len(values))
    return law


@lru_cache(64)
def _table(problem: Tokens) -> tuple[Tensor, Tensor]:
    """All right answers as ones and zeros [S, Y * values], and the tokens (values) that occur in them."""
    every = torch.tensor(answers(problem))
    values, which = every.unique(return_inverse=True)
    return F.one_hot(which, len(values)).flatten(1).float(), values
