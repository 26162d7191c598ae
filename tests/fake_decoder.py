"""A fake decoder that counts what it computed and freed, and the pair it pretends to run on."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

from labkit.errors import PromptError
from labkit.trace import Belief, Closing, Cost, Opening, Request, Step


class Decoder:
    """Yields as many steps as tokens were asked for. The seed names the run: `order` says whose step came when."""

    def __init__(self, seconds: float = 0.0):
        self.seconds = seconds  # how long a step takes
        self.order: list[int] = []
        self.opened = self.freed = 0
        self.fail: dict[int, Exception] = {}  # step number -> what it raises
        self.gate = threading.Event()  # while it is down, a step is not over
        self.gate.set()
        self.waiting = 0  # steps under way

    def __call__(self, pair, request: Request):
        self.opened += 1
        try:
            yield Opening(request, prompt_ids=[1, 2], pieces={1: "a", 2: "b"}, target="fake")
            for number in range(request.max_new_tokens):
                if trouble := self.fail.get(number):
                    raise trouble
                self.waiting += 1
                time.sleep(self.seconds)
                self.gate.wait(30)
                self.waiting -= 1
                self.order.append(request.seed)
                belief = Belief(number, 0.5, -0.1, 0, [number, 7], [-0.1, -2.0])
                yield Step([number], beliefs=[belief], cost=Cost(1, 1), pieces={number: f"t{number}", 7: "seven"})
            yield Closing("length", "text")
        finally:
            self.freed += 1


def fake_pair(target: str, draft: str):
    if draft == "none":
        raise PromptError("A loader can say no: choose a draft.")
    runner = SimpleNamespace(device="cpu", dtype="torch.float32", vocabulary=10, context=64)
    vocabulary = SimpleNamespace(encode=lambda text: list(text.encode()), pieces=lambda ids: {i: str(i) for i in ids})
    return SimpleNamespace(target=runner, vocabulary=vocabulary, target_name=target, draft_name=draft)
