"""How optimal is greedy decoding for extractive questions? exact-extract against greedy, by the number of examples (P147)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from labkit.knobs import knob
from labkit.methods import Study
from labkit.prompts import extraction
from labkit.sampling.exact_extract import SpanMap, ask, free_greedy, suffix_pass
from labkit.trace import Step

EXAMPLES = (0, 1, 2, 4)
DECODERS = ("exact-extract", "greedy among spans", "greedy, free")


def f1(said: str, true: str) -> float:
    """The F1 of two answers' words and numbers, each counted as often as it occurs; an underscore parts words."""
    ours, theirs = (Counter(re.findall("[A-Za-z]+|[0-9]+", text)) for text in (said, true))
    return 2 * (ours & theirs).total() / max(1, ours.total() + theirs.total())


@dataclass
class Extraction(Study):
    """How often is the most probable span right, and how often what greedy decoding writes? (P147)

    Each step asks one question about held-out code with 0, 1, 2 or 4 answered examples before it. exact-extract takes the most
    probable span; "greedy among spans" goes token by token but may write nothing else than a span; "greedy, free" may write
    anything. Right = the same text as the answer that the code's syntax tree gives. F1 counts shared words.

    The paper fine-tunes T5 on 16 to 512 examples and sees greedy catch up; here nothing is trained, the examples stand in the
    prompt, and with the shipped target the gap stays: what shows is that it is not the search that fails, since greedy among
    spans does about as well as the exact one. Half of the questions have a form that this model was trained on
    ("assert name =="), half one that it was not ("from module import").
    """

    name, title, paper, lossless = "extraction", "Greedy or exact extraction", "P147", False
    charts = ("extraction",)
    questions: int = knob(40, 2, 40, step=2, label="Questions", help="half of each form")
    longest: int = knob(12, 1, 24, unit="tokens", label="Longest answer", help="spans are cut here")
    normalise: bool = knob(False, label="Length normalisation", help="nats a token, not nats")

    def steps(self, session, rng):
        asked, done = extraction()[: self.questions], 0
        kinds = dict.fromkeys(question["kind"] for question in asked)
        sums = {(kind, examples): Counter() for kind in kinds for examples in EXAMPLES}
        for question in asked:
            for examples in EXAMPLES:
                sums[question["kind"], examples].update(self.answer(session, question, examples))
                done += 1
                notes = {"done": done, "of": len(asked) * len(EXAMPLES), "decoders": list(DECODERS)}
                results = [{"kind": kind, "examples": examples, **total} for (kind, examples), total in sums.items()]
                yield Step(emitted=[], notes=notes | {"results": results})

    def answer(self, session, question: dict[str, str], examples: int) -> dict[str, float]:
        """One question: "right 0" and "F1 0" of the first decoder, and so on; is free greedy's answer a span, the best one?"""
        asked, decode = ask(session.vocabulary, question, examples), session.vocabulary.decode
        opened, found = session.open(asked.prefix), SpanMap(asked.document, self.longest, self.normalise)
        free = free_greedy(opened, asked.end, self.longest)
        for start in range(len(asked.document)):
            found.add(start, suffix_pass(opened, asked.document[start : start + self.longest], asked.end))
        said = [decode(asked.document[span.start :][: span.length]) for span in (found.best(), found.greedy())]
        said.append(decode(free.ids))
        result = {"questions": 1}
        for number, text in enumerate(said):
            result[f"right {number}"] = int(text.strip() == question["answer"])
            result[f"F1 {number}"] = f1(text, question["answer"])
        span = found.find(free.ids)
        return result | {"spans": int(span is not None), "best": int(span is not None and span.score == found.best().score)}
