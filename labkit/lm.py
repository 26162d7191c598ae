"""Session: a causal language model and its growing context behind a few verbs. Owns the KV cache; counts what it costs."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from labkit.errors import LabError, PromptError
from labkit.law import NOT_NUMBERS, Law, entropy
from labkit.trace import Belief, Cost, Step, Tree

ALTERNATIVES = 12  # how many of the likeliest tokens a belief names


class Ledger:
    """Counts forwards, tokens and seconds of one model of a run; target and draft have one each."""

    def __init__(self):
        self.forwards = self.tokens = 0
        self.seconds = 0.0

    def add(self, tokens: int, seconds: float) -> None:
        self.forwards += 1
        self.tokens += tokens
        self.seconds += seconds


class Scores(NamedTuple):
    """What one forward over a tree said. Row 0 is the root (the last committed token), row i + 1 is node i."""

    logits: Tensor  # [N+1, V]
    hidden: Tensor | None  # [L+1, N+1, d]: input of every layer and the last output, when asked for


def _grown_mask(tree: Tree, fed: dict[int, int], nodes: list[int]) -> Tensor:
    """The additive mask [n, fed + n] of `nodes` behind the nodes fed before: each sees its ancestors and itself."""
    columns = fed | {node: len(fed) + row for row, node in enumerate(nodes)}
    mask = torch.full((len(nodes), len(columns)), float("-inf"))
    for row, node in enumerate(nodes):
        while node >= 0:
            mask[row, columns[node]] = 0
            node = tree.parents[node]
    return mask


@lru_cache(maxsize=256)
def _shape(parents: tuple[int, ...], lead: int) -> tuple[tuple[int, ...], Tensor | None]:
    """Depths, and the additive mask [lead + N, lead + N] of `lead` committed tokens with a tree behind; None = plain causal."""
    depths: list[int] = []
    for parent in parents:
        depths.append(1 if parent < 0 else depths[parent] + 1)
    if all(parent == node - 1 for node, parent in enumerate(parents)):
        return tuple(depths), None
    size = lead + len(parents)
    mask = torch.full((size, size), float("-inf")).triu_(1)
    mask[lead:, lead:] = float("-inf")
    for node, parent in enumerate(parents):
        row = mask[lead + node, lead:]
        if parent >= 0:
            row.copy_(mask[lead + parent, lead:])
        row[node] = 0
    return tuple(depths), mask


class Session:
    """A model and its context.

    Tokens are committed lazily: `push` appends them, the forward happens when `logits` or `score` need it. So a drafted round
    costs exactly one forward: the token the target added last goes in together with the next tree.
    """

    def __init__(self, runner, ids: list[int], law: Law = Law(), draft: Session | None = None, memory: dict | None = None):
        self.runner, self.law, self.draft = runner, law, draft
        self.ids = list(ids)
        self.cache = runner.new_cache()
        self.ledger = Ledger()
        self.memory = {} if memory is None else memory  # what a method keeps across requests, per target model
        self.keep: frozenset[str] = frozenset()  # of trace.Request.keep
        self.vocabulary = None  # `models.Vocabulary`, for studies that bring texts of their own; decoders get along without
        self._logits: Tensor | None = None  # at the context's end, when known
        self._prompt: Tensor | None = None  # [S, V] at every place, until something is pushed
        self._scored: Tree | None = None
        self._fed: dict[int, int] = {}  # nodes of that tree that were fed, and their rows behind the context's in the cache
        self._rows: dict[int, Tensor] | Tensor | None = None  # logits by node, or [N+1, V] with the root's first
        if not self.ids:
            raise PromptError("The prompt is empty: write at least one token.")

    # -- the model -----------------------------------------------------------------------------------------------------

    def _feed(self, tokens: list[int], parents: tuple[int, ...], first: int, hidden: bool = False):
        """One forward of `tokens`, the last len(parents) of which form a tree; logits from row `first` on."""
        past, lead = self.cache.length, len(tokens) - len(parents)
        places, mask = list(range(past, past + lead)), None
        if parents:
            depths, mask = _shape(parents, lead)
            places += [past + lead - 1 + depth for depth in depths]  # the position is the depth, not the index
        return self._forward(tokens, places, mask, first, hidden)

    def _forward(self, tokens: list[int], places: list[int], mask: Tensor | None, first: int, hidden: bool):
        """One forward of `tokens` at the positions `places`, counted and timed."""
        started = time.perf_counter()
        device = self.runner.device
        if mask is not None:
            mask = mask.to(device, self.runner.dtype)
        if (length := max(places) + 1) > self.runner.context:  # a wide tree may hold more tokens than there are places left
            raise PromptError(
                f"The context would grow to {length:,} tokens, the model holds {self.runner.context:,}: "
                f"use a shorter prompt or fewer new tokens."
            )
        try:
            with torch.inference_mode():
                logits, trail = self.runner.forward(
                    torch.tensor(tokens, device=device), torch.tensor(places, device=device), mask, self.cache, first, hidden
                )
                logits = logits if logits.dtype == torch.float64 else logits.float()
        except torch.OutOfMemoryError:
            raise LabError(
                f"Out of memory at {self.cache.length + len(tokens):,} tokens of context: "
                f"use a shorter prompt, a smaller tree or model."
            ) from None
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self.ledger.add(len(tokens), time.perf_counter() - started)
        return logits, trail

    @property
    def logits(self) -> Tensor:
        """Logits [V] at the context's end (float32, or float64 for a float64 model)."""
        self._settle()
        if self._logits is None:
            tokens = self._unfed()
            self._logits = self._feed(tokens, (), len(tokens) - 1)[0][-1]
        return self._logits

    def prompt_logits(self) -> Tensor:
        """Logits [S, V] at every place of the context; asked for again before anything is pushed, they cost nothing."""
        self._settle()
        if self._prompt is None:
            self.cache.keep(0, [])
            self._prompt = self._feed(self.ids, (), 0)[0]
            self._logits = self._prompt[-1]
        return self._prompt

    def _unfed(self, root: bool = False) -> list[int]:
        """Committed tokens to feed next; the last one again when its logits are not known, or when `root` asks for it."""
        if self.cache.length == len(self.ids) and (root or self._logits is None):
            self.cache.keep(len(self.ids) - 1, [])
        return self.ids[self.cache.length :]

    def push(self, *tokens: int) -> None:
        """Commit tokens; they are fed with the next forward."""
        self._settle()
        self.ids += tokens
        self._logits = self._prompt = None

    def score(self, tree: Tree, hidden: bool = False) -> Scores:
        """One forward over a tree hung on the last committed token. Raises `PromptError` when the context is full."""
        self._settle()
        tokens = self._unfed(root=hidden)
        first = max(len(tokens) - 1, 0)
        if tokens or tree.tokens:
            rows, trail = self._feed(tokens + tree.tokens, tuple(tree.parents), first, hidden)
        if not tokens:  # the root was fed earlier, its row is known
            rows = torch.cat([self._logits[None], rows]) if tree.tokens else self._logits[None]
        self._scored, self._rows = tree, rows
        self._fed = dict(enumerate(range(len(tree.tokens))))
        return Scores(rows, trail[:, first:] if hidden else None)

    def grow(self, tree: Tree, nodes: list[int] | None = None, hidden: bool = False) -> Scores:
        """One forward over `nodes` of a tree that is still growing (None = all that were not fed yet), behind those fed before.

        Hangs on the last committed token; a node's parent must be fed before it or with it. Returns rows for `nodes` only:
        logits [len(nodes), V], hidden [L+1, len(nodes), d]. The root's own row is `logits`, asked for before.
        """
        if self._scored is not tree:
            self._settle()
            self._rows = {-1: self.logits}
            self._scored, self._fed = tree, {}
        nodes = [node for node in range(len(tree.tokens)) if node not in self._fed] if nodes is None else nodes
        depths = tree.depths
        places = [len(self.ids) - 1 + depths[node] for node in nodes]
        mask = _grown_mask(tree, self._fed, nodes)
        rows, trail = self._forward([tree.tokens[node] for node in nodes], places, mask, 0, hidden)
        for row, node in enumerate(nodes):
            self._fed[node] = len(self._fed)
            self._rows[node] = rows[row]
        return Scores(rows, trail)

    def holds(self, tree: Tree) -> bool:
        """Is `tree` the one that was scored or grown here last, and not decided yet?"""
        return self._scored is tree

    def commit(self, path: list[int]) -> None:
        """Accept the nodes of `path` (root side first) of the tree scored or grown last; forget its other nodes.

        Nodes of the path that were never fed go in with the next forward.
        """
        tree, self._scored = self._scored, None
        base = len(self.ids)
        self.cache.keep(base, [base + self._fed[node] for node in path if node in self._fed])
        self.ids += [tree.tokens[node] for node in path]
        last = path[-1] if path else -1
        if last >= 0 and last not in self._fed:
            self._logits = None
        else:
            self._logits = self._rows[last] if isinstance(self._rows, dict) else self._rows[last + 1]
        self._rows = None
        if path:
            self._prompt = None

    def _settle(self) -> None:
        if self._scored is not None:  # scored but nothing accepted: its rows must leave the cache
            self.commit([])

    def open(self, ids: list[int]) -> Session:
        """A fresh session over the same models, with the same law, behind `ids`; it counts into this session's ledger."""
        twin = Session(self.runner, ids, self.law, self.draft.open(ids) if self.draft else None, self.memory)
        twin.ledger, twin.keep, twin.vocabulary = self.ledger, self.keep, self.vocabulary
        return twin

    def fork(self, n: int = 1) -> list[Session]:
        """`n` sessions at this place that share the prefix's cache; each counts into this session's ledger."""
        self._settle()
        twins = []
        for _ in range(n):
            twin = object.__new__(Session)
            twin.__dict__.update(self.__dict__)
            twin.ids, twin.cache = list(self.ids), self.cache.fork()
            twin.draft = self.draft.fork()[0] if self.draft else None
            twins.append(twin)
        return twins

    def rewind(self, length: int) -> None:
        """Go back to the first `length` tokens of the context (at least one)."""
        self._settle()
        if not 1 <= length <= len(self.ids):
            raise LabError(f"Cannot rewind to {length} tokens: the context has {len(self.ids)}, choose 1 to {len(self.ids)}.")
        if length == len(self.ids):
            return
        del self.ids[length:]
        if self.cache.length > length:
            self.cache.keep(length, [])
        self._logits = self._prompt = None

    # -- the trace -----------------------------------------------------------------------------------------------------

    def step(self, rows: Tensor, emitted: list[int], **more) -> Step:
        """A step that emits `emitted`, believed in by the target's logits `rows` [len(emitted), V]; costs are added by `run`."""
        return Step(emitted=emitted, beliefs=beliefs(rows, emitted, "laws" in self.keep), **more)

    def cost(self) -> Cost:
        """What this session and its draft have cost so far."""
        mine, theirs = self.ledger, self.draft.ledger if self.draft else Ledger()
        held = self.cache.bytes + (self.draft.cache.bytes if self.draft else 0)
        return Cost(
            mine.forwards, mine.tokens, mine.seconds, theirs.forwards, theirs.tokens, theirs.seconds, 0.0, held
        )


def beliefs(rows: Tensor, tokens: list[int], laws: bool = False) -> list[Belief]:
    """What the raw law (temperature 1, nothing cut) behind each of `tokens` was; `rows`: logits [len(tokens), V].

    Raises `LabError` when the logits hold a NaN.
    """
    with torch.inference_mode():
        logs = rows.log_softmax(-1)
        chosen = logs.gather(-1, torch.tensor(tokens, device=rows.device)[:, None])
        best, names = logs.topk(min(ALTERNATIVES, logs.shape[-1]))
        # entr(p) is 0 at p = 0, where -p ln p written out would be NaN
        figures = torch.cat([entropy(logs.exp())[:, None], chosen, (logs > chosen).sum(-1, keepdim=True), best], -1).tolist()
        names = names.tolist()
        halves = logs.half().cpu().numpy() if laws else None
    if any(row[0] != row[0] for row in figures):
        raise LabError(NOT_NUMBERS)
    return [
        Belief(token, row[0], row[1], int(row[2]), top, row[3:], halves[i].tobytes() if laws else None)
        for i, (token, row, top) in enumerate(zip(tokens, figures, names))
    ]
