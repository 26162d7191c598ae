"""Constraints: what is right and what can become right, against oracles; tokens, masks and half characters."""

from __future__ import annotations

import ast
import itertools
import json
import keyword
import textwrap
import tokenize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from labkit.errors import LabError, PromptError
from labkit.sampling.constraints import Judge
from labkit.sampling.shipped_constraints import DATE, NO_E, SHIPPED, Json, Python, Regex, Words

VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False) | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=8,
)
TOPS = some.lists(VALUES, max_size=3) | some.dictionaries(some.text(max_size=5), VALUES, max_size=3)


def beginnings(text: str) -> list[str]:
    return [text[:end] for end in range(len(text) + 1)]


def is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_constant=int), dict | list)  # NaN is none of JSON's words
    except ValueError:
        return False


@given(TOPS, some.sampled_from([(", ", ": "), (",", ":"), (" , ", " : ")]), some.booleans())
def test_json_takes_what_json_writes(value, separators, ascii):
    text, judge = json.dumps(value, separators=separators, ensure_ascii=ascii), Json()
    for begun in beginnings(text):
        assert judge.prefix_ok(begun), begun
        assert judge.complete_ok(begun) == is_json(begun)


@settings(max_examples=500)
@given(some.text('{}[]":,0123456789-+.eEtrufalsn\\', max_size=12), some.booleans())
def test_json_is_what_the_parser_takes(text, wide):
    text = text.replace(",", ", ") if wide else text
    for begun in beginnings(text):
        assert Json().complete_ok(begun) == (is_json(begun) and begun == begun.strip()), begun
    for before, after in itertools.pairwise(beginnings(text)):
        assert Json().prefix_ok(before) or not Json().prefix_ok(after)


def test_json_does_not_write_blanks_for_ever():
    json = Json()
    assert json.complete_ok(' [ 1 , { "a  b" : 2 } ]')
    assert not any(map(json.prefix_ok, ["  ", "[  ", "[1  ", "[] ", "[\n", "[\t", "[1,\n", '{"a":  ']))


JSON_ENDS = '{"a": 1, "b": [true, null, -0.5e+1, "x\\u00e9\\n"], "c": {}}'
WRONG = ["1", '"a"', "{1", "{'", "[,", "[1,]", '{"a",', '{"a":}', "[01", "[1.e", "[-a", "[tx", "]", "[}"]


@pytest.mark.parametrize("wrong", WRONG)
def test_json_refuses_at_the_first_wrong_letter(wrong):
    assert not Json().prefix_ok(wrong)
    assert wrong in ("1", '"a"', "]") or Json().prefix_ok(wrong[:-1])
    for begun in beginnings(JSON_ENDS):
        assert Json().prefix_ok(begun)
    assert Json().complete_ok(JSON_ENDS) and not Json().prefix_ok(JSON_ENDS + "]")


@pytest.mark.parametrize("pattern", ["a(b|c)*d", "(ab|a)(bc)?", "a{2,3}b?", "[^b]+c", "(a|b)*abb", ""])
def test_regular_expressions_against_every_text(pattern):
    """A text can become right exactly if some text that begins so is right; seven letters show it for these patterns."""
    right = {text for size in range(8) for text in map("".join, itertools.product("abcd", repeat=size)) if _full(pattern, text)}
    begun = {start for text in right for start in beginnings(text)}
    for size in range(5):
        for text in map("".join, itertools.product("abcd", repeat=size)):
            assert Regex(pattern).complete_ok(text) == (text in right)
            assert Regex(pattern).prefix_ok(text) == (text in begun), (pattern, text)


def _full(pattern: str, text: str) -> bool:
    import re

    return re.fullmatch(pattern, text) is not None


def test_the_shipped_expressions():
    date, no_e = Regex(DATE), Regex(NO_E)
    assert date.complete_ok("1999-12-31") and not date.complete_ok("1999-12-3")
    assert all(map(date.prefix_ok, beginnings("2026-02-29"))) and not any(map(date.prefix_ok, ["21", "1999-13", "1999-1-", " "]))
    assert no_e.prefix_ok("A sly cat") and not no_e.prefix_ok("the") and not no_e.complete_ok("")
    with pytest.raises(LabError, match="no regular expression"):
        Regex("(")


@given(some.lists(some.sampled_from(["a", "an", "ant", "bee"]), min_size=1, max_size=4), some.sampled_from(["", " "]))
def test_words(chosen, lead):
    words, text = Words(["a", "an", "ant", "bee"]), lead + " ".join(chosen)
    assert words.complete_ok(text) and all(map(words.prefix_ok, beginnings(text)))
    assert not words.prefix_ok(text + "x") and not words.prefix_ok(text + "  a") and not words.complete_ok(text + " ")


def pieces_of_real_code(module, longest: int) -> list[str]:
    source = open(module.__file__).read()
    parts = [ast.get_source_segment(source, node) for node in ast.parse(source).body]
    return [part for part in parts if 20 < len(part) < longest]


@pytest.mark.parametrize("module", [textwrap, keyword, tokenize, ast])
def test_no_beginning_of_real_code_is_refused(module):
    python, parts = Python(), pieces_of_real_code(module, 500)[:8]
    assert parts
    for part in parts:
        assert python.complete_ok(part)
        refused = [begun for begun in beginnings(part) if not python.prefix_ok(begun)]
        assert not refused, refused[0]


ODD = '''match x:
    case {"a": [1, *b], **c} if (d := 1e-3) != 0x_1f:
        y = not x is f"{d!r:>{3}}" r"" or 'it''s' \\
            if x else lambda *a, b=..., **c: a @ b // ~c
    case _:
        async def f(a, /, b: int = .5, *, c) -> "str": await a[1:, ...]  # it's
try:
    import a.b as c; from . import d
except* (E, F) as e: raise G from e
'''


def test_no_beginning_of_odd_code_is_refused():
    python = Python()
    assert python.complete_ok(ODD)
    assert [begun for begun in beginnings(ODD) if not python.prefix_ok(begun)] == []


@pytest.mark.parametrize(
    "wrong",
    ["x )", "for x y", "def f():\nx", "try:\n  a\nb", "x y", "return return", "a = = b", "x = 'ab\n", "if x:\n   a\n b", "pass x"]
    + ["[1, 2\n}", "print 'a'", "self.''", 'self."""', "f(a=1, 2)", "x = 1\n  y", "\0", "(" * 300],
)
def test_python_refuses(wrong):
    python = Python()
    assert not python.prefix_ok(wrong + ("" if wrong[-1] in "\n'\"\0(" else " "))
    assert not python.complete_ok(wrong)


@settings(max_examples=300)
@given(some.lists(some.sampled_from("a for in x if : else ( ) [ ] , = == 1 . 'b' \n not # def \" \\ {".split(" ")), max_size=7))
def test_python_is_closed_under_prefixes_and_sound(parts):
    """What may not begin a program cannot become one, and what is right could have been."""
    python, text = Python(), " ".join(parts)
    answers = [python.prefix_ok(begun) for begun in beginnings(text)]
    assert not python.complete_ok(text) or all(answers)


# -- tokens ------------------------------------------------------------------------------------------------------------

TOY = [b"", b"a", b"ab", b"b", b"\xc3", b"\xa9", b"\n", b"\xff", b"e\n"]  # 0 ends a text; 4 and 5 are the halves of one letter


def test_tokens_and_half_characters():
    judge = Judge(Regex("ab*é?"), TOY, {0})
    assert judge.ends == {0, 6}, "a new line ends a text of one line"
    assert judge.allowed(b"") == judge.allowed_shared(b"") == [1, 2]
    judge = Judge(Regex("ab*é?"), TOY, {0})
    assert judge.allowed(b"a") == judge.allowed_shared(b"a") == [0, 3, 4, 6], "a half that may become the letter"
    assert judge.allowed(b"a\xc3") == judge.allowed_shared(b"a\xc3") == [5], "and no text ends within one"
    assert judge.allowed("aé".encode()) == [0, 6]
    assert Judge(Regex(".*"), TOY, {0}).allowed(b"a") == [0, 1, 2, 3, 4, 6], "bytes that are no letter are never allowed"


def test_every_question_is_counted():
    judge = Judge(Words(["a"]), TOY, {0})
    judge.allows(b"", 1), judge.allows(b"", 0), judge.allows(b"", 6)
    assert judge.evaluations == 3


def test_a_special_token_is_no_text(shipped32):
    vocabulary = shipped32.vocabulary
    assert vocabulary.spelling(0) == vocabulary.spelling(9) == b"" == vocabulary.spelling(10**6)
    text = "naïve\n    café = '日本'  # 🙂"
    ids = vocabulary.encode(text)
    assert b"".join(map(vocabulary.spelling, ids)).decode() == text
    assert all(vocabulary.spelling(token).decode("utf-8", "backslashreplace") == vocabulary.piece(token) for token in ids)


BEGUN = {"JSON": '{"n": [1', "Python": "class A:\n    def f(self):\n        return self.", "a date": "20", "no letter e": " th"}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shared_mask_is_the_scanned_one(name, shipped32):
    vocabulary = shipped32.vocabulary
    spellings = [vocabulary.spelling(token) for token in range(shipped32.target.vocabulary)]
    scanned, shared = (Judge(SHIPPED[name](), spellings, shipped32.ends) for _ in range(2))
    text = BEGUN.get(name, " the f").encode()
    found = scanned.allowed(text)
    assert found == shared.allowed_shared(text)
    assert 0 < len(found) < len(spellings)
    assert shared.evaluations < scanned.evaluations <= len(spellings)


def test_a_prompt_that_nothing_can_mend():
    with pytest.raises(PromptError, match="no beginning of a Python program"):
        Judge(Python(), TOY, {0}, b"x ) y")
    assert Judge(Json(), TOY, {0}, b"x ) y").start == b"", "JSON does not look at the prompt"
