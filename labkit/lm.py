"""Session: a causal language model and its growing context behind a few verbs. Owns the KV cache; counts what it costs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from labkit.early import EarlyChain, exits
from labkit.errors import LabError, PromptError
from labkit.law import NOT_NUMBERS, Law, entropy
from labkit.ledger import Ledger
from labkit.trace import Belief, Cost, Step, Tree

ALTERNATIVES = 12  # how many of the likeliest tokens a belief names


class Scores(NamedTuple):
    """What one forward over a tree said. Row 0 is the root (the last committed token), row i + 1 is node i."""

    logits: Tensor  # [N+1, V]
    hidden: Tensor | None  # [L+1, N+1, d]: input of every layer and the last output, when asked for


_BYTES = torch.where((torch.arange(256)[:, None] >> torch.arange(8)) & 1 == 1, 0.0, float("-inf"))  # [256, 8]


def _mask(sights: list[int], width: int) -> Tensor:
    """The additive mask [len(sights), width]: row i is 0 at the columns whose bits are set in `sights[i]`, -inf elsewhere.

    A row of a mask as one whole number: a node sees what its parent sees and itself, which is one bit more.
    """
    size = -(-width // 8)
    packed = bytearray().join(sight.to_bytes(size, "little") for sight in sights)
    return _BYTES[torch.frombuffer(packed, dtype=torch.uint8).int()].view(len(sights), -1)[:, :width]


def _shape(parents: tuple[int, ...], lead: int) -> tuple[list[int], Tensor | None]:
    """Depths, and the additive mask [lead + N, lead + N] of `lead` committed tokens with a tree behind; None = plain causal."""
    sights = [(2 << row) - 1 for row in range(lead)]
    for node, parent in enumerate(parents, lead):
        seen = sights[lead + parent] if parent >= 0 else (1 << lead) - 1
        sights.append(seen | 1 << node)
    depths = [sight.bit_count() - lead for sight in sights[lead:]]
    if all(parent == node - 1 for node, parent in enumerate(parents)):
        return depths, None
    return depths, _mask(sights, len(sights))


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
        self.vocabulary = None  # `models.Vocabulary`, for studies that bring texts of their own, and for constraints on text
        self.room: int | None = None  # new tokens asked for, where known: for decoders that must come to an end in time
        self.ends: frozenset[int] = frozenset()  # tokens that end a text
        self._logits: Tensor | None = None  # at the context's end, when known
        self._prompt: Tensor | None = None  # [S, V] at every place, until something is pushed
        self._scored: Tree | None = None
        self._fed: dict[int, int] = {}  # nodes of that tree that were fed, and their rows behind the context's in the cache
        self._sights: dict[int, int] = {-1: 0}  # what each of them sees of these rows, one bit a row
        self._rows: dict[int, Tensor] | Tensor | None = None  # logits by node, or [N+1, V] with the root's first
        self._asides: list[Ledger] = []
        self._early: EarlyChain | None = None  # drafted by the first layers, not scored yet
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

    def _forward(self, tokens: list[int] | Tensor, places: list[int], mask: Tensor | None, first: int, hidden: bool):
        """One forward of `tokens` (or input embeddings [n, d]) at the positions `places`, counted and timed."""
        device = self.runner.device
        if mask is not None:
            mask = mask.to(device, self.runner.dtype)
        with self.ledger.forward(self.runner, len(tokens), self.runner.depth, max(places) + 1):
            fed = tokens if isinstance(tokens, Tensor) else torch.tensor(tokens, device=device)
            logits, trail = self.runner.forward(fed, torch.tensor(places, device=device), mask, self.cache, first, hidden)
            return _full(logits), trail

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

    def push_embedding(self, state: Tensor, token: int, hidden: bool = False) -> Scores:
        """Commit one place whose input is `state` [d], not a token's embedding, in one forward; one row is returned.

        `token` stands for it in `ids`: that is what a forward over `ids` feeds, as behind a `rewind` to right after this place.
        """
        _ = self.logits  # what was pushed before goes first
        rows, trail = self._forward(state[None].to(self.runner.dtype), [len(self.ids)], None, 0, hidden)
        self.ids.append(token)
        self._logits, self._prompt = rows[0], None
        return Scores(rows, trail)

    def score(self, tree: Tree, hidden: bool = False) -> Scores:
        """One forward over a tree hung on the last committed token. Raises `PromptError` when the context is full."""
        if self._early is not None and self._early.tree is tree:
            early, self._early = self._early, None
            rows, trail = early.finish(self.ledger)
            return self._remember(tree, _full(rows), trail)
        self._settle()
        tokens = self._unfed(root=hidden)
        first = max(len(tokens) - 1, 0)
        if tokens or tree.tokens:
            rows, trail = self._feed(tokens + tree.tokens, tuple(tree.parents), first, hidden)
        if not tokens:  # the root was fed earlier, its row is known
            rows = torch.cat([self._logits[None], rows]) if tree.tokens else self._logits[None]
        return self._remember(tree, rows, trail[:, first:] if hidden else None)

    def _remember(self, tree: Tree, rows: Tensor, hidden: Tensor | None) -> Scores:
        self._scored, self._rows = tree, rows
        self._fed = dict(enumerate(range(len(tree.tokens))))
        return Scores(rows, hidden)

    def early(self, tree: Tree, layer: int) -> Tensor:
        """What layer `layer` (1 to L - 1) says behind the newest node of `tree`, a chain that is still growing: logits [V].

        Hangs on the last committed token. Only the first `layer` layers run, over what they have not seen yet; that counts as
        drafting. `score(tree)` goes on from their states with the other layers, and gives hidden states too. Raises
        `ModelError` for a model that cannot stop between its layers.
        """
        if self._early is None or self._early.tree is not tree:
            self._settle()
            lead = self._unfed(root=True)
            self._early = EarlyChain(self.runner, self.cache, tree, layer, lead)
        return _full(self._early.draft(self.ledger.early))

    def speak(self, states: Tensor) -> Tensor:
        """Logits [..., V] that the final norm and the LM head read in `states` [..., d] of any layer.

        Its time counts as the target's. Raises `ModelError` as `early` does.
        """
        exits(self.runner)
        with self.ledger.timed(self.runner):
            return _full(self.runner.speak(states))

    def grow(self, tree: Tree, nodes: list[int] | None = None, hidden: bool = False) -> Scores:
        """One forward over `nodes` of a tree that is still growing (None = all that were not fed yet), behind those fed before.

        Hangs on the last committed token; a node's parent must be fed before it or with it. Returns rows for `nodes` only:
        logits [len(nodes), V], hidden [L+1, len(nodes), d]. The root's own row is `logits`, asked for before.
        """
        if self._scored is not tree:
            self._settle()
            self._rows = {-1: self.logits}
            self._scored, self._fed, self._sights = tree, {}, {-1: 0}
        nodes = [node for node in range(len(tree.tokens)) if node not in self._fed] if nodes is None else nodes
        columns = {node: column for column, node in enumerate(nodes, len(self._fed))}
        for node, column in columns.items():
            self._sights[node] = self._sights[tree.parents[node]] | 1 << column
        sights = [self._sights[node] for node in nodes]
        causal = all(sight == (2 << column) - 1 for sight, column in zip(sights, columns.values()))
        mask = None if causal else _mask(sights, len(self._fed) + len(nodes))
        places = [len(self.ids) - 1 + sight.bit_count() for sight in sights]  # a node sees as many nodes as it is deep
        rows, trail = self._forward([tree.tokens[node] for node in nodes], places, mask, 0, hidden)
        self._fed |= columns
        self._rows |= dict(zip(nodes, rows))
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
        if self._early is not None:  # drafted, never scored: rows of half the layers are no rows
            self.cache.keep(self._early.base, [])
            self._early = self._logits = None  # the root went with them
        if self._scored is not None:  # scored but nothing accepted: its rows must leave the cache
            self.commit([])

    def open(self, ids: list[int]) -> Session:
        """A fresh session over the same models, with the same law, behind `ids`; it counts into this session's ledger."""
        twin = Session(self.runner, ids, self.law, self.draft.open(ids) if self.draft else None, self.memory)
        twin.ledger, twin.keep, twin.vocabulary = self.ledger, self.keep, self.vocabulary
        twin.ends = self.ends
        return twin

    def aside(self) -> Session:
        """A session over the target alone, behind the same text, whose forwards are counted nowhere: for comparing."""
        twin = Session(self.runner, self.ids, self.law)
        twin.vocabulary = self.vocabulary
        self._asides.append(twin.ledger)
        return twin

    @property
    def seconds_aside(self) -> float:
        """Seconds that forwards of sessions `aside` took: no part of what a method costs."""
        return sum(ledger.seconds for ledger in self._asides)

    def carry(self, cache) -> None:
        """Work through another cache from here on: the whole context is fed again into it, in one forward."""
        self._settle()
        self.cache, self._logits, self._prompt = cache, None, None

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
        early = mine.early
        held = self.cache.bytes + (self.draft.cache.bytes if self.draft else 0)
        drafted = (theirs.forwards + early.forwards, theirs.tokens + early.tokens, theirs.seconds + early.seconds)
        return Cost(mine.forwards, mine.tokens, mine.seconds, *drafted, 0.0, held)


def _full(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


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
