"""An engine without a model: a small deterministic world, so that the bench can be tested by itself."""

from __future__ import annotations

import asyncio
import random
import struct
from typing import Any, AsyncIterator

from labkit.engine.protocol import MethodInfo, ModelInfo, Status, TransformInfo
from labkit.errors import EngineError, KnobError, LabError, PromptError
from labkit.knobs import Knob
from labkit.trace import Belief, Closing, Cost, Event, Opening, Request, Step, Tree

WORDS = ["<end>", "a", " b", "\n    ", "c(", ")", "<script>alert(1)</script>", "<img src=x onerror=alert(2)>"]
LENGTH = Knob(name="length", kind="int", default=3, label="Drafted tokens", low=1, high=6, step=1, help="how many")


def belief(token: int) -> Belief:
    """The same shape for every token: it has 0.6, the others share the rest."""
    others = [other for other in range(len(WORDS)) if other != token]
    half = struct.pack(f"<{len(WORDS)}e", *[-0.5 if other == token else -2.9 for other in range(len(WORDS))])
    return Belief(token, 1.1, -0.5, 0, [token, *others], [-0.5] + [-2.9] * len(others), half)


class FakeEngine:
    """`delay` seconds a step; while `gone` is set everything fails as if the server had died; `asked` keeps the requests."""

    def __init__(self, delay: float = 0.0):
        self.delay, self.gone, self.asked, self.computed = delay, False, [], 0

    def _there(self) -> None:
        if self.gone:
            raise EngineError("The engine at 127.0.0.1:1 went away: start it again, the trace stays.")

    async def methods(self) -> list[MethodInfo]:
        self._there()
        return [
            MethodInfo("plain", "Plain", "sampling", "one token a forward", []),
            MethodInfo("chain", "Chain", "speculative", "a draft", [LENGTH], paper="P001", drafts="model"),
        ]

    async def transforms(self) -> list[TransformInfo]:
        return []

    async def models(self) -> list[ModelInfo]:
        return [ModelInfo("fake", vocabulary=len(WORDS), default=True)]

    async def status(self) -> Status:
        self._there()
        return Status("127.0.0.1:1", target="fake")

    async def look(self, what: str, **question: Any) -> dict[str, Any]:
        if what == "tokens":
            return {"ids": list(range(len(question["text"].split())))}
        raise LabError(f"The question {what!r} is not known: ask for tokens.")

    def introduce(self, who: str, page: str) -> None:
        self.introduced = who, page

    async def close(self) -> None:
        pass

    async def run(self, request: Request, window: int = 1) -> AsyncIterator[Event]:
        self.asked.append(request)
        self._there()
        length = LENGTH.check(request.knobs.get("length", 3))
        ids = request.ids or [1 + len(word) % 5 for word in request.prompt.split()]
        if not ids:
            raise PromptError("The prompt is empty: write at least one token.")
        if request.temperature > 2:
            raise KnobError(f"Temperature is {request.temperature}: choose a value from 0 to 2.")
        dice = random.Random(f"{request.seed} {request.temperature} {sum(ids)}")
        pieces = dict(enumerate(WORDS))
        keep = "laws" in request.keep
        beliefs = [belief(token) for token in ids[1:]] if "prompt" in request.keep else []
        yield Opening(request, ids, beliefs, pieces, target="fake", vocabulary=len(WORDS))
        made = 0
        while made < request.max_new_tokens:
            await asyncio.sleep(self.delay)
            self._there()
            self.computed += 1
            if request.method == "plain":
                emitted, sources, tree = [dice.randrange(1, len(WORDS))], ["target"], None
            else:
                tokens = [dice.randrange(1, len(WORDS)) for _ in range(length)]
                taken = dice.randrange(length + 1)
                verdicts = (
                    ["accepted"] * taken + ["refused"] * (taken < length) + ["unreached"] * max(0, length - taken - 1)
                )
                tree = Tree(tokens, list(range(-1, length - 1)), draft_logprobs=[-1.0] * length, verdicts=verdicts,
                            path=list(range(taken)), added=1 + dice.randrange(7), added_from="target")  # fmt: skip
                emitted, sources = [*tokens[:taken], tree.added], ["draft"] * taken + ["target"]
            emitted = emitted[: request.max_new_tokens - made]
            made += len(emitted)
            told = [belief(token) if keep else Belief(token, 1.1, -0.5, 0, [token], [-0.5]) for token in emitted]
            yield Step(
                emitted,
                sources=sources[: len(emitted)],
                beliefs=told,
                tree=tree,
                cost=Cost(1, len(emitted), 0.001, seconds=0.002),
            )
        yield Closing("length")
