"""Traces made up by rule, to test views without a model: laws are real distributions, verdicts follow their coins."""

from __future__ import annotations

import math
import random
import struct

from labkit.bench.long import lengthen
from labkit.trace import (
    ACCEPTED,
    REFUSED,
    UNREACHED,
    Belief,
    Closing,
    Cost,
    Opening,
    Request,
    Setting,
    Step,
    Test,
    Trace,
    Tree,
)

# fmt: off
HOSTILE = ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<b>", "<a href='javascript:alert(1)'>",
           "$x^2$", "&amp;", "%{x}"]
WORDS = ["def", " read", "(", "path", "):", "\n    ", '"""', " config", "\n        ", ".", " =", " value", " return",
         "é", "日本", "\t", "…"]
# fmt: on
VOCABULARY = 64


def pieces() -> dict[int, str]:
    """64 tokens: ordinary ones, hostile ones, and plain fillers."""
    texts = WORDS + HOSTILE
    return {token: texts[token] if token < len(texts) else f" word{token}" for token in range(VOCABULARY)}


def law(random: random.Random, size: int = VOCABULARY, sharpness: float = 2.0) -> list[float]:
    """ln p of a random distribution, [size]."""
    scores = [random.gauss(0, sharpness) for _ in range(size)]
    total = math.log(sum(math.exp(score) for score in scores))
    return [score - total for score in scores]


def packed(logprobs: list[float]) -> bytes:
    """A law as a trace stores it: little-endian float16."""
    return struct.pack(f"<{len(logprobs)}e", *logprobs)


def belief(random: random.Random, token: int, keep_law: bool) -> Belief:
    logs = law(random)
    order = sorted(range(len(logs)), key=lambda t: -logs[t])
    entropy = -sum(math.exp(x) * x for x in logs)
    top = order[:8]
    return Belief(
        token, entropy, logs[token], order.index(token), top, [logs[t] for t in top], packed(logs) if keep_law else None
    )


def tree(random: random.Random, size: int, width: int = 3, drafted: bool = True) -> Tree:
    """A random tree of `size` nodes, verified by the residual rule's coins (or by matching, when nothing was drawn)."""
    parents = [-1] + [random.randint(max(-1, node - width * 3), node - 1) for node in range(1, size)]
    tokens = [random.randrange(VOCABULARY) for _ in range(size)]
    made = Tree(
        tokens,
        parents,
        kind="without_replacement" if drafted else "deterministic",
        source="draft" if drafted else "matrix",
    )
    if drafted:
        made.draft_logprobs = [math.log(random.uniform(0.01, 0.9)) for _ in range(size)]
        made.draft_entropies = [random.uniform(0, 3) for _ in range(size)]
    made.target_logprobs = [math.log(random.uniform(0.01, 0.9)) for _ in range(size)]
    made.target_entropies = [random.uniform(0, 3) for _ in range(size)]
    made.verdicts, made.reasons = [UNREACHED] * size, ["its parent was not accepted"] * size
    made.coins, made.thresholds, made.order = [None] * size, [None] * size, [None] * size
    at, place = -1, 0
    while True:
        follow = None
        for node in [node for node in range(size) if parents[node] == at]:
            coin, threshold = random.random(), random.random()
            accepted = coin < threshold
            made.verdicts[node] = ACCEPTED if accepted else REFUSED
            made.order[node], place = place, place + 1
            if drafted:
                made.coins[node], made.thresholds[node] = coin, threshold
                made.reasons[node] = "coin below p/q" if accepted else "coin above p/q"
            else:
                made.reasons[node] = "is the likeliest" if accepted else "is not the likeliest"
            if accepted:
                follow = node
                break
        if follow is None:
            break
        made.path.append(follow)
        at = follow
    made.added, made.added_logprob, made.added_from = random.randrange(VOCABULARY), math.log(0.4), "residual"
    return made


def test_of(random: random.Random, made: Tree, node: int) -> Test:
    """p, q and residual of one tested node over the whole small vocabulary, 12 tokens named."""
    p, q = ([math.exp(x) for x in law(random)] for _ in range(2))
    left = [max(a - b, 0) for a, b in zip(p, q)]
    residual = [x / sum(left) for x in left]
    best = sorted(range(VOCABULARY), key=lambda t: -max(p[t], q[t]))
    shown = list(dict.fromkeys([made.tokens[node], made.added, *best[:12]]))
    rest = [1 - sum(values[t] for t in shown) for values in (p, q, residual)]
    agreement = sum(map(min, p, q))
    return Test(
        node, shown, [p[t] for t in shown], [q[t] for t in shown], [residual[t] for t in shown], agreement, *rest
    )


def plain_trace(tokens: int = 20, seed: int = 1, laws: bool = True) -> Trace:
    """Plain decoding, one token a step, with the prompt's beliefs and whole laws."""
    chance = random.Random(seed)
    prompt = [chance.randrange(VOCABULARY) for _ in range(6)]
    request = Request(
        method="plain",
        temperature=0.8,
        transforms=[Setting("top-k", {"k": 8}), Setting("top-p", {"p": 0.9})],
        max_new_tokens=tokens,
    )
    opening = Opening(
        request,
        prompt,
        [belief(chance, token, laws) for token in prompt[1:]],
        pieces(),
        "target",
        vocabulary=VOCABULARY,
    )
    trace = Trace(opening)
    for _ in range(tokens):
        token = chance.randrange(VOCABULARY)
        cost = Cost(target_forwards=1, target_tokens=1, target_seconds=0.002, seconds=0.003)
        trace.add(Step([token], sources=["target"], beliefs=[belief(chance, token, laws)], cost=cost))
    trace.add(Closing("length"))
    return trace


def tree_trace(steps: int = 6, nodes: int = 16, seed: int = 2, drafted: bool = True) -> Trace:
    """Tree speculation with the tests of every step."""
    chance = random.Random(seed)
    prompt = [chance.randrange(VOCABULARY) for _ in range(6)]
    method = "chain" if drafted else "token-recycling"
    trace = Trace(
        Opening(
            Request(method=method, temperature=0.7),
            prompt,
            [],
            pieces(),
            "target",
            "draft" if drafted else "",
            vocabulary=VOCABULARY,
        )
    )
    for _ in range(steps):
        made = tree(chance, nodes, drafted=drafted)
        emitted = [made.tokens[node] for node in made.path] + [made.added]
        tested = [node for node in range(nodes) if made.verdicts[node] != UNREACHED]
        cost = Cost(1, nodes + 1, 0.004, nodes, nodes, 0.002, 0.007)
        sources = [made.source] * len(made.path) + ["target"]
        beliefs = [belief(chance, token, False) for token in emitted]
        trace.add(Step(emitted, None, sources, beliefs, made, [test_of(chance, made, node) for node in tested], cost))
    trace.add(Closing("length"))
    return trace


def stream_trace(requests: int = 12, seed: int = 3) -> Trace:
    """A study of a stream of requests, learning draft beside frozen one; the topic changes half way."""
    chance = random.Random(seed)
    trace = Trace(Opening(Request(method="online-stream"), [0], [], pieces(), "target", "draft", vocabulary=VOCABULARY))
    rows: list[dict] = []
    for number in range(requests):
        row = {"topic": int(number >= requests // 2), "draft": 0, "same text": True}
        for name in ("learning", "frozen"):
            row |= {f"{name} alpha": chance.random(), f"{name} tokens": chance.randint(30, 44)}
            row |= {f"{name} calls": chance.randint(10, 30), f"{name} draft calls": chance.randint(50, 150)}
            row[f"{name} seconds"] = chance.uniform(0.1, 0.3)
        row |= {"loss": 0.5, "update seconds": 0.1} if number % 4 == 3 else {"loss": None, "update seconds": 0.0}
        rows.append(row)
        notes = {"done": number + 1, "of": requests, "topics": ["<b>", "words"], "switch": requests // 2}
        notes |= {"plain call seconds": 0.003, "target call seconds": 0.005, "draft call seconds": chance.uniform(1e-4, 1e-3)}
        trace.add(Step([], notes={**notes, **{name: [row[name] for row in rows] for name in row}}))
    trace.add(Closing("done"))
    return trace


def adaspec_trace(phase: int = 4, seed: int = 4) -> Trace:
    """AdaSPEC's study: `phase` steps of the reference, then as many of the drafts; the long run beside it."""
    chance = random.Random(seed)

    def curve(first: int) -> list[list]:
        return [[first, first + 2, first + 4], [chance.random() for _ in range(3)]]

    curves = {"reference": curve(0), "share 0.2": curve(0), "share 0.4": curve(0), "share 1": curve(0), "longer": curve(4)}
    seeds = [{name: [line[0], [chance.random() for _ in line[0]]] for name, line in curves.items()} for _ in range(3)]
    trace = Trace(Opening(Request(method="adaspec"), [0], [], pieces(), "target", "draft", vocabulary=VOCABULARY))
    notes: dict = {"of": 2 * phase, "share": 0.4, "edges": [-2, -1, 0, 1, 2], "long run": {"seeds": seeds}}
    for done in range(2 * phase + 1):
        shown = list(curves) if done > phase else ["reference"]
        points = 1 + min(2, done // 2 if done <= phase else (done - phase) // 2)
        notes |= {"done": done, "curves": {name: [axis[:points] for axis in curves[name]] for name in shown}}
        if done > phase:
            words = [chance.choice([*WORDS, *HOSTILE]) for _ in range(9)]
            lags = [chance.uniform(-0.3, 0.6) for _ in words[1:]]
            notes["listing"] = {"pieces": words, "lag": lags, "kept": [lag > 0.2 for lag in lags]}
            notes["margins"] = {name: [chance.randint(1, 30) for _ in range(4)] for name in ("share 0.4", "share 1")}
        trace.add(Step([], notes=dict(notes)))
    trace.add(Closing("done"))
    return trace


def long_trace(tokens: int = 100_000, kind: str = "plain") -> Trace:
    """At least `tokens` new tokens: "plain" with beliefs, "tree" speculated, "any" filled in any order."""
    short = tree_trace(60, 24) if kind == "tree" else plain_trace(500, laws=False)
    if kind == "any":
        chance = random.Random(5)
        places = chance.sample(range(500), 500)
        for step, place in zip(short.steps, places):
            step.at = [place]
    return lengthen(short, tokens)
