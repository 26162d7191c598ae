"""Several sequences in one rectangle though each grows at its own pace: the shared part of EQSPEC and EXSPEC (P050).

After a round of speculation row i has gained a_i + 1 tokens, another number in every row. Four things must stay in step: token
ids, attention mask, positions, and the rows of the KV cache. Here every row has its own ids and lengths, and a rectangle is
laid out anew from them; nothing is ever found by looking for the padding token.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Iterator, NamedTuple

import torch
from torch import Tensor

from labkit.lm import Session

EQ, EX = "EQSPEC", "EXSPEC"
BY_COLUMN, UNCROPPED = "broken: positions by column", "broken: cache not cropped"
VARIANTS = (EQ, EX, BY_COLUMN, UNCROPPED)


@dataclass(eq=False)  # a row is itself, whatever it holds
class Row:
    """One sequence, of three tokens at least.

    `pasts` are the keys and values of target and draft (see `LlamaCache.part`), views into a rectangle. The target's past has
    all tokens but the newest; the draft's lacks the newest two, since after a round in which all drafts survive it has not seen
    the last of them.
    """

    number: int
    ids: list[int]
    prompt: int  # tokens
    pasts: list[Tensor] = field(default_factory=list)
    done: bool = False

    @property
    def new(self) -> list[int]:
        """What was written behind the prompt."""
        return self.ids[self.prompt :]


class Rectangle:
    """Rows of one model, right ends aligned: row i stands behind `pads[i]` empty columns. One call feeds them all."""

    def __init__(self, model: Session, parts: list[Tensor], spare: int):
        self.model, self.lengths = model, [part.shape[3] for part in parts]
        width = max(self.lengths)
        self.pads = [width - length for length in self.lengths]
        self.cache = model.runner.new_cache().join(parts, self.pads, spare)
        self.edge = torch.tensor(self.pads, device=model.runner.device)[:, None, None, None]

    def feed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Logits [B, n, V] behind `tokens` [B, n], which stand at `positions` [B, n] and behind all columns fed so far."""
        runner = self.model.runner
        rows, new = tokens.shape
        past = self.cache.length
        column = torch.arange(past + new, device=runner.device)
        unseen = (column < self.edge) | (column > column[past:, None])  # [B, 1, n, past + n]: padding, and what comes later
        mask = torch.zeros(unseen.shape, dtype=runner.dtype, device=runner.device).masked_fill_(unseen, float("-inf"))
        with self.model.ledger.forward(runner, tokens.numel(), runner.depth, int(positions.max()) + 1):
            logits, _ = runner.forward(tokens.flatten(), positions.flatten(), mask, self.cache, 0, False)
        return logits.view(rows, new, -1)

    def part(self, row: int, length: int) -> Tensor:
        """The first `length` tokens of a row, without its padding."""
        return self.cache.part(row, self.pads[row], self.pads[row] + length)

    def stands(self, parts: list[Tensor]) -> bool:
        """Could these parts of its rows stay in their columns? Then it is enough to forget what is behind them."""
        ends = {pad + part.shape[3] for pad, part in zip(self.pads, parts)}
        return len(ends) == 1

    def crop(self, parts: list[Tensor]) -> None:
        """Forget what is behind `parts`, for which `stands` is true."""
        self.lengths = [part.shape[3] for part in parts]
        self.cache.keep(self.pads[0] + self.lengths[0], [])


@dataclass
class Batch:
    """Rounds of greedy chain speculation over chosen rows: align, draft, verify in one call, write back.

    `drafted` tokens a round at most, `budget` new tokens a row (prompt and budget must fit into both contexts), `ends` end a row.
    `seconds` by kind of work: "read" (prompts), "draft", "verify", "realign" (rows moved to another padding), "stack" (rows of
    one length put together, nothing to pad).
    """

    session: Session
    drafted: int
    budget: int
    ends: frozenset[int]
    variant: str = EQ
    seconds: Counter = field(default_factory=Counter)
    calls: int = 0  # of the target, to verify
    tokens: int = 0  # that the rows gained
    realigned: bool = False  # did the last round begin with a move to another padding?
    _last: tuple[list[Row], list[Rectangle]] | None = None

    @torch.inference_mode()
    def read(self, row: Row) -> None:
        """The prompt's keys and values, in both models; the row then is as every row between two rounds."""
        with self._clock("read"):
            for model, unseen in ((self.session, 1), (self.session.draft, 2)):
                reader = Session(model.runner, row.ids[: len(row.ids) - unseen])
                reader.ledger = model.ledger
                _ = reader.logits  # one forward
                row.pasts.append(reader.cache.part(0, 0, len(reader.ids)))

    @torch.inference_mode()
    def round(self, rows: list[Row]) -> list[tuple]:
        """One round over `rows`; one tuple a row: (number, padding, past, drafts accepted, drafts refused), in columns."""
        length = min(self.drafted, min(self.budget - len(row.new) for row in rows))
        target, draft = self._align(rows, length + 2)
        sizes = torch.tensor([len(row.ids) for row in rows], device=target.edge.device)[:, None]  # [B, 1]
        if self.variant == BY_COLUMN:  # wrong: the padding is counted
            sizes = sizes + target.edge[:, :, 0, 0]
        steps = torch.arange(length + 1, device=sizes.device)

        with self._clock("draft"):
            known = torch.tensor([row.ids[-2:] for row in rows], device=sizes.device)
            logits = draft.feed(known, sizes - 2 + steps[:2])
            drafts = [logits[:, -1].argmax(-1)]
            while len(drafts) < length:
                logits = draft.feed(drafts[-1][:, None], sizes + (len(drafts) - 1))
                drafts.append(logits[:, -1].argmax(-1))
            block = torch.stack([known[:, -1], *drafts], 1)  # [B, length + 1]
        with self._clock("verify"):
            best = target.feed(block, sizes - 1 + steps).argmax(-1)  # [B, length + 1]
            agreed = (best[:, :-1] == block[:, 1:]).long().cumprod(1).sum(1).tolist()
            written, best = block[:, 1:].tolist(), best.tolist()
            self.calls += 1

        found = []
        for place, (row, kept) in enumerate(zip(rows, agreed)):
            past = target.lengths[place] + 1  # the newest token's keys and values are there now too
            found.append((row.number, target.pads[place], past, kept, length - kept))
            self._append(row, [*written[place][:kept], best[place][kept]])
            row.pasts = [] if row.done else [
                target.part(place, past + length if self.variant == UNCROPPED else past + kept),  # wrong: refused drafts stay
                draft.part(place, len(row.ids) - 2),
            ]
        self._last = rows, [target, draft]
        return found

    def _append(self, row: Row, tokens: list[int]) -> None:
        """What a row gained, up to the end of its text or its budget."""
        for token in tokens[: self.budget - len(row.new)]:
            row.ids.append(token)
            self.tokens += 1
            if token in self.ends:
                row.done = True
                return
        row.done = len(row.new) >= self.budget

    def _align(self, rows: list[Row], spare: int) -> list[Rectangle]:
        """The rectangles of target and draft over `rows`: the last ones if they can stand, else laid out anew."""
        parts, models = list(zip(*(row.pasts for row in rows))), (self.session, self.session.draft)
        self.realigned = False
        if self._last and self._last[0] == rows and all(old.stands(part) for old, part in zip(self._last[1], parts)):
            for old, part in zip(self._last[1], parts):
                old.crop(part)
            return self._last[1]
        started = time.perf_counter()
        laid = [Rectangle(model, list(part), spare) for model, part in zip(models, parts)]
        self.realigned = any(laid[0].pads)
        self.seconds["realign" if self.realigned else "stack"] += time.perf_counter() - started
        return laid

    @contextmanager
    def _clock(self, kind: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[kind] += time.perf_counter() - started


class Round(NamedTuple):
    """What happened in a round: `cells` as `Batch.round` returns them, `kind`, and who waits beside."""

    cells: list[tuple]
    kind: str  # "grouped" (chosen for their one length), "level" (none had to move) or "realigned"
    rows: list[Row]
    finished: list[Row]  # those of them for which it was the last round
    waiting: list[Row]


def rounds(batch: Batch, prompts: list[list[int]], size: int, window: int) -> Iterator[Round]:
    """Decode all prompts in rounds of at most `size` rows.

    EQSPEC takes the prompts batch by batch and realigns whoever is left in it. EXSPEC keeps `window` sequences at hand and takes
    the first `size` of one length; when no length has so many, it realigns the first `size` as EQSPEC does.
    """
    rows = [Row(number, list(ids), len(ids)) for number, ids in enumerate(prompts)]
    pool: list[Row] = []
    while rows or pool:
        room = window - len(pool) if batch.variant == EX else 0 if pool else size
        newcomers, rows = rows[:room], rows[room:]
        for row in newcomers:
            batch.read(row)
        pool += newcomers
        chosen = one_length(pool, size) if batch.variant == EX else []
        grouped, chosen = bool(chosen), chosen or pool[:size]
        cells = batch.round(chosen)
        kind = "grouped" if grouped else "realigned" if batch.realigned else "level"
        pool = [row for row in pool if not row.done]
        finished = [row for row in chosen if row.done]
        yield Round(cells, kind, chosen, finished, [row for row in pool if row not in chosen])


def one_length(pool: list[Row], size: int) -> list[Row]:
    """The first `size` rows of the pool that have one length; [] when there are not so many of any."""
    groups: dict[int, list[Row]] = {}
    for row in pool:
        group = groups.setdefault(len(row.ids), [])
        group.append(row)
        if len(group) == size:
            return group
    return []
