"""The study of greedy and exact extraction: what it counts, what shows, and where its questions come from."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from labkit import prompts
from labkit.run import run
from labkit.sampling import extraction as study
from labkit.trace import Request, Step
from labkit.train import corpus
from labkit.train.questions import EXAMPLES, LENGTHS, LONGEST_ANSWER, PER_FILE, extraction_questions


def frames(pair, **knobs) -> list[Step]:
    return [event for event in run(pair, Request(method="extraction", prompt="x", knobs=knobs)) if isinstance(event, Step)]


def test_it_counts_what_single_questions_give(shipped64, monkeypatch):
    """Two questions, each as the study of one question answers it."""
    monkeypatch.setattr(study, "EXAMPLES", (0, 2))
    steps = frames(shipped64, questions=2, longest=6)
    assert [step.notes["done"] for step in steps] == [1, 2, 3, 4] and steps[-1].notes["of"] == 4
    truth, forwards = {}, 0
    for number in (1, 2):
        question = prompts.extraction()[number - 1]
        for examples in study.EXAMPLES:
            asked = Request(
                method="exact-extract", prompt="x", knobs={"question": number, "examples": examples, "longest": 6}
            )
            single = [event for event in run(shipped64, asked) if isinstance(event, Step)]
            forwards += sum(step.cost.target_forwards for step in single)
            notes = single[-1].notes
            (document, free), best, greedy = notes["tokens"], notes["best"], notes["greedy"]
            spans = [document[span[0] : span[0] + span[1]] for span in (best, greedy)]
            said = [shipped64.vocabulary.decode(ids).strip() for ids in (*spans, free)]
            found = Counter({f"right {n}": int(text == question["answer"]) for n, text in enumerate(said)}, questions=1)
            found["spans"] = int(notes["free"]["span"] is not None)
            found["best"] = int(bool(notes["free"]["span"]) and notes["free"]["span"][2] == best[2])
            truth.setdefault((question["kind"], examples), Counter()).update(found)
    results = {(one["kind"], one["examples"]): one for one in steps[-1].notes["results"]}
    assert results.keys() == truth.keys()
    for place, counts in truth.items():
        assert {name: results[place][name] for name in counts} == dict(counts)
    assert sum(step.cost.target_forwards for step in steps) == forwards


def test_f1():
    assert study.f1("selection_set", "selection_set") == 1
    assert study.f1("selection", "selection_set") == pytest.approx(2 / 3)
    assert study.f1("a a", "a") == pytest.approx(2 / 3), "counted as often as it occurs"
    assert study.f1("'80'", "80") == 1 and study.f1("", "80") == study.f1("", "") == 0


def test_exact_beats_free_greedy_without_examples(shipped32, monkeypatch):
    """The paper's direction, on half of the questions."""
    monkeypatch.setattr(study, "EXAMPLES", (0,))
    totals = Counter()
    for result in frames(shipped32, questions=20)[-1].notes["results"]:
        totals.update({name: value for name, value in result.items() if name not in ("kind", "examples")})
    assert totals["questions"] == 20
    assert totals["right 0"] >= 1.5 * totals["right 2"] > 0
    assert totals["F1 0"] > totals["F1 2"]
    assert abs(totals["right 0"] - totals["right 1"]) <= 3, "among spans, greedy is nearly as good"
    assert totals["best"] >= 0.7 * totals["spans"] > 0, "where free greedy writes a span, it is mostly the best"


def test_the_shipped_questions(shipped32):
    examples, questions = prompts.extraction("examples"), prompts.extraction()
    assert Counter(one["kind"] for one in questions) == {"value": 20, "import": 20}
    assert [one["kind"] for one in questions[:4]] == ["value", "import"] * 2, "any first few hold both"
    assert Counter(one["kind"] for one in examples) == {"value": EXAMPLES, "import": EXAMPLES}
    assert not {one["source"] for one in examples} & {one["source"] for one in questions}
    encode, decode = shipped32.vocabulary.encode, shipped32.vocabulary.decode
    for one in questions:
        ids = encode(one["document"])
        assert LENGTHS[0] <= len(ids) <= LENGTHS[1] and decode(ids) == one["document"]
        runs = (ids[start : start + n] for start in range(len(ids)) for n in range(1, LONGEST_ANSWER + 1))
        assert any(decode(run).strip() == one["answer"] for run in runs), one["answer"]
    for one in questions + examples:
        if one["kind"] == "import":
            assert ast.parse(one["document"]).body[0].name == one["answer"]
        else:
            name = one["asks"].split()[1]
            assert one["document"].count(f"{name} = {one['answer']}") == 1
            assert isinstance(ast.literal_eval(one["answer"]), int | float | str)


FILE = """class Box_{n}:
    width_{n} = {n}40
    name_{n} = 'box {n}'

    def size(self, other):
        return self.width_{n} * other.width_{n} + other.height
"""
SHORT = "def area_{n}(width, height):\n    side_{n} = 3\n    return width * height\n"


@pytest.fixture
def held_out(monkeypatch):
    def having(files: int, digest: int = 100) -> None:
        texts = [SHORT.format(n=n) for n in range(4)] + [FILE.format(n=n) for n in range(4, files)]
        found = [corpus.Document(f"some/{n}.py", "some", text, f"{digest * (n + 1):064x}") for n, text in enumerate(texts)]
        monkeypatch.setattr(corpus, "sources", list)
        monkeypatch.setattr(corpus, "documents", lambda chosen: iter(found))

    return having


def test_questions_are_made_by_code(held_out, shipped32):
    tokenizer = shipped32.vocabulary.tokenizer.backend_tokenizer
    held_out(24)
    made = extraction_questions(tokenizer, 6)
    assert made == extraction_questions(tokenizer, 6), "the order stays"
    assert len(made["questions"]) == 6 and len(made["examples"]) == 2 * EXAMPLES
    assert {one["source"] for one in made["examples"]}.isdisjoint(one["source"] for one in made["questions"])
    assert max(Counter((one["kind"], one["source"]) for one in made["questions"]).values()) <= PER_FILE
    for one in made["questions"] + made["examples"]:
        assert one["answer"] in one["document"] and one["document"].endswith("\n")


def test_too_few_held_out_files(held_out, shipped32):
    tokenizer = shipped32.vocabulary.tokenizer.backend_tokenizer
    held_out(24, digest=101)  # none of these is held out but every hundredth
    with pytest.raises(ValueError, match="fewer than 20: ask for fewer"):
        extraction_questions(tokenizer)
