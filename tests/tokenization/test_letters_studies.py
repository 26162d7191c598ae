"""The studies of StochasTok and CharBench: what they say is what plain arithmetic on their own tables says."""

from __future__ import annotations

import math
import random
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from labkit.errors import KnobError, ModelError
from labkit.knobs import schema
from labkit.lm import Session
from labkit.methods import build_method
from labkit.run import open_session, run
from labkit.tokenization.charbench import GOLD, PROPERTIES, Item, kept_apart, stratified, words
from labkit.tokenization.charbench_study import UNTAUGHT, CharBench, Pupil, answer, arm, asked
from labkit.tokenization.language_games import CHOICES, GAMES, likeliest, play
from labkit.tokenization.shipped import Shipped
from labkit.tokenization.stochastok import ARMS, WAYS, dropper
from labkit.trace import Request, Trace

TEXT = '# The word "strawberry" is cut into pieces.'


def trace_of(pair, method, steps=10**9, **knobs):
    events = run(pair, Request(method=method, prompt=TEXT, knobs=knobs, max_new_tokens=4))
    trace = Trace(next(events))
    for event in events:
        trace.add(event)
        if len(trace.steps) == steps:
            break
    events.close()
    return trace


@pytest.mark.parametrize("way", WAYS)
def test_every_cut_says_the_same_text(shipped32, way):
    trace = trace_of(shipped32, "stochastok", way=way, p=0.3, draws=6)
    notes = trace.steps[-1].notes
    assert notes["done"] == notes["of"] == (1 if way == WAYS[2] else 6) == len(notes["scores"])
    spelling, plain = shipped32.vocabulary.spelling, notes["plain"]
    for row in [plain, *notes["rows"]]:
        assert b"".join(map(spelling, row["ids"])) == TEXT.encode()
        assert row["sizes"] == [len(spelling(token)) for token in row["ids"]]
        ids = [0, *row["ids"]]
        logs = Session(shipped32.target, ids).prompt_logits().log_softmax(-1)
        due = sum(logs[place, token].item() for place, token in enumerate(ids[1:]))
        assert row["nats"] == pytest.approx(due, abs=1e-3)
    assert plain["ids"] == shipped32.vocabulary.encode(TEXT)
    counts = Counter()
    for step in trace.steps:
        counts.update(np.cumsum([0, *step.notes["rows"][0]["sizes"]])[:-1].tolist())
    assert notes["begins"] == [counts[place] for place in range(len(TEXT))]
    assert [step.notes["rows"][0]["nats"] for step in trace.steps] == [score[1] for score in notes["scores"]]
    assert max(score[0] for score in notes["scores"]) <= (notes["bound"] or len(TEXT))
    assert all(0 <= moved <= 1 for *_, moved in notes["scores"])


def test_no_p_moves_nothing(shipped32):
    notes = trace_of(shipped32, "stochastok", p=0.0, draws=2).steps[-1].notes
    assert all(score == [len(notes["plain"]["ids"]), notes["plain"]["nats"], 0.0] for score in notes["scores"])


def test_dropout_needs_merges_and_every_text_a_beginning(shipped32):
    session = open_session(shipped32, Request(method="stochastok", prompt=TEXT), [70, 71], False)
    session.ends = frozenset()
    with pytest.raises(ModelError, match="no end-of-text token"):
        next(build_method("stochastok", {}).steps(session, torch.Generator()))
    other = SimpleNamespace(tokenizer=None, merges=None, size=2, spelling=lambda token: b"ab"[token : token + 1])
    with pytest.raises(ModelError, match="no byte-level BPE"):
        dropper(Shipped(other))


@pytest.fixture(scope="module")
def benched(shipped32):
    return trace_of(shipped32, "charbench", each=2, longest=8, arm="plain")


def test_the_bench_is_stratified_over_words_kept_apart(benched):
    notes = benched.steps[-1].notes
    assert notes["done"] == notes["of"] == 2 * len(GOLD)
    assert Counter(len(word) for word, *_ in notes["table"]) == {length: 2 for length in range(4, 9)}
    assert all(kept_apart(word) for word, *_ in notes["table"])
    assert set(notes["accuracy"]) == {*ARMS, UNTAUGHT}
    for task, often in notes["constant"].items():
        assert {items for of in notes["accuracy"].values() for items in [of[task][1]]} == {10} and 1 <= often <= 10
    first = benched.steps[0].notes
    assert list(first["accuracy"]["plain"]) == [notes["task"]], "the task that is looked at comes first"


def test_its_figures_are_those_of_its_table(benched):
    notes = benched.steps[-1].notes
    table, right = notes["table"], [row[3] == row[2] for row in notes["table"]]
    assert [row[2] for row in table] == [GOLD[notes["task"]](row[0], row[1]) for row in table]
    assert notes["accuracy"]["plain"][notes["task"]] == [sum(right), len(table)]
    for column, name in enumerate(PROPERTIES, 4):
        values = [row[column] for row in table]
        varies = len(set(values)) > 1 and len(set(right)) > 1
        due = np.corrcoef(values, np.array(right, dtype=float))[0, 1] if varies else None
        assert notes["r"][notes["task"]][name] == (pytest.approx(due, abs=1e-9) if varies else None)
    for name, of in notes["buckets"].items():
        column = 4 + PROPERTIES.index(name)
        for value, share, error, items in of:
            some = [one for one, row in zip(right, table) if row[column] == value]
            assert (share, items) == (sum(some) / len(some), len(some))
            assert error == pytest.approx(math.sqrt(share * (1 - share) / items))
    off = [row[3] - row[2] for row in table if row[3] is not None and row[3] != row[2]]
    assert notes["bias"] == (pytest.approx(sum(off) / len(off)) if off else None)


def test_a_word_letter_by_letter(shipped32):
    pupil = Pupil(shipped32.draft, shipped32.vocabulary, [0], True)
    item = Item("find_first", "mississippi", "s", 2)
    for cut in (False, True):
        ids, inside, held = asked(item, pupil, cut)
        assert b"".join(map(pupil.vocabulary.spelling, ids)) == item.prompt.encode()
        assert sum(held) == 11 and len(held) == (11 if cut else 5) == len(inside)
    same = asked(Item("count_char", "s", "s", 1), pupil, True)
    assert same[2] == [1], "the word, not the letter before it"


def test_a_taught_draft_answers_better_than_an_untaught_one(shipped32):
    """The same questions to the part's weights and to the draft they came from."""
    right = []
    for runner in (arm("plain", torch.device("cpu"), torch.float32), shipped32.draft):
        pupil, hits = Pupil(runner, shipped32.vocabulary, [0], True), 0
        for item in stratified("count_unique", 5, random.Random(0)):
            session = Session(runner, pupil.lead + asked(item, pupil, False)[0])
            hits += answer(session, pupil.vocabulary, 1) == item.gold
        right.append(hits)
    assert right[0] > right[1] + 4, "of 35"


def test_a_game_goes_to_the_likeliest_word(shipped32):
    runner, source = arm("plain", torch.device("cpu"), torch.float32), random.Random(1)
    session, encode = Session(shipped32.target, [70]), shipped32.vocabulary.encode
    for game in (play(name, source) for name in GAMES):
        asked, scores = encode(game.prompt), []
        for end in game.answers:
            logs = Session(runner, [0, *asked, *encode(end)]).prompt_logits().log_softmax(-1)
            scores.append(sum(logs[len(asked) + at, token].item() for at, token in enumerate(encode(end))))
        assert likeliest(game, runner, session) == scores.index(max(scores))
    assert session.cost().target_forwards == len(GAMES) * CHOICES


def test_answers_are_numbers_or_nothing():
    class Says:
        def __init__(self, text):
            self.text, self.at = text, 0

        @property
        def logits(self):
            return torch.nn.functional.one_hot(torch.tensor(ord(self.text[self.at])), 128)

        def push(self, token):
            self.at += 1

    class Letters:
        piece = staticmethod(chr)

    said = {" 4\n": 4, "10\n": 10, "4 or 5": 4, "four": None, " -1\n": None, "\n": None, "1234": 1234, "x1": None}
    assert {text: answer(Says(text), Letters, 4) for text in said} == said


def test_knobs_that_fit_together(shipped32):
    with pytest.raises(KnobError, match="Words from 7 to 5 letters are none"):
        trace_of(shipped32, "charbench", 1, shortest=7, longest=5)
    most = next(knob.high for knob in schema(CharBench) if knob.name == "each")
    assert min(len(of) for of in words(True).values()) >= most, "every choice of the slider can be drawn"
