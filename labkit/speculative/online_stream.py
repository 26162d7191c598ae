"""P038 Online Speculative Decoding over a stream of requests: alpha rises, drops when the topic changes, recovers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import torch

from labkit import prompts
from labkit.knobs import knob
from labkit.lm import Session
from labkit.methods import Study
from labkit.models import vocabulary_of
from labkit.speculative.distil import Learner, Lesson
from labkit.speculative.online_sd import Watched, gradient_knob, loss_knob, places_knob, rate_knob, worth_learning
from labkit.trace import Step

ONE, ROUTED = "one draft", "one a topic"
TAUGHT = 16  # prompts of a topic that teach the classifier; they are not served
PLAIN = 16  # tokens written without a draft, to measure what a call for one token takes


class Served(NamedTuple):
    """One request, answered."""

    ids: list[int]  # prompt and answer, cut to the length asked for
    tokens: int  # written, with those that the last round wrote too many
    lessons: list[Lesson]
    alpha: float  # mean over the tested places
    calls: int  # of the target
    draft_calls: int
    seconds: float  # of everything, and of the models alone
    target_seconds: float
    draft_seconds: float


def serve(session: Session, ids: list[int], learner: Learner | None, tokens: int, length: int, seed: int) -> Served:
    """Answer the prompt `ids` by chain speculation, with the draft of `learner` or (None) the one that never learns."""
    began, before = time.perf_counter(), session.cost()
    twin, chain = session.open(ids), Watched(length=length)
    if learner:
        twin.draft = learner.session(session.draft, ids)
    for _ in chain.steps(twin, torch.Generator().manual_seed(seed)):
        if len(twin.ids) >= len(ids) + tokens:
            break
    now = session.cost()
    return Served(
        twin.ids[: len(ids) + tokens],
        len(twin.ids) - len(ids),
        [lesson for lesson in chain.lessons if lesson.place + 1 < len(ids) + tokens],
        sum(chain.agreements) / max(1, len(chain.agreements)),
        now.target_forwards - before.target_forwards,
        now.draft_forwards - before.draft_forwards,
        time.perf_counter() - began,
        now.target_seconds - before.target_seconds,
        now.draft_seconds - before.draft_seconds,
    )


def plain_seconds(session: Session, ids: list[int]) -> float:
    """What one target call for a single token takes, measured over `PLAIN` greedy tokens behind `ids`."""
    twin = session.open(ids)
    twin.push(int(twin.logits.argmax()))  # reads the prompt, which is not measured
    before = session.cost().target_seconds
    for _ in range(PLAIN):
        twin.push(int(twin.logits.argmax()))
    return (session.cost().target_seconds - before) / PLAIN


class Router:
    """Which topic a prompt is of: naive Bayes over its tokens, learned from a few prompts of every topic."""

    def __init__(self, topics: list[list[list[int]]], vocabulary: int):
        counts = [torch.bincount(torch.tensor(sum(texts, [])), minlength=vocabulary) + 1.0 for texts in topics]
        self.logs = torch.stack([count / count.sum() for count in counts]).log()  # [topics, V]

    def __call__(self, ids: list[int]) -> int:
        return int(self.logs[:, ids].sum(-1).argmax())


@dataclass
class OnlineStream(Study):
    """A stream of requests that changes its topic: does a draft that goes on learning serve it faster? (P038)

    Requests are places in two files that no model was trained on, first one of numeric calls, then one of assertions. Each is
    answered twice: with a draft that learns between requests, and with the same draft frozen. One step is one request. Every
    `every` requests the learning draft takes AdamW steps on what the target said in them, then forgets them. With one draft a
    topic, a classifier of the prompt (naive Bayes, taught by 16 prompts of each topic that are not served) picks who serves
    and who learns. The study has its own prompts: the request's is not used.
    """

    name, title, paper, drafts = "online-stream", "A draft that learns while it serves", "P038", "model"
    charts = ("running_alpha", "online_latency")
    requests: int = knob(96, 8, 128, label="Requests", help="in the whole stream")
    switch: float = knob(0.5, 0.1, 1.0, step=0.1, label="Topic changes after", help="this share of them; 1: never")
    tokens: int = knob(40, 8, 64, unit="tokens", label="Answer", help="length of every answer")
    length: int = knob(5, 1, 16, unit="tokens", label="Drafted tokens", help="before the target looks")
    every: int = knob(4, 1, 32, unit="requests", label="Update every", help="8 in the paper")
    rate: float = rate_knob()
    gradient_steps: int = gradient_knob()
    loss: str = loss_knob()
    learn_from: str = places_knob()
    routing: str = knob(ONE, choices=(ONE, ROUTED), label="Drafts", help="a classifier of the prompt picks the draft")

    def steps(self, session, rng):
        encode = vocabulary_of(session.runner).encode
        topics = {name: [encode(text) for text in texts] for name, texts in prompts.topics().items()}
        taught = [texts[:TAUGHT] for texts in topics.values()]
        router = Router(taught, session.runner.vocabulary)
        learners = [Learner(session.draft.runner, self.rate) for _ in (topics if self.routing == ROUTED else [ONE])]
        buffers: list[list[Served]] = [[] for _ in learners]
        first = round(self.requests * self.switch)
        stream = [(0, ids) for ids in list(topics.values())[0][TAUGHT:][:first]]
        stream += [(1, ids) for ids in list(topics.values())[1][TAUGHT:][: self.requests - first]]
        known = {"topics": list(topics), "switch": first, "of": len(stream)}
        known["plain call seconds"] = plain_seconds(session, taught[0][0])
        rows: list[dict] = []
        served: list[Served] = []
        for topic, ids in stream:
            chosen = router(ids) if self.routing == ROUTED else 0
            seed = int(torch.randint(2**62, (), generator=rng))  # the same coins for both drafts
            mine, frozen = (
                serve(session, ids, who, self.tokens, self.length, seed) for who in (learners[chosen], None)
            )
            served += [mine, frozen]
            buffers[chosen].append(mine)
            rows.append({"topic": topic, "draft": chosen, "same text": mine.ids == frozen.ids})
            rows[-1] |= figures("learning", mine) | figures("frozen", frozen)
            rows[-1] |= self.update(learners[chosen], buffers[chosen])
            columns = {name: [row[name] for row in rows] for name in rows[0]}
            yield Step([], notes={"done": len(rows), **known, **columns, **call_seconds(served)})

    def update(self, learner: Learner, buffer: list[Served]) -> dict:
        """Learn from the buffer when it is full, and empty it; what that took, for the notes."""
        if len(buffer) < self.every:
            return {"loss": None, "update seconds": 0.0}
        began = time.perf_counter()
        lessons = [(served.ids, worth_learning(served.lessons, self.learn_from)) for served in buffer]
        lessons = [(ids, some) for ids, some in lessons if some]
        buffer.clear()
        loss = None
        if lessons:
            loss = learner.learn(
                [ids for ids, _ in lessons], [some for _, some in lessons], self.loss, self.gradient_steps
            )
        return {"loss": loss, "update seconds": round(time.perf_counter() - began, 4)}


def figures(name: str, served: Served) -> dict:
    """What one answer showed, for the notes."""
    return {
        f"{name} alpha": round(served.alpha, 4),
        f"{name} tokens": served.tokens,
        f"{name} calls": served.calls,
        f"{name} draft calls": served.draft_calls,
        f"{name} seconds": round(served.seconds, 4),
    }


def call_seconds(served: list[Served]) -> dict:
    """What one call of target and draft took on average so far, whichever draft it was: the virtual clock's table."""
    seconds = {}
    for model, calls in (("target", "calls"), ("draft", "draft_calls")):
        total = sum(getattr(one, f"{model}_seconds") for one in served)
        seconds[f"{model} call seconds"] = total / max(1, sum(getattr(one, calls) for one in served))
    return seconds
