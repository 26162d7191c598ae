"""Maps of attention, queries by positions, in cells small enough to draw."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from labkit.attention.ground import Witness

CELLS = 96  # a side, at most


class Map:
    """Rows of what queries gave to the positions before them, put together piece by piece."""

    def __init__(self):
        self.parts: list[tuple[int, Tensor]] = []

    def add(self, first: int, rows: Tensor) -> None:
        """Rows [n, up to N] of the queries at `first`, `first` + 1, ...; what lies behind a query does not count."""
        self.parts.append((first, rows.tril(first).float().cpu()))

    def cells(self) -> dict[str, Any]:
        """`width` tokens a cell; "rows": see `coarse`."""
        length = max((first + len(rows) for first, rows in self.parts), default=0)
        width = max(1, -(-length // CELLS))
        whole = torch.zeros(length, length)
        for first, rows in self.parts:
            whole[first : first + len(rows), : rows.shape[1]] = rows
        return {"width": width, "length": length, "rows": coarse(whole, width)}


def coarse(whole: Tensor, width: int) -> list[list[int]]:
    """[N, N] as cells of `width` by `width`: means over queries of sums over positions, in thousandths, up to the diagonal."""
    length = whole.shape[0]
    short = -length % width
    padded = functional.pad(whole, (0, short, 0, short))
    sums = padded.unflatten(0, (-1, width)).unflatten(2, (-1, width)).sum((1, 3))
    queries = torch.full((len(sums),), width)
    if len(sums):
        queries[-1] = width - short
    cells = (1000 * sums / queries[:, None]).round().int().tolist()
    return [row[: number + 1] for number, row in enumerate(cells)]


def folded(rows: Tensor, width: int) -> list[list[int]]:
    """Rows [n, N] as cells of `width` positions: sums, in thousandths."""
    cells = functional.pad(rows, (0, -rows.shape[1] % width)).unflatten(1, (-1, width)).sum(-1)
    return (1000 * cells).round().int().tolist()


class Drawn(Witness):
    """A witness that keeps the map of one layer's attention over the prompt, a mean over its heads."""

    def __init__(self, layer: int):
        super().__init__()
        self.layer, self.map = layer, Map()

    def observe(self, layer, query, probs, selection):
        if layer == self.layer and query.shape[2] > 1:
            self.map.add(sum(len(rows) for _, rows in self.map.parts), probs.mean((0, 1)))
