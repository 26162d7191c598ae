"""exact-extract finds what a brute force over all spans finds, with n passes (P147)."""

from __future__ import annotations

import re

import pytest
import torch

from labkit.errors import PromptError
from labkit.lm import Session
from labkit.prompts import extraction
from labkit.run import run
from labkit.sampling.exact_extract import SpanMap, ask, free_greedy, suffix_pass
from labkit.trace import Closing, Request, Trace

PROMPT = "port = 8080\nname = 'box'\nport_width = 4217\n\nassert port_width =="


def study(pair, prompt: str = PROMPT, **knobs) -> Trace:
    events = run(pair, Request(method="exact-extract", prompt=prompt, knobs={"question": 0, **knobs}))
    trace = Trace(next(events))
    for event in events:
        trace.add(event)
    assert isinstance(trace.closing, Closing) and trace.closing.reason == "done"
    return trace


def asked_of(pair, prompt: str = PROMPT, examples: int = 0):
    *lines, last = prompt.split("\n")
    return ask(pair.vocabulary, {"document": "\n".join(lines).rstrip("\n") + "\n", "asks": last}, examples)


def separately(pair, prefix: list[int], answer: list[int], end: int) -> float:
    """-ln p of an answer and its end by one plain forward over everything: no cache, no tree."""
    logs = Session(pair.target, prefix + answer).prompt_logits().log_softmax(-1)[len(prefix) - 1 :]
    return -sum(logs[place, token].item() for place, token in enumerate([*answer, end]))


def brute_force(pair, asked, longest: int) -> dict[tuple[int, int], float]:
    spans = [(i, n) for i in range(len(asked.document)) for n in range(1, longest + 1) if i + n <= len(asked.document)]
    return {(i, n): separately(pair, asked.prefix, asked.document[i : i + n], asked.end) for i, n in spans}


@pytest.mark.parametrize("normalise", [False, True])
def test_it_is_the_brute_force(tiny_pair, normalise):
    """Every style of model: every cell, the best span, and that nothing is likelier than it."""
    asked = asked_of(tiny_pair)
    truth = brute_force(tiny_pair, asked, 4)
    trace = study(tiny_pair, longest=4, normalise=normalise)
    cells = {(step.notes["start"], n): nll for step in trace.steps for n, nll in enumerate(step.notes["column"], 1)}
    assert cells.keys() == truth.keys() and len(cells) == 4 * len(asked.document) - 6
    assert all(cells[span] == pytest.approx(truth[span], abs=6e-4) for span in truth), "the notes are rounded"
    scores = {span: nll / (span[1] + 1 if normalise else 1) for span, nll in truth.items()}
    best = trace.steps[-1].notes["best"]
    assert best[3] == pytest.approx(min(scores.values()), abs=1e-9)
    assert scores[best[0], best[1]] == pytest.approx(best[3], abs=1e-9)
    assert best[2] == pytest.approx(truth[best[0], best[1]], abs=1e-9)
    for step in trace.steps:  # on the way, too
        known = [score for (start, _), score in scores.items() if start <= step.notes["start"]]
        assert step.notes["best"][3] == pytest.approx(min(known), abs=1e-9)


def test_length_normalisation_matters(shipped64):
    """The two searches differ on some question, so a knob that did nothing would be seen."""
    found = []
    for number in (2, 4):
        plain, divided = (study(shipped64, question=number, normalise=flag).steps[-1].notes for flag in (False, True))
        assert plain["best"][3] == plain["best"][2]
        assert divided["best"][3] == pytest.approx(divided["best"][2] / (divided["best"][1] + 1))
        found.append(plain["best"][:2] != divided["best"][:2])
    assert any(found)


@pytest.mark.parametrize("question", [1, 2, 8])
def test_passes_and_tokens(shipped64, question):
    """n passes, one forward for the prefix, one for each token that greedy wrote; never n * n."""
    trace = study(shipped64, question=question, longest=5)
    document, free = trace.steps[-1].notes["tokens"]
    size = len(document)
    assert len(trace.steps) == trace.steps[-1].notes["of"] == size
    assert trace.cost.target_forwards == 1 + size + len(free)
    assert [step.cost.target_forwards for step in trace.steps[1:]] == [1] * (size - 1)
    asked = ask(shipped64.vocabulary, extraction()[question - 1], 0)
    assert trace.cost.target_tokens == len(asked.prefix) + sum(min(5, size - start) for start in range(size)) + len(free)
    assert trace.cost.draft_forwards == 0


@pytest.mark.parametrize("examples", [0, 2])
def test_the_answer_stands_in_the_document(shipped64, examples):
    for number in (1, 6):
        notes = study(shipped64, question=number, examples=examples).steps[-1].notes
        start, length, *_ = notes["best"]
        document = shipped64.vocabulary.decode(notes["tokens"][0])
        assert document == extraction()[number - 1]["document"], "the document's own tokens, and all of them"
        text = shipped64.vocabulary.decode(notes["tokens"][0][start : start + length])
        assert text and text in document


def test_it_scores_the_tokens_of_the_context(shipped64):
    """The 75 of 0.0575 is two tokens there and one token alone. The map has the former."""
    encode = shipped64.vocabulary.encode
    asked = asked_of(shipped64, "share = 0.0575\n\nassert share ==")
    document, found = asked.document, SpanMap(asked.document, 6)
    session = Session(shipped64.target, asked.prefix)
    for start in range(len(document)):
        found.add(start, suffix_pass(session, document[start : start + 6], asked.end))
    spans = [span for start in range(len(document)) for span in found.spans(start)]
    odd = [
        (span, ids, alone)
        for span in spans
        if (ids := document[span.start :][: span.length]) != (alone := encode(shipped64.vocabulary.decode(ids)))
    ]
    assert odd, "some text has other tokens when it stands alone"
    for span, ids, alone in odd:
        assert span.nll == pytest.approx(separately(shipped64, asked.prefix, ids, asked.end), abs=1e-9)
        assert span.nll != pytest.approx(separately(shipped64, asked.prefix, alone, asked.end), abs=1e-3)


def masked_greedy(pair, asked, longest: int) -> list[int]:
    """Greedy with a mask over what no span allows, one forward a token: what `SpanMap.greedy` reads off the map."""
    document, said = asked.document, []
    while len(said) < longest:
        logits = Session(pair.target, asked.prefix + said).logits
        places = [i for i in range(len(document)) if document[i : i + len(said)] == said]
        allowed = {document[i + len(said)] for i in places if i + len(said) < len(document)} | ({asked.end} if said else set())
        token = max(allowed, key=lambda token: logits[token].item())
        if said and token == asked.end:
            break
        said.append(token)
    return said


@pytest.mark.parametrize("question", [1, 2, 4, 12])
def test_greedy_among_spans_is_a_masked_decoder(shipped64, question):
    notes = study(shipped64, question=question, longest=6).steps[-1].notes
    start, length, nll, _ = notes["greedy"]
    asked = ask(shipped64.vocabulary, extraction()[question - 1], 0)
    said = masked_greedy(shipped64, asked, 6)
    assert asked.document[start : start + length] == said
    assert nll == pytest.approx(separately(shipped64, asked.prefix, said, asked.end), abs=1e-9)
    assert nll >= notes["best"][2] - 1e-12


def test_greedy_found_the_best_span(shipped64):
    """A question in the form that the model was trained on: what it writes by itself is a span, and the likeliest."""
    notes = study(shipped64).steps[-1].notes
    span = notes["free"]["span"]
    assert shipped64.vocabulary.decode(notes["tokens"][1]) == " 4217"
    assert notes["free"]["nll"] == pytest.approx(span[2], abs=1e-9), "the fork's forwards say what the map says"
    assert span[:3] == pytest.approx(notes["best"][:3]) and notes["greedy"][:3] == pytest.approx(notes["best"][:3])


def test_free_greedy_is_greedy(shipped64):
    asked = asked_of(shipped64)
    session = Session(shipped64.target, asked.prefix)
    session.vocabulary = shipped64.vocabulary
    for longest in (2, 12):
        said, ids = free_greedy(session, asked.end, longest), list(asked.prefix)
        while len(ids) < len(asked.prefix) + longest:
            token = int(Session(shipped64.target, ids).logits.argmax())
            if "\n" in shipped64.vocabulary.piece(token):
                break
            ids.append(token)
        assert said.ids == ids[len(asked.prefix) :]
        assert said.nll == pytest.approx(separately(shipped64, asked.prefix, said.ids, asked.end), abs=1e-9)
    assert session.ids == asked.prefix, "it wrote on a fork"


def test_whole_words_only(shipped64):
    trace = study(shipped64, "selection_set = read1\nother = 1\n\nassert other ==", words=True)
    pieces, document = trace.pieces, trace.steps[-1].notes["tokens"][0]
    starts = [step.notes["start"] for step in trace.steps]
    text = [pieces[token] for token in document]
    inside = [i for i in range(1, len(text)) if text[i - 1][-1:].isidentifier() and f"a{text[i][:1]}".isidentifier()]
    assert inside and sorted({*starts, *inside}) == list(range(len(document))) and not {*starts} & {*inside}


def test_examples_stand_before_the_document(shipped64):
    question = extraction()[1]
    asked = ask(shipped64.vocabulary, question, 3)
    text = shipped64.vocabulary.decode(asked.prefix)
    shown = [one for one in extraction("examples") if one["kind"] == question["kind"]][:3]
    parts = [f"{one['document']}\n{one['asks']} {one['answer']}\n\n\n" for one in shown]
    assert text == "".join(parts) + question["document"] + "\n" + question["asks"]
    assert asked.document == shipped64.vocabulary.encode(question["document"])


@pytest.mark.parametrize(
    ("prompt", "knobs", "sentence"),
    [
        ("x = 1\n\nwhat is x?", {"examples": 1}, "no examples for 'what is x?': set the examples to 0"),
        ("one line", {}, "The document has 0 tokens: give one of 1 to 200"),
        ("x = 1\n" * 90 + "assert x ==", {}, "tokens: give one of 1 to 200"),
    ],
    ids=["form", "empty", "long"],
)
def test_questions_that_will_not_do(prompt, knobs, sentence, shipped32):
    with pytest.raises(PromptError, match=re.escape(sentence)):
        study(shipped32, prompt, **knobs)


def test_ties_go_to_the_first():
    found = SpanMap([7, 8, 7, 8], 2)
    for start in range(4):
        found.add(start, (torch.tensor([1.0, 0.5][: 4 - start]), torch.tensor([0.25, 0.25][: 4 - start])))
    assert found.best()[:2] == (0, 1) and found.find([8])[:2] == (1, 1) and found.find([8, 8]) is None
    assert found.find([]) is None and found.find([7, 8, 7]) is None, "longer than any span that was scored"
