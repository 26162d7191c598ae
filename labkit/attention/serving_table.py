"""What an iteration of a server takes: measured on this machine with the real model, or by the roofline of a known device."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Iterator

import torch

from labkit.attention.packed import Packed
from labkit.errors import ModelError
from labkit.ledger import Ledger
from labkit.lm import Session

CHUNKS = (0, 1, 8, 32, 128, 512)  # rows of a prompt
DECODES = (0, 1, 4, 16)
SHORT, LONG = 64, 512  # tokens before them
KEY = "serving table"
MANY = 128  # rows; so many are timed twice, fewer rows three times: the quickest counts, since other work can only slow one down


@dataclass(frozen=True)
class Table:
    """Seconds of one forward by rows of a prompt and rows of decodes, `short[chunk][decode]`, behind `SHORT` tokens each.

    `reading` and `writing` are what a further token of context adds, by rows of either kind alone. Between the measured sizes
    a straight line, beyond the largest the last one goes on.
    """

    short: tuple[tuple[float, ...], ...]  # [len(CHUNKS)][len(DECODES)]
    reading: tuple[float, ...]  # [len(CHUNKS)]
    writing: tuple[float, ...]  # [len(DECODES)]

    def seconds(self, reads: list[tuple[int, int]], contexts: list[int]) -> float:
        """Of an iteration: `reads` are rows of a prompt and the tokens before them; each of `contexts` (tokens) is a decode."""
        chunk, decodes = sum(rows for rows, _ in reads), len(contexts)
        more = sum(_between(CHUNKS, self.reading, rows) * (behind - SHORT) for rows, behind in reads)
        if decodes:
            more += _between(DECODES, self.writing, decodes) * (sum(contexts) / decodes - SHORT)
        whole = _between(CHUNKS, [_between(DECODES, row, decodes) for row in self.short], chunk)
        return max(whole + more, whole / 10)  # noise in a slope must not turn time back


def _between(places: tuple[int, ...], values, place: int) -> float:
    """The value at `place`; a straight line between the known places and beyond the last."""
    right = min(max(bisect_left(places, place), 1), len(places) - 1)
    (low, high), (at_low, at_high) = places[right - 1 : right + 1], values[right - 1 : right + 1]
    return at_low + (at_high - at_low) * (place - low) / (high - low)


def measure(session: Session) -> Iterator[tuple[int, int]]:
    """Measure the table of the session's model into its memory, one forward size a step: (done, of). Nothing when it is there.

    Its forwards are counted nowhere. The table depends on the machine and whatever else it does. Raises `ModelError` when the
    model's context is too short for it.
    """
    if KEY in session.memory:
        return
    if session.runner.context < LONG + CHUNKS[-1]:
        need = f"{LONG + CHUNKS[-1]:,}"
        raise ModelError(f"The model holds {session.runner.context:,} tokens, the table needs {need}: choose another clock.")
    packed, found = Packed(session.runner, Ledger()), {}
    cells = [(chunk, decodes, SHORT) for chunk in CHUNKS for decodes in DECODES if chunk + decodes]
    cells += [(chunk, 0, LONG) for chunk in CHUNKS[1:]] + [(0, decodes, LONG) for decodes in DECODES[1:]]
    for cell in cells:
        found[cell] = _quickest(packed, *cell)
        yield len(found), len(cells)
    known = tuple(tuple(found.get((chunk, decodes, SHORT), 0.0) for decodes in DECODES) for chunk in CHUNKS)
    reading = [(found[chunk, 0, LONG] - found[chunk, 0, SHORT]) / (LONG - SHORT) for chunk in CHUNKS[1:]]
    writing = [(found[0, decodes, LONG] - found[0, decodes, SHORT]) / (LONG - SHORT) for decodes in DECODES[1:]]
    session.memory[KEY] = Table(known, (0.0, *reading), (0.0, *writing))


@torch.inference_mode()
def _quickest(packed: Packed, chunk: int, decodes: int, context: int) -> float:
    """Seconds of the quickest of a few forwards of this size; what stands in the caches is noise, which costs the same."""
    parts = [(_filled(packed, context), [1] * rows) for rows in (chunk, *[1] * decodes) if rows]
    best = math.inf
    for _ in range(2 if chunk >= MANY else 3):
        before = packed.ledger.seconds
        packed.feed(parts, max(chunk - 1, 0))
        best = min(best, packed.ledger.seconds - before)
        for cache, _ in parts:
            cache.keep(context, [])
    return best


def _filled(packed: Packed, context: int):
    cache = packed.fresh()
    cache.room(context)[:, :, :, :context] = 0.5
    cache.length = context
    return cache


@dataclass(frozen=True)
class Roofline:
    """A device and a model on paper: every product takes the longer of its arithmetic and its memory traffic, at peak rates.

    A model, not a measurement: no launch costs, no caches, nothing below the peak. Products run on whole tiles of `tile` rows;
    16-bit weights and caches. Rates from the makers' data sheets (dense), shapes from the models' papers.
    """

    flops: float  # a second
    bandwidth: float  # bytes a second
    memory: float  # bytes
    parameters: float
    layers: int
    width: int
    tile: int = 128

    @property
    def token_bytes(self) -> int:
        """Bytes of keys and values a token, without grouped heads."""
        return 2 * self.layers * self.width * 2

    def most(self, length: int) -> int:
        """B: how many sequences of `length` tokens fit into memory beside the weights."""
        return math.floor((self.memory - 2 * self.parameters) / (length * self.token_bytes))

    def seconds(self, reads: list[tuple[int, int]], contexts: list[int]) -> float:
        """Of an iteration, as `Table.seconds`."""
        rows = math.ceil((sum(rows for rows, _ in reads) + len(contexts)) / self.tile) * self.tile
        fused = self._longer(2 * self.parameters * rows, 2 * self.parameters)
        pairs = [rows * behind + rows * (rows + 1) / 2 for rows, behind in reads]  # of a query and a key
        apart = sum(self._attention(seen, rows + behind) for seen, (rows, behind) in zip(pairs, reads))
        return fused + apart + self._attention(sum(contexts), sum(contexts))

    def _attention(self, pairs: float, tokens: int) -> float:
        return self._longer(4 * self.layers * self.width * pairs, tokens * self.token_bytes)

    def _longer(self, operations: float, moved: float) -> float:
        return max(operations / self.flops, moved / self.bandwidth)


LLAMA_13B = {"parameters": 13.0e9, "layers": 40, "width": 5120}
PRESETS = {
    "A6000 (model)": Roofline(154.8e12, 768e9, 48e9, **LLAMA_13B),
    "H100 (model)": Roofline(989e12, 3.35e12, 80e9, **LLAMA_13B),
}
