"""Monitors (P179): the mask against a scan of the vocabulary, names that do not exist cannot be written, off is plain."""

from __future__ import annotations

import itertools
import re
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.lm import Session
from labkit.methods import build_law
from labkit.sampling.members import Members, missing_brackets, names_behind
from labkit.sampling.monitor import ANALYSES, Heads, Monitor, Monitored, cut, from_table, heads_of
from labkit.trace import Setting

CLASS = """class Basket:
    def __init__(self, owner):
        self.apples = []
        self.owner = owner

    def count(self):
        return len(self."""
IDENTIFIER = re.compile(r"\w*")


@pytest.fixture(scope="module")
def members():
    members = Members(seconds=20)
    yield members
    members.close()


@pytest.fixture
def session(shipped32):
    def opened(text: str, temperature: float = 0.0, transforms=()) -> Session:
        pair = shipped32
        session = Session(pair.target, pair.vocabulary.encode(text), build_law(temperature, list(transforms)))
        session.vocabulary, session.ends = pair.vocabulary, pair.ends
        return session

    return opened


def written(session, method, tokens, rng=None):
    rng = rng or torch.Generator().manual_seed(0)
    with torch.inference_mode():
        return list(itertools.islice(method(session, rng), tokens))


# -- the mask ----------------------------------------------------------------------------------------------------------


def scanned(heads: Heads, ends, names) -> list[int]:
    """The paper's rule, asked of every token of the vocabulary."""
    found = []
    for token, spelled in enumerate(heads.spellings):
        if not spelled:
            if token in ends and b"" in names:
                found.append(token)
            continue
        whole = any(name.startswith(spelled) for name in names)
        behind = [spelled[len(name) :] for name in names if spelled.startswith(name)]
        if whole or any(rest and re.match(rb"[^0-9A-Za-z_\x80-\xff]", rest) for rest in behind):
            found.append(token)
    return found


@settings(max_examples=60, deadline=None)
@given(names=st.sets(st.text("abcdefilmnoprst_", max_size=9), min_size=1, max_size=8))
def test_the_mask_is_that_of_a_scan(shipped32, names):
    pair = shipped32
    heads = Heads([pair.vocabulary.spelling(token) for token in range(pair.vocabulary.size)], pair.ends)
    names = tuple(name.encode() for name in names)
    assert heads.allowed(names) == scanned(heads, pair.ends, names)


def test_every_legal_name_can_be_written(shipped32):
    """Letter by letter at least: single bytes are tokens."""
    pair = shipped32
    heads = Heads([pair.vocabulary.spelling(token) for token in range(pair.vocabulary.size)], pair.ends)
    for name in ("apples", "__class__", "größe", "x"):
        monitor = Monitor(heads, lambda text, name=name: [name, "other"], b"a.")
        for byte in name.encode():
            token = heads.spellings.index(bytes([byte]))
            assert token in heads.allowed(monitor.names)
            monitor.update(token)
        assert b"" in monitor.names and heads.spellings.index(b"(") in heads.allowed(monitor.names)


def test_states():
    heads = Heads([b"", b"ab", b"a", b"b", b"c", b".", b"(", b"b("], [0])
    asked = []
    monitor = Monitor(heads, lambda text: asked.append(text) or ["ab", "abc", "b"], b"x")
    assert monitor.names is None and not asked
    monitor.update(5)
    assert asked == ["x."] and heads.allowed(monitor.names) == [1, 2, 3, 7]
    monitor.update(2)
    assert set(monitor.names) == {b"b", b"bc"} and heads.allowed(monitor.names) == [3, 7], "names of the rest"
    monitor.update(3)
    assert heads.allowed(monitor.names) == [0, 4, 5, 6], "the whole name allows a break, or c; the end of a text is one"
    monitor.update(6)
    assert monitor.names is None and monitor.text == b"x.ab("


def test_nothing_known_lets_everything_pass():
    logits = torch.randn(5)
    assert cut(logits, []) is logits
    heads = Heads([b"a", b"."], [])
    assert (
        Monitor(heads, lambda text: [], b"x.").names is None and Monitor(heads, lambda text: None, b"x.").names is None
    )


# -- decoding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_off_and_empty_are_plain_decoding(session, temperature):
    from labkit.sampling.plain import Plain

    plain = [step.emitted for step in written(session(CLASS, temperature), Plain().steps, 24)]
    assert [step.emitted for step in written(session(CLASS, temperature), Monitored(analysis="off").steps, 24)] == plain
    there = session(CLASS, temperature)
    blind = Monitor(heads_of(there), lambda text: (), CLASS.encode())
    empty = [step.emitted for step in written(there, lambda *both: Monitored().under(blind, *both), 24)]
    assert empty == plain


@pytest.mark.parametrize("seed", range(6))
def test_only_names_that_exist_are_written(session, seed):
    """At temperature 1.5 the model writes nonsense; behind a dot it cannot."""
    names = ["apples", "owner", "count", "apples_left"]
    there = session(CLASS, 1.5)
    monitor = Monitor(heads_of(there), lambda text: names, CLASS.encode())
    steps = written(there, lambda *both: Monitored().under(monitor, *both), 40, torch.Generator().manual_seed(seed))
    for step in steps:
        assert step.notes["written"] not in (
            token for token, passed in zip(step.notes["tokens"][0], step.notes["passed"]) if not passed
        )
    text = monitor.text.decode(errors="replace")
    starts = [CLASS.rindex(".") + 1]
    first = IDENTIFIER.match(text, starts[0]).group()
    assert first in names or any(name.startswith(first) for name in names)
    pieces = [there.vocabulary.spelling(token) for token in there.ids[-40:]]
    at = len(CLASS.encode())
    for piece in pieces:  # every dot that ends a token was a question
        at += len(piece)
        if piece.endswith(b"."):
            name = IDENTIFIER.match(monitor.text[at:].decode(errors="replace")).group()
            assert name in names or at + len(name) >= len(monitor.text)


def test_a_cut_of_the_law_comes_behind_the_monitor(session):
    """Top-k 1 takes the likeliest of what exists, not the likeliest of all, which may not exist."""
    there = session(CLASS, 1.0, [Setting("top-k", {"k": 1})])
    monitor = Monitor(heads_of(there), lambda text: ["zebra"], CLASS.encode())
    steps = written(there, lambda *both: Monitored().under(monitor, *both), 3)
    assert "zebra".startswith(there.vocabulary.piece(steps[0].emitted[0]))


# -- the analysis ------------------------------------------------------------------------------------------------------


def test_members_of_a_class_that_nobody_has_seen_before(members):
    assert {"apples", "owner", "count"} <= set(members.ask(CLASS))


def test_modules_and_what_is_behind_the_cursor(members):
    assert {"path", "getcwd"} <= set(members.ask("import os\nprint(os."))
    assert "later" in members.ask("class A:\n    def f(self):\n        self.", "\n    def later(self):\n        pass\n")


@pytest.mark.parametrize("text", ["# A comment.", "'''A docstring.", "x = 3.", "nobody_knows.", "\x00.", "."])
def test_where_no_name_is_known(members, text):
    assert members.ask(text) == ()


def test_an_answer_that_takes_too_long_is_given_up():
    members = Members(seconds=20)
    assert members.ask("import os\nos.")
    members.seconds = 0.0
    began = time.perf_counter()
    assert members.ask("import sys\nsys.") is None and time.perf_counter() - began < 5
    members.seconds = 20
    assert members.ask("import sys\nsys.") is None, "it is not asked again"
    assert "argv" in members.ask("import sys\n\nsys."), "another process answers"
    members._child.kill()
    members._child.wait()
    assert "argv" in members.ask("import sys\n\n\nsys.")
    members.close()


def test_missing_brackets():
    assert missing_brackets("print(os.") == ")" and missing_brackets("f([x, {1: g(a.") == ")}])"
    assert missing_brackets("f(')', a.") == ")" and missing_brackets("x.") == ""
    assert missing_brackets("x = 1  # see f(a.") is None


def test_the_union_of_open_and_closed():
    seen = []
    names = names_behind("f(a.", "z", lambda *question: seen.append(question) or [str(len(seen))])
    assert names == ["1", "2"] and {code for code, _, _ in seen} == {"f(a.\nz", "f(a.)\nz"}
    assert {place[1:] for place in seen} == {(1, 4)}


def test_the_table_knows_imported_standard_modules_only():
    assert "sqrt" in from_table("import os, math\nmath.") and from_table("math.") == []
    assert from_table("import torch\ntorch.") == [] and from_table("import math\na.math.") == []


def test_every_analysis_is_offered(session):
    assert set(ANALYSES) == {"jedi", "table of modules", "off"}
    steps = written(session("import math\nx = math."), Monitored(analysis="table of modules").steps, 6)
    assert steps[0].notes["known"] > 20 and steps[0].notes["kept"] < 1
