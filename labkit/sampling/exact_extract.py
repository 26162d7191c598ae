"""exact-extract (P147): the most probable span of a document, exactly, with one teacher-forced pass a start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from labkit.errors import PromptError
from labkit.knobs import knob
from labkit.lm import Session
from labkit.methods import Study
from labkit.prompts import extraction
from labkit.trace import Step, Tree

LARGEST = 200  # tokens of a document: as many passes


class Span(NamedTuple):
    """An answer that stands in the document: tokens `start` to `start + length - 1`."""

    start: int
    length: int
    nll: float  # -ln p(the span, then the end of the answer), nats
    score: float  # what the search compares: nll, or nll over the number of scored tokens (the end is one of them)


@dataclass
class SpanMap:
    """What the passes said so far: for every start in `tokens` and `ends` a list over the lengths 1, 2, ...

    tokens[start][k] = l = -ln p(token start + k | the span before it), ends[start][k] = e = -ln p(end | span of k + 1 tokens).
    """

    document: list[int]
    longest: int
    normalise: bool = False
    tokens: dict[int, list[float]] = field(default_factory=dict)
    ends: dict[int, list[float]] = field(default_factory=dict)

    def add(self, start: int, passed: tuple[Tensor, Tensor]) -> list[float]:
        """Enter a pass; returns -ln p of every span that begins at `start`, by length."""
        self.tokens[start], self.ends[start] = (part.tolist() for part in passed)
        return [span.nll for span in self.spans(start)]

    def spans(self, start: int) -> list[Span]:
        """Every span that begins at `start`, shortest first: L(i, j) + e(i, j)."""
        total, found = 0.0, []
        for length, (token, end) in enumerate(zip(self.tokens[start], self.ends[start]), 1):
            total += token
            found.append(Span(start, length, total + end, (total + end) / (length + 1 if self.normalise else 1)))
        return found

    def best(self) -> Span:
        """The most probable span of the starts passed so far; the first of equals."""
        return min((span for start in self.tokens for span in self.spans(start)), key=lambda span: span.score)

    def greedy(self) -> Span:
        """Greedy extraction: token by token the likeliest that some span allows, or the end. Needs every start's pass.

        It chooses as a decoder would that masks what no span allows; a decoder needs one forward a token, here the map has them.
        """
        starts, length = list(self.tokens), 0
        while True:
            places = [start for start in starts if length < len(self.tokens[start])]
            if not places:
                break
            likeliest = min(places, key=lambda start: self.tokens[start][length])
            if length and self.ends[starts[0]][length - 1] <= self.tokens[likeliest][length]:
                break
            token = self.document[likeliest + length]
            starts, length = [start for start in places if self.document[start + length] == token], length + 1
        return self.spans(starts[0])[length - 1]

    def find(self, ids: list[int]) -> Span | None:
        """The first span with these ids; None when there is none among the starts passed."""
        places = (start for start in self.tokens if ids and self.document[start : start + len(ids)] == ids)
        start = next(places, None)
        return None if start is None or len(ids) > self.longest else self.spans(start)[len(ids) - 1]


def suffix_pass(session: Session, suffix: list[int], end: int) -> tuple[Tensor, Tensor]:
    """One teacher-forced forward of `suffix` behind the question: l and e [len(suffix)], nats (see `SpanMap`).

    The prefix's cache stays as it is: the suffix is scored as a chain and not kept.
    """
    logs = session.score(Tree(list(suffix), list(range(-1, len(suffix) - 1)))).logits.log_softmax(-1)  # [N+1, V]
    index = torch.tensor(suffix, device=logs.device)[:, None]
    return -logs[:-1].gather(-1, index)[:, 0], -logs[1:, end]


class Answer(NamedTuple):
    """What the model writes by itself: ids, and -ln p of them and the end behind, nats."""

    ids: list[int]
    nll: float


def free_greedy(session: Session, end: int, longest: int) -> Answer:
    """Greedy decoding up to a token with a newline or `longest` tokens; one forward a token, on a fork of `session`."""
    logits = session.logits  # before the fork, so that the prefix is fed once
    session, ids, nll = session.fork()[0], [], 0.0
    while True:
        logs = logits.log_softmax(-1)
        token = int(logs.argmax())
        if len(ids) == longest or "\n" in session.vocabulary.piece(token):
            return Answer(ids, nll - logs[end].item())
        ids.append(token)
        nll -= logs[token].item()
        session.push(token)
        logits = session.logits


class Asked(NamedTuple):
    """A question made ready: what stands before it as ids, the document's ids among them, and the token that ends answers."""

    prefix: list[int]
    document: list[int]
    end: int


def ask(vocabulary, question: dict[str, str], examples: int) -> Asked:
    """The prompt: `examples` answered questions of the same form, the document, the question.

    The parts are turned into tokens one by one, so that the document's tokens are the same wherever it stands. Raises
    `PromptError` when the document has no token or more than 200, or when there are no examples of the question's form.
    """
    opening = vocabulary.encode("")  # some tokenizers begin every text with a token of their own

    def encode(text: str) -> list[int]:
        return vocabulary.encode(text)[len(opening) :]

    form = question["asks"].split()[:1]
    shown = [example for example in extraction("examples") if example["asks"].split()[:1] == form][:examples]
    if len(shown) < examples:
        forms = " or ".join(sorted({repr(example["asks"].split()[0]) for example in extraction("examples")}))
        said = f"There are no examples for {question['asks']!r:.60}"
        raise PromptError(f"{said}: set the examples to 0, or begin the question with {forms}.")
    document = encode(question["document"])
    if not 1 <= len(document) <= LARGEST:
        said = f"The document has {len(document)} tokens"
        raise PromptError(f"{said}: give one of 1 to {LARGEST}, and the question on the last line.")
    prefix = list(opening)
    for example in shown:
        prefix += encode(f"{example['document']}\n{example['asks']} {example['answer']}\n\n\n")
    return Asked(prefix + document + encode("\n" + question["asks"]), document, encode("\n")[-1])


@dataclass
class ExactExtract(Study):
    """Which run of a document's tokens is the likeliest answer, and does greedy decoding find it? (P147)

    For every start i one forward gives l(i, j) = -ln p(x_j | question, x_i..x_j-1) and e(i, j) = -ln p(end | question, x_i..x_j)
    for all ends j; the answer is the argmin of L(i, j) + e(i, j), L being the running sum of l. So n forwards behind a cached
    prefix weigh all O(n^2) spans: exact, no beam. Each step is one pass, that is one column of the map.

    The question stands BEHIND the document here, as a decoder-only model needs it; the paper's T5 reads both with an encoder.
    The answer ends with a newline. Scored are the document's own tokens, which may differ from those of the same text alone;
    p is the raw law, whatever the temperature.
    Left out: the paper's fine-tuning on 0 to 512 examples; answered questions in the prompt stand in its place, and questions in
    a form that the model was trained on ("assert name ==") beside one that it was not ("from module import").
    """

    name, title, paper, lossless = "exact-extract", "exact-extract", "P147", False
    charts = ("span_map",)
    question: int = knob(1, 0, 40, label="Question", help="0: your prompt's last line")
    examples: int = knob(0, 0, 4, label="Examples", help="answered ones before it")
    longest: int = knob(12, 1, 24, unit="tokens", label="Longest answer", help="spans are cut here")
    normalise: bool = knob(False, label="Length normalisation", help="nats a token, not nats")
    words: bool = knob(False, label="Whole words only", help="no start inside a name")

    def steps(self, session, rng):
        asks = self._question(session)
        asked = ask(session.vocabulary, asks, self.examples)
        opened = session.open(asked.prefix)
        piece, document = session.vocabulary.piece, asked.document
        starts = [start for start in range(len(document)) if not self.words or _begins(document, start, piece)]
        found = SpanMap(document, self.longest, self.normalise)
        free = free_greedy(opened, asked.end, self.longest)
        for done, start in enumerate(starts, 1):
            suffix = document[start : start + self.longest]
            column = found.add(start, suffix_pass(opened, suffix, asked.end))
            notes = {"done": done, "of": len(starts), "start": start, "column": [round(nll, 3) for nll in column]}
            notes |= {"tokens": [document, free.ids], "asks": asks["asks"], "answer": asks["answer"]}
            notes |= {"free": {"nll": free.nll, "span": found.find(free.ids)}, "best": found.best()}
            notes |= {"longest": self.longest, "normalise": self.normalise, "forwards": opened.ledger.forwards}
            yield Step(emitted=[], notes=notes | {"greedy": found.greedy() if done == len(starts) else None})

    def _question(self, session: Session) -> dict[str, str]:
        if self.question:
            return extraction()[self.question - 1]
        *lines, last = session.vocabulary.decode(session.ids).rstrip("\n").split("\n")
        return {"document": "".join(f"{line}\n" for line in lines).strip("\n") + "\n" * bool(lines), "asks": last, "answer": ""}


def _begins(document: list[int], start: int, piece) -> bool:
    """Does a word begin here, or something that is no word?"""
    before, here = (piece(document[start - 1]) if start else ""), piece(document[start])
    return not ((before[-1:].isalnum() or before[-1:] == "_") and (here[:1].isalnum() or here[:1] == "_"))
