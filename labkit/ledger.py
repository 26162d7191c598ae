"""What a model's forwards cost: counted and timed as they run, and the two ways in which they can fail said in a sentence."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import cached_property
from typing import Iterator

import torch

from labkit.errors import LabError, PromptError


class Ledger:
    """Counts forwards, tokens, layers and seconds of one model of a run; target and draft have one each.

    `layers`: how often a layer was run, whatever the number of tokens that went through it at once.
    """

    def __init__(self):
        self.forwards = self.tokens = self.layers = 0
        self.seconds = 0.0

    @cached_property
    def early(self) -> Ledger:
        """Of forwards that ended early, through the first layers only: they count as drafting."""
        return Ledger()

    @contextmanager
    def forward(self, runner, tokens: int, layers: int, length: int) -> Iterator[None]:
        """A forward of `tokens` through `layers` runs inside. Raises `PromptError` when the context would hold `length` tokens
        and cannot, `LabError` when memory runs out."""
        if length > runner.context:  # a wide tree may hold more tokens than there are places left
            raise PromptError(
                f"The context would grow to {length:,} tokens, the model holds {runner.context:,}: "
                f"use a shorter prompt or fewer new tokens."
            )
        try:
            with self.timed(runner):
                yield
        except torch.OutOfMemoryError:
            raise LabError(
                f"Out of memory at {length:,} tokens of context: use a shorter prompt, a smaller tree or model."
            ) from None
        self.forwards += 1
        self.tokens += tokens
        self.layers += layers

    @contextmanager
    def timed(self, runner) -> Iterator[None]:
        """What runs inside takes this model's time."""
        started = time.perf_counter()
        with torch.inference_mode():
            yield
        if runner.device.type == "cuda":
            torch.cuda.synchronize(runner.device)
        self.seconds += time.perf_counter() - started
