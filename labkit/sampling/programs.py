"""Programs behind a prompt: where one ends, the likeliest next tokens of a prefix, whole programs by beam search."""

from __future__ import annotations

import re
from typing import NamedTuple

from torch import Tensor

from labkit.errors import LabError, PromptError
from labkit.law import NOT_NUMBERS
from labkit.lm import Session
from labkit.trace import Tree

END = re.compile(r"\n(?=\S)|<\||</s>")  # a line that begins at the margin, or the name of a special token


class Program(NamedTuple):
    """What was written behind the prompt, as tokens and as text up to where the function ends; `worth`: what it earned."""

    tokens: tuple[int, ...]
    text: str
    finished: bool
    passed: list[bool] = []
    worth: float = 0.0


class Pen:
    """The model behind one prompt: the likeliest next tokens of a prefix, and whole programs from it by beam search.

    A prefix is what was written behind the prompt, a tuple of tokens. Every law asked for is one forward of the target, a level
    of several beams is one too. `lists` remembers the k likeliest of every prefix met (P166's tree structure cache),
    `programs` what greedy decoding writes through a prefix (its sequence cache).
    """

    def __init__(self, session: Session, k: int, beams: int, horizon: int):
        self.session, self.k, self.beams = session, k, beams
        self.base = len(session.ids)
        self.horizon = min(horizon, session.runner.context - self.base)
        if self.horizon < 1:
            raise PromptError(f"The prompt has {self.base:,} tokens and fills the model's context: shorten it.")
        self.prompt = session.vocabulary.decode(session.ids)
        self.first: Tensor | None = None
        self.lists: dict[tuple, tuple[list[int], list[float]]] = {}
        self.programs: dict[tuple, Program] = {}

    def read(self, written: tuple[int, ...]) -> Program:
        """`written` as a program: up to where the function ends; unfinished at the horizon, it loses a last line that was cut."""
        text = self.session.vocabulary.decode(list(written))
        if end := END.search(text):
            return Program(written, text[: end.start()] + "\n", True)
        if len(written) >= self.horizon:
            text = text[: text.rfind("\n") + 1] or text
        return Program(written, text, False)

    def ends(self, written: tuple[int, ...]) -> bool:
        """Is `written` a whole program, or as long as one may be?"""
        return len(written) >= self.horizon or self.read(written).finished

    def likeliest(self, prefix: tuple[int, ...], row: Tensor) -> tuple[list[int], list[float]]:
        """The k likeliest tokens of the law behind `prefix` and their ln p, remembered; `row`: logits [V]."""
        best = row.log_softmax(-1).topk(min(max(self.k, self.beams), row.shape[-1]))
        if bool(best.values.isnan().any()):
            raise LabError(NOT_NUMBERS)
        self.lists[prefix] = best.indices.tolist(), best.values.tolist()
        return self.lists[prefix]

    def law(self, prefix: tuple[int, ...]) -> Tensor:
        """Logits [V] behind `prefix`: one forward; those behind the prompt itself are kept."""
        session, here = self.session, (*self.session.ids[self.base :],)
        if here != prefix:
            shared = next((at for at, (a, b) in enumerate(zip(here, prefix)) if a != b), min(len(here), len(prefix)))
            session.rewind(self.base + shared)
            session.push(*prefix[shared:])
        if prefix:
            return session.logits
        if self.first is None:
            self.first = session.logits
        return self.first

    def complete(self, prefix: tuple[int, ...]) -> Program:
        """The best program behind `prefix` by beam search, by mean ln p of the new tokens; one beam is greedy decoding."""
        tree, rows = Tree([], []), self.law(prefix)[None]
        beams, whole = [(0.0, -1, prefix)], []  # sum of ln p, newest node, written
        while beams and len(whole) < self.beams:
            longer = []
            for (score, node, written), row in zip(beams, rows):
                tokens, logs = self.likeliest(written, row)
                longer += [(score + more, node, (*written, token)) for token, more in zip(tokens, logs)]
            longer = sorted(longer, key=lambda beam: -beam[0])[: self.beams]
            whole += [(score / (len(written) - len(prefix)), written) for score, _, written in longer if self.ends(written)]
            beams = []
            for score, node, written in longer:
                if not self.ends(written):
                    tree.tokens.append(written[-1])
                    tree.parents.append(node)
                    beams.append((score, len(tree.tokens) - 1, written))
            if beams and len(whole) < self.beams:
                rows = self.session.grow(tree, [node for _, node, _ in beams]).logits
        return self.read(max(whole, key=lambda found: found[0])[1])
