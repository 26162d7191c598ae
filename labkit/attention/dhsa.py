"""P056 DHSA: cut the text where attention changes, score the chunks, read the tokens of the best ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.attention.dhsa_chunks import (
    NORMS,
    RATIO,
    WINDOW,
    best_gaps,
    chunk_scores,
    labels,
    load_predictor,
    ranked,
    spread,
)
from labkit.attention.ground import Policy, Selection, runs, turned
from labkit.attention.maps import Drawn, Map
from labkit.knobs import knob

SOURCES = ("predicted", "oracle", "lines", "fixed size")


@dataclass
class DHSA(Policy):
    """Cut the text into chunks, score each chunk by one product, and read only the tokens of the best ones (P056).

    1. A small trained predictor looks at the keys around every gap; the best gaps above its threshold, none within `apart` of a
    better one, are the cuts. 2. A chunk's key is the sum of its keys (a mean over heads) over its length to a power: "mean",
    "sqrt" or "sum". 3. A block of 16 queries of the prompt, or the one query of a step, is averaged over tokens and heads, and
    multiplied with the chunks' keys. 4. Every token has its chunk's score. The block reads itself, the `local` tokens before
    it, the `first` ones, and then the best, up to `budget` of the tokens so far; the last chunk may be read in part, from its
    beginning. All heads of a layer read the same tokens.

    `heads` "apart" sums each head's own product in place of the product of means, which blurs heads that look for different
    things (ours). `cuts`: "oracle" takes the labels that the predictor learned from, made of dense attention over the whole
    prompt, later rows too, so it is no way to decode; behind the prompt it cuts no more. "lines" cuts behind line breaks, "fixed
    size" every `size` tokens (block sparse attention); for these `chunks` and `apart` do not count. The last `question` tokens of
    a prompt read everything, in the paper always.

    Each block cuts only what it may see, so that later text changes no earlier block (inferred: the release cuts the prompt
    once). Running sums of the keys and the gaps' scores are held beside the cache: a quarter more bytes on the shipped target.
    Left out: cuts shared across layers, cuts at statements (prompts end in the middle of one, and no parser takes them). The
    shipped target's attention is mostly near: at a quarter of the tokens all this catches half a point in a hundred more of it
    than the newest tokens do, and with "mean" in place of the paper's "sqrt" nearly one (see `dhsa-recall`).
    """

    name, title, paper = "dhsa", "DHSA", "P056"
    leaf = "select"
    charts = ("dhsa_cuts", "dhsa_maps", "cache_cost")
    chunk = 16  # queries of a block
    whole = {"budget": 1.0, "cuts": "fixed size"}
    budget: float = knob(0.25, 0.05, 1.0, unit="of the tokens", help="tokens read", step=0.05)
    cuts: str = knob("predicted", choices=SOURCES, help="what ends a chunk")
    norm: str = knob("sqrt", choices=tuple(NORMS), label="Normalisation", help="of a chunk's key")
    chunks: int = knob(32, 4, 128, help="chunks at most", scale="log")
    layer: int = knob(4, 0, 63, label="Layer drawn", help="in the pictures")
    local: int = knob(16, 0, 64, unit="tokens", help="read, before the block")
    first: int = knob(4, 0, 16, unit="tokens", help="read, at the beginning")
    apart: int = knob(8, 0, 16, unit="tokens", help="between two cuts")
    size: int = knob(16, 2, 64, unit="tokens", help="of a fixed chunk")
    heads: str = knob("averaged", choices=("averaged", "apart"), help="of a chunk's score")
    question: int = knob(0, 0, 64, unit="tokens", help="last ones, read all")

    def prepare(self, session):
        self.ids, self.vocabulary, self.breaks, self.looked = session.ids, session.vocabulary, [], 0
        if self.cuts == "predicted":
            self.predictor = load_predictor(session.runner)
        elif self.cuts == "oracle":
            self.truth = labels(session)

    def begin(self, spec):
        super().begin(spec)
        self.shown = min(self.layer, spec.layers - 1)
        self.map = Map()  # of what the prompt's blocks read in that layer
        self.told = False  # was the map given away?
        self.last: Tensor | None = None  # the tokens that the newest query reads there; None = all

    def append(self, layer, keys, values, positions):
        slots, row = self.slots[layer], keys.mean(0) if self.heads == "averaged" else keys.transpose(0, 1).flatten(1)
        sums = (row if row.dtype == torch.float64 else row.float()).cumsum(0)
        if slots.length:
            sums = sums + slots["sums"][0, -1]
        gaps = torch.full((1, len(sums)), float("-inf"), device=sums.device)
        slots.append(positions, keys=keys, values=values, sums=sums[None], gaps=gaps)
        if self.cuts == "predicted":
            self._predict(layer, keys.shape[1])

    def _predict(self, layer: int, new: int) -> None:
        """Score the gaps whose windows the `new` tokens have filled."""
        slots = self.slots[layer]
        start = max(0, slots.length - new - 2 * WINDOW + 1)
        if slots.length - start < 2 * WINDOW:
            return
        keys = turned(slots.keys[:, start:], self.spec.turns[slots.positions[0, start:].long(), 0], back=True)
        states = self.predictor.lifted(keys.transpose(0, 1).flatten(1).float())
        logits = self.predictor.decide(states.unfold(0, 2 * WINDOW, 1).transpose(1, 2), layer)
        slots["gaps"][0, start + WINDOW - 1 : slots.length - WINDOW] = logits

    def select(self, layer, query, positions):
        slots, new = self.slots[layer], query.shape[2]
        held = int(positions[-1]) + 1
        budget = max(round(self.budget * held), min(held, self.first + self.local + new))
        if new > 1 and held > slots.length - self.question:
            budget = held
        index = None
        if budget < held:
            edges = self.edges(layer, held)
            scores = chunk_scores(self.asking(query), slots["sums"][0], edges, self.norm)
            index = ranked(spread(scores, edges), self.first, self.local + new)[:budget].sort().values
            self.taken += len(scores) * slots.bytes("sums") // slots.length  # one row of the running sums a chunk
            self.taken += slots.bytes("gaps") if self.cuts in ("predicted", "oracle") else 0
        elif held < slots.length:
            index = torch.arange(held, device=query.device)
        if layer == self.shown:
            self.last = index
            if new > 1:
                self.map.add(int(positions[0]), marked(index, new, held))
        return None if index is None else Selection(index.expand(self.spec.kv_heads, -1))

    def asking(self, query: Tensor) -> Tensor:
        """The block's one query, the mean of its queries [kv_heads, g, n, size]; with heads apart, one for each key head."""
        return query.mean((0, 1, 2)) if self.heads == "averaged" else query.mean((1, 2)).flatten()

    def edges(self, layer: int, held: int) -> Tensor:
        """Where chunks of the first `held` tokens begin, and behind them `held`: [chunks + 1]."""
        if self.cuts == "fixed size":
            cuts = range(self.size, held, self.size)
        elif self.cuts == "lines":
            cuts = self._lines(held)
        else:
            scores = self.slots[layer]["gaps"][0] if self.cuts == "predicted" else self.truth[layer]
            floor = 0.0 if self.cuts == "predicted" else RATIO
            gaps = best_gaps(scores[: max(0, held - WINDOW)], self.chunks - 1, self.apart, floor)
            cuts = (gap + 1 for gap in gaps)
        return torch.tensor([0, *cuts, held], device=self.spec.device)

    def _lines(self, held: int) -> list[int]:
        for place in range(self.looked, held):
            if "\n" in self.vocabulary.piece(self.ids[place]):
                self.breaks.append(place + 1)
        self.looked = max(self.looked, held)
        return [place for place in self.breaks if place < held]

    def witness(self):
        self.dense = Drawn(self.shown)
        return self.dense

    def notes(self):
        edges = self.edges(self.shown, self.fed).tolist()
        read = runs(range(self.fed) if self.last is None else self.last.tolist())
        found = {"layer": self.shown, "edges": edges, "reads": read}
        if not self.told:  # what the prompt's blocks read, once
            self.told = True
            found["prompt"] = {"kept": self.map.cells(), "dense": self.dense.map.cells() if self.compare else None}
        return found


def marked(index: Tensor | None, rows: int, width: int) -> Tensor:
    """Rows [rows, width] that are 1 at the positions `index` (None = all) and else 0."""
    if index is None:
        return torch.ones(rows, width)
    return torch.zeros(width).index_fill(0, index.cpu(), 1.0).expand(rows, -1)
