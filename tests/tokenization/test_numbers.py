"""Chunks of numbers, the paper's ways to write them, its prompts, and what the two small adders read (P087)."""

from __future__ import annotations

import re
from itertools import islice
from random import Random

import pytest

from labkit.errors import KnobError
from labkit.tokenization import addition
from labkit.tokenization.addition import BOTH, END, EQUALS, IDS, MARK, PIECES, PLUS, REPEATED, sides, value, ways
from labkit.tokenization.numbers import (
    FORMATS,
    Numbers,
    Sum,
    carries,
    chunks,
    few_shot,
    problems,
    prompt,
    read,
    written,
)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("direction", ["l2r", "r2l"])
def test_chunks_rejoin_and_all_but_one_are_whole(direction, size):
    for length in range(14):
        digits = "".join(str((place * 7 + 1) % 10) for place in range(length))
        found = chunks(digits, direction, size)
        assert "".join(found) == digits and all(found)
        whole = found[:-1] if direction == "l2r" else found[1:]
        assert all(len(chunk) == size for chunk in whole)
        assert all(1 <= len(chunk) <= size for chunk in found)


def test_the_papers_examples():
    assert chunks("1234567", "l2r") == ["123", "456", "7"] and chunks("1234567", "r2l") == ["1", "234", "567"]
    assert [written(1234567, how) for how in FORMATS] == ["1234567", "1,234,567", "123,456,7", "1 234 567", "123 456 7"]
    assert written(1234567, "comma_r2l") == f"{1234567:,}"
    for wrong in (lambda: chunks("1", "up"), lambda: chunks("1", "l2r", 0), lambda: written(1, "dots")):
        with pytest.raises(KnobError, match="choose"):
            wrong()


def test_an_answer_is_read_whatever_separates_its_digits():
    for how in FORMATS:
        assert read(f" {written(9876543210, how)}\n1+1=2") == 9876543210
    assert read("12, and so on") == 12 and read("007") == 7
    assert read("the answer is 12") is None and read("") is None


def test_carries_and_longer_sums_are_those_of_adding_by_hand():
    assert carries(95, 17) == [True, True] and carries(5, 1) == [False] and carries(999, 1) == [True] * 3
    rng = Random(0)
    for _ in range(300):
        a, b = rng.randrange(1, 10**6), rng.randrange(1, 10**6)
        # every carry takes ten from one place and gives one to the next: the digits' sum drops by nine
        lost = sum(map(int, f"{a}{b}")) - sum(map(int, str(a + b)))
        assert sum(carries(a, b)) == Sum(a, b).carries == lost // 9
        assert Sum(a, b).grows == carries(a, b)[-1] == (len(str(a + b)) == 1 + max(len(str(a)), len(str(b))))


def test_every_second_problem_grows():
    for digits in (1, 4, 9):
        found = problems(10, digits, Random(1))
        assert [problem.grows for problem in found] == [False, True] * 5
        assert {len(str(n)) for problem in found for n in problem} == {digits}


def test_few_shot_prompts_are_the_papers():
    """Ninety problems: ten rounds over addends of 7 to 9 digits; the solved ones have the same lengths and are right."""
    lengths = []
    for problem, solved in few_shot(90, 8, seed=3):
        lengths.append(tuple(len(str(n)) for n in problem))
        assert len(solved) == 8 and {tuple(len(str(n)) for n in one) for one in solved} == {lengths[-1]}
    assert len(set(lengths)) == 9 and all(lengths.count(pair) == 10 for pair in set(lengths))
    problem, solved = next(few_shot(1, 2))
    for how in FORMATS:
        *lines, last = prompt(problem, solved, how).split("\n")
        assert len(lines) == 2 and last == f"{written(problem.a, how)}+{written(problem.b, how)}="
        for line in lines:
            a, b, total = (read(part) for part in re.split("[+=]", line))
            assert a + b == total


@pytest.mark.parametrize("direction", ["l2r", "r2l"])
def test_the_segmenter_chunks_digits_and_leaves_the_rest_to_words(direction):
    segmenter = Numbers(direction=direction)
    for text in ("pi = 3.14159265, x1234567y", "٣٤٥ and ² and 12", "", "0" * 7, "a\n\n  12345 \U0001f600", "1\x002"):
        assert segmenter.decode(segmenter.cut(text)) == text.encode()
    said = [segmenter.spelling(token).decode() for token in segmenter.cut("sum 1234567 is")]
    assert said == ["sum", " ", *chunks("1234567", direction), " is"]


def test_the_adders_have_every_number_of_three_digits_and_a_few_signs():
    assert len(PIECES) == len(IDS) == 1110 + 4 == MARK and len({piece for piece in PIECES if piece.isdigit()}) == 1110
    problem = Sum(1234567, 8999)
    for way in ("l2r", "r2l"):
        asked, due = sides(problem, way)
        assert "".join(PIECES[token] for token in asked) == "1234567+8999=" and due[-1] == END
        assert value(due) == 1243566
    assert [PIECES[token] for token in sides(problem, "r2l")[0]] == ["1", "234", "567", "+", "8", "999", "="]
    asked, due = sides(problem, REPEATED)
    assert asked == [*sides(problem, "l2r")[0], MARK] and due == [*sides(problem, "r2l")[0], *sides(problem, "r2l")[1]]
    assert value(due) == 1243566 and len(due) <= addition.LONGEST
    assert ways(BOTH) == ("l2r", "r2l", REPEATED) and ways("l2r") == ("l2r",)


def test_what_is_no_number_is_no_answer():
    one = IDS["001"]
    assert value([one, END, one]) == 1 and value([one]) is None and value([END]) is None
    assert value([one, PLUS, one, END]) is None and value([EQUALS, one, MARK, END]) is None
    assert value([one, EQUALS, one, one, END]) == 1001


def test_the_shipped_adders_add():
    """On sums of today, not those that were measured after training."""
    for name in ("l2r", "r2l"):
        asked = list(islice(problems(24, 6, Random(9)), 24))
        right = sum(addition.answer(addition.adder(name), problem, name) == sum(problem) for problem in asked)
        assert right >= 12, name
