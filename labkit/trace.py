"""What happened, as plain data: requests, steps, trees, beliefs, costs, and the trace that holds them.

Nothing here imports torch. A trace is whole: it carries the text piece of every token it mentions, so that it can be shown
years later with no model and no tokenizer. All log-probabilities are natural logarithms, all entropies are in nats.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from labkit import packed
from labkit.errors import TraceError

SCHEMA = 1
LARGEST_FILE = 256 * 2**20  # bytes; a longer file is refused before it is parsed
LONG_TEXT = 4 * 2**20  # bytes of JSON; in a shorter trace nobody counts the steps before they are read
LONG_RUN = 4096  # steps; those of a longer trace are kept packed: as objects they take five times their text


class Setting(msgspec.Struct, frozen=True):
    """A named thing with its knobs: a transform of the next-token distribution."""

    name: str
    knobs: dict[str, Any] = {}


class Request(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a person asks of the engine.

    Either `prompt` (text) or `ids` (tokens; wins when given). `temperature` 0 is greedy. `transforms` act after the
    temperature, in their order, on target and draft alike. `keep` asks for more than every trace carries:
    "laws" = the whole next-token distribution behind every new token, "prompt" = beliefs for the prompt's tokens too,
    "tests" = p, q and residual of every verify step.
    """

    method: str
    prompt: str = ""
    ids: list[int] | None = None
    knobs: dict[str, Any] = {}
    temperature: float = 0.0
    transforms: list[Setting] = []
    max_new_tokens: int = 64
    seed: int = 0
    target: str = ""  # a model's name; empty = the engine's default
    draft: str = ""
    keep: list[str] = []


class Cost(msgspec.Struct, omit_defaults=True):
    """Counted, never estimated: forward calls, tokens fed, and wall-clock seconds; draft and target apart."""

    target_forwards: int = 0
    target_tokens: int = 0
    target_seconds: float = 0.0
    draft_forwards: int = 0  # those of the target's first layers only are drafting as well
    draft_tokens: int = 0
    draft_seconds: float = 0.0
    seconds: float = 0.0  # everything: models, verifying, tracing
    cache_bytes: int = 0  # KV cache held after the step, draft and target together

    def __add__(self, other: Cost) -> Cost:
        """The sum of two costs; `cache_bytes` is the later one's, since it is a level and not a flow."""
        fields = {name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__}
        return Cost(**{**fields, "cache_bytes": other.cache_bytes})


class Belief(msgspec.Struct, omit_defaults=True):
    """What the target believed before one token was chosen: its raw law (temperature 1, nothing cut)."""

    token: int
    entropy: float  # nats
    logprob: float  # ln p(token)
    rank: int  # 0 = the likeliest
    top: list[int] = []  # the likeliest tokens, best first
    top_logprobs: list[float] = []
    law: bytes | None = None  # [V] little-endian float16 ln p of the whole vocabulary, when the request keeps "laws"


ACCEPTED, REFUSED, UNREACHED = "accepted", "refused", "unreached"


class Tree(msgspec.Struct, omit_defaults=True):
    """Drafted tokens. Node i hangs under `parents[i]` (-1 = the root, the last committed token); parents come first.

    A chain is a tree of width 1. Until it is verified only `tokens`, `parents`, `draft_logprobs`, `kind` are set.
    p and q are the laws AFTER temperature and transforms. `thresholds[i]` is min(1, p/q) after earlier refusals among the
    siblings (k-SEQ: min(1, p/(rho q))), `coins[i]` the uniform number drawn, `order[i]` the place in the order of testing
    (0 first); of a node that several drafts share, those of its last test.
    """

    tokens: list[int]
    parents: list[int]
    kind: str = "deterministic"  # how siblings were drawn: "deterministic", "iid", "without_replacement"
    source: str = "draft"  # who proposed: "draft", "lookup", "matrix"
    draft_logprobs: list[float | None] = []  # ln q(token | path), in the row it was drawn from; None = no draft law
    draft_entropies: list[float | None] = []  # nats, of the draft law each node was drawn from
    target_logprobs: list[float | None] = []  # ln p(token | path)
    target_entropies: list[float | None] = []  # nats, of the target law at each node's parent
    verdicts: list[str] = []  # "accepted", "refused", "unreached"
    reasons: list[str] = []  # one short clause each
    coins: list[float | None] = []
    thresholds: list[float | None] = []
    order: list[int | None] = []
    path: list[int] = []  # indices of the accepted nodes, root side first
    added: int | None = None  # the token the target added behind the path
    added_logprob: float | None = None  # ln of its probability in the law it was drawn from
    added_from: str = ""  # "target" (the whole law) or "residual" (what the drafts left of it)

    @property
    def depths(self) -> list[int]:
        """1 for children of the root, and so on."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(1 if parent < 0 else depths[parent] + 1)
        return depths


class Test(msgspec.Struct, omit_defaults=True):
    """One tested node with its laws, cut down to the tokens worth drawing; kept when the request keeps "tests"."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    node: int
    tokens: list[int]  # the likeliest of p and q, the drafted one and the one drawn in its place
    p: list[float]
    q: list[float]
    residual: list[float]  # norm(max(p - q, 0)), or what the verifier uses in its place
    agreement: float  # sum over the whole vocabulary of min(p, q): the chance that a draft survives here
    p_rest: float = 0.0  # mass outside `tokens`
    q_rest: float = 0.0
    residual_rest: float = 0.0


class Step(msgspec.Struct, tag="step", omit_defaults=True):
    """One turn of a decoder's loop."""

    emitted: list[int]  # tokens that became final
    at: list[int] | None = None  # where they stand after the prompt, below 0 in its gaps; None = appended
    sources: list[str] = []  # per emitted token: "target", "draft", "lookup", "matrix"
    beliefs: list[Belief] = []  # per emitted token
    tree: Tree | None = None
    tests: list[Test] = []
    cost: Cost = msgspec.field(default_factory=Cost)
    notes: dict[str, Any] = {}  # the method's own figures, each drawn by name; "tokens" = rows of token ids, with pieces
    pieces: dict[int, str] = {}  # text of every token mentioned here for the first time in this trace


class Opening(msgspec.Struct, tag="opening", omit_defaults=True):
    """The first thing a run sends: the prompt as tokens, and who answers."""

    request: Request
    prompt_ids: list[int] = []
    prompt_beliefs: list[Belief] = []  # for prompt_ids[1:], when the request keeps "prompt"
    pieces: dict[int, str] = {}
    target: str = ""
    draft: str = ""
    device: str = "cpu"
    dtype: str = "float32"
    vocabulary: int = 0
    lossless: bool = True
    paper: str = ""
    labkit: str = ""
    charts: list[str] = []  # views that draw the notes of this method's steps


class Closing(msgspec.Struct, tag="closing", omit_defaults=True):
    """The last thing a run sends: why it ended ("length", "end of text" or, for a study, "done"), and the new text."""

    reason: str
    text: str = ""


Event = Opening | Step | Closing


class Trace(msgspec.Struct):
    """A whole run: the opening and its steps. Save it, send it, replay it forwards and backwards with no model."""

    opening: Opening
    steps: list[Step] = []
    closing: Closing | None = None
    schema: int = SCHEMA

    @property
    def ids(self) -> list[int]:
        """The new tokens, in order."""
        return self.ids_upto(len(self.steps))

    def ids_upto(self, steps: int) -> list[int]:
        """The new tokens after `steps` steps; a step that fills places out of order is put where it belongs."""
        out: dict[int, int] = {}
        for step in islice(self.steps, steps):
            for place, token in zip(step.at or range(len(out), len(out) + len(step.emitted)), step.emitted):
                out[place] = token
        return [out[place] for place in sorted(out)]

    @property
    def pieces(self) -> dict[int, str]:
        """The text of every token the trace mentions."""
        pieces = dict(self.opening.pieces)
        for step in self.steps:
            pieces.update(step.pieces)
        return pieces

    @property
    def cost(self) -> Cost:
        """The sum over all steps."""
        return sum((step.cost for step in self.steps), Cost())

    def add(self, event: Event) -> None:
        """Append what a run sent."""
        if isinstance(event, Step):
            self.steps.append(event)
        elif isinstance(event, Closing):
            self.closing = event
        else:
            self.opening = event

    @property
    def is_packed(self) -> bool:
        """Are its steps kept packed?"""
        return isinstance(self.steps, packed.Packed)

    def dumps(self) -> bytes:
        """The trace as JSON."""
        return msgspec.json.encode(msgspec.structs.replace(self, steps=list(self.steps)) if self.is_packed else self)

    def pack(self) -> bytes:
        """The trace as gzipped lines of JSON, a fourth of the size: first all but its steps, then lists of steps."""
        head = packed.press(msgspec.json.encode(msgspec.structs.replace(self, steps=[])) + b"\n")
        ready, rest = (self.steps.blocks, self.steps.tail) if self.is_packed else ([], self.steps)
        return b"".join([head, *ready, *map(packed.press, packed.batches(map(msgspec.json.encode, rest)))])

    def save(self, path: str | Path) -> None:
        """Write the trace to `path`: as gzipped lines of JSON when its name ends in .gz, else as JSON."""
        path = Path(path)
        path.write_bytes(self.pack() if path.suffix.lower() == ".gz" else self.dumps())


def loads(data: bytes | str) -> Trace:
    """Read a trace from JSON or gzipped lines of it; the steps of a long one stay packed until they are looked at.

    Raises `TraceError`, one sentence, when it is broken, hostile or of another version.
    """
    if len(data) > LARGEST_FILE:
        raise TraceError(f"The trace has {len(data):,} bytes, more than the {LARGEST_FILE:,} allowed: save a shorter run.")
    try:
        if data[:2] == packed.MAGIC:
            return _unpack(data)
        _check_version(data)
        if len(data) > LONG_TEXT and len((unread := msgspec.json.decode(data, type=_Unread)).steps) > LONG_RUN:
            return _packed_trace(unread, ((line, None) for line in packed.batches(unread.steps)))
        trace = msgspec.json.decode(data, type=Trace)
    except (msgspec.MsgspecError, RecursionError, ValueError) as broken:  # UnicodeError is a ValueError
        short = str(broken)[:200]  # it may quote the file
        raise TraceError(f"This is no whole trace ({short}): choose a file saved by the lab.") from None
    check = _Check(trace.opening)
    check(trace.steps)
    check.end()
    return trace


def load(path: str | Path) -> Trace:
    """Read a trace file. Raises `TraceError` when it is missing, broken, hostile or of another version."""
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as missing:
        raise TraceError(f"The trace {str(path)!r} cannot be read ({missing.strerror}): check the path.") from None
    return loads(data)


class _Version(msgspec.Struct):
    schema: int = SCHEMA


def _check_version(text: bytes | str) -> None:
    version = msgspec.json.decode(text, type=_Version).schema
    if version != SCHEMA:
        raise TraceError(f"The trace has version {version}, this lab reads version {SCHEMA}: save it again with this lab.")


class _Unread(Trace):
    """A trace whose steps are still text."""

    steps: list[msgspec.Raw] = []


def _unpack(data: bytes) -> Trace:
    """A trace from gzipped lines of JSON; a short one is opened whole."""
    found = packed.lines(data)
    _, head = next(found)
    _check_version(head)
    trace = _packed_trace(msgspec.json.decode(head, type=Trace), ((line, member) for member, line in found))
    return trace if len(trace.steps) > LONG_RUN else msgspec.structs.replace(trace, steps=list(trace.steps))


def _packed_trace(head: Trace, found: Iterable[tuple[bytes, memoryview | None]]) -> Trace:
    """A trace from its head and the lines of its steps, each with its packed form where there is one."""
    steps, check = packed.Packed(Step), _Check(head.opening)
    for line, member in found:
        steps.take(line, member, check)
    check.end()
    return Trace(head.opening, steps, head.closing, head.schema)


class _Check:
    """What the types alone cannot say: parents come first, lists are as long as they must be, every token has its piece.

    Called with one batch of steps after the other, then ended. Raises `TraceError`.
    """

    def __init__(self, opening: Opening):
        self.mentioned, self.told, self.number = set(opening.prompt_ids), set(opening.pieces), 0
        _check_beliefs(opening.prompt_beliefs, opening.prompt_ids[1:], "The prompt", self.mentioned)

    def __call__(self, steps: Iterable[Step]) -> None:
        for number, step in enumerate(steps, self.number + 1):
            self.told.update(step.pieces)
            _check_step(step, number, self.mentioned)
            self.number = number

    def end(self) -> None:
        """Every token that was mentioned must have been told."""
        if missing := self.mentioned - self.told:
            raise TraceError(f"The trace does not carry the text of token {min(missing)}: the file is damaged.")


def _check_step(step: Step, number: int, mentioned: set[int]) -> None:
    mentioned.update(step.emitted)
    _check_beliefs(step.beliefs, step.emitted, f"Step {number}", mentioned)
    if step.at is not None and len(step.at) != len(step.emitted):
        raise TraceError(f"Step {number} has {len(step.at)} places for {len(step.emitted)} tokens: the file is damaged.")
    if step.tree:
        _check_tree(step.tree, f"The tree of step {number}", mentioned)
    for test in step.tests:
        mentioned.update(test.tokens)
        if not len(test.tokens) == len(test.p) == len(test.q) == len(test.residual):
            raise TraceError(f"A test of step {number} has lists of different lengths: the file is damaged.")
        if step.tree is None or not 0 <= test.node < len(step.tree.tokens):
            raise TraceError(f"A test of step {number} is of a node that is not there: the file is damaged.")


def _check_beliefs(beliefs: list[Belief], tokens: list[int], where: str, mentioned: set[int]) -> None:
    if len(beliefs) not in (0, len(tokens)):
        raise TraceError(f"{where} has {len(beliefs)} beliefs for {len(tokens)} tokens: the file is damaged.")
    for belief in beliefs:
        mentioned.add(belief.token)
        mentioned.update(belief.top)
        if len(belief.top) != len(belief.top_logprobs):
            raise TraceError(f"{where} has a belief of {len(belief.top)} tokens but not as many log-probs: the file is damaged.")


PER_NODE = ("draft_logprobs", "draft_entropies", "target_logprobs", "target_entropies", "verdicts", "reasons")
PER_NODE += ("coins", "thresholds", "order")


def _check_tree(tree: Tree, where: str, mentioned: set[int]) -> None:
    size = len(tree.tokens)
    mentioned.update(tree.tokens)
    if tree.added is not None:
        mentioned.add(tree.added)
    ragged = [name for name in PER_NODE if len(getattr(tree, name)) not in (0, size)]
    if len(tree.parents) != size:
        ragged.insert(0, "parents")
    if ragged:
        raise TraceError(f"{where} has {size} tokens but not as many {ragged[0]}: the file is damaged.")
    if any(not -1 <= parent < node for node, parent in enumerate(tree.parents)):
        raise TraceError(f"{where} has a node before its parent: the file is damaged.")
    if any(not 0 <= node < size for node in tree.path):
        raise TraceError(f"{where} accepts a node it does not have: the file is damaged.")
    if [tree.parents[node] for node in tree.path] != [-1, *tree.path][: len(tree.path)]:
        raise TraceError(f"{where} accepts nodes that do not follow each other: the file is damaged.")
