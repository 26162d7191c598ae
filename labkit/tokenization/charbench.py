"""CharBench (P010): four questions about the letters of a word, and what the cut into tokens has to do with the answers.

How often is a letter in a word, how many different letters does it have, where does one stand first, where last? Every answer
can be computed, so any number of items can be made. For each right or wrong answer the word's properties are known, and their
correlation with being right says what makes it hard: the number of tokens, or the length of the one that hides the letter.

Left out: the paper's prompt in sentences and its corpus (MiniPile). Ours is a compact form that a small model can be taught,
and words of the standard library's sources, which every install has.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from labkit.errors import KnobError
from labkit.tokenization.texts import domain

LENGTHS = range(4, 11)  # characters: the paper's
WORD = re.compile(r"(?<![A-Za-z0-9_])[A-Za-z][A-Za-z_]{3,9}(?![A-Za-z0-9_])")
SEEN = 2  # times a word stands in the text: what stands there once is often no word
APART = 5  # one word in five is asked in tests only
KILOBYTES = 12_000  # of source that words are taken from

GOLD = {  # the paper's tasks, zero-based and case-sensitive
    "count_char": lambda word, letter: word.count(letter),
    "count_unique": lambda word, letter: len(set(word)),
    "find_first": lambda word, letter: word.index(letter),
    "find_last": lambda word, letter: word.rindex(letter),
}
ASKED = {"count_char": "count {} {}", "count_unique": "unique {1}", "find_first": "first {} {}", "find_last": "last {} {}"}
INDEXING = ("find_first", "find_last")
PROPERTIES = ("WL", "GT", "GT/WL", "NT", "CR", "TTL")


class Item(NamedTuple):
    """A question: its task, the word, the letter asked for ("" where none is) and the right answer."""

    task: str
    word: str
    letter: str
    gold: int

    @property
    def prompt(self) -> str:
        """The question in its compact form; what is missing is the number."""
        return f"{ASKED[self.task].format(self.letter, self.word)} = "


def kept_apart(word: str) -> bool:
    """Is this word asked in tests only? One in five, by its hash alone: the same words in every install."""
    return int(hashlib.sha256(word.encode()).hexdigest(), 16) % APART == 0


@cache
def words(test: bool) -> dict[int, tuple[str, ...]]:
    """Identifiers and words of comments and docstrings, by their length: those asked in tests, or the others."""
    chosen = sorted(word for word in _seen() if kept_apart(word) == test)
    return {length: tuple(word for word in chosen if len(word) == length) for length in LENGTHS}


@cache
def _seen() -> list[str]:
    counts = Counter(word for text in domain("python", KILOBYTES) for word in WORD.findall(text))
    return [word for word, count in counts.items() if count >= SEEN]


def ask(task: str, word: str, rng: random.Random) -> Item:
    """A question about `word`; the letter asked for is the one at a place drawn at random (inferred)."""
    letter = "" if task == "count_unique" else rng.choice(word)
    return Item(task, word, letter, GOLD[task](word, letter))


def stratified(task: str, each: int, rng: random.Random, lengths: Iterable[int] = LENGTHS, test: bool = True) -> list[Item]:
    """`each` items of every length; no word twice. Raises `KnobError` when a length has too few words."""
    found, known = [], words(test)
    for length in lengths:
        if each > len(known[length]):
            raise KnobError(f"{each} items of length {length} are asked for: choose 1 to {len(known[length])}.")
        found += [ask(task, word, rng) for word in rng.sample(known[length], each)]
    return found


def pieces_of(spellings: Sequence[bytes], start: int, size: int) -> list[int]:
    """How many bytes of a word each of its tokens holds: the tokens are `spellings`, the word lies at `start`, `size` long."""
    held, at = [], 0
    for piece in spellings:
        held.append(max(0, min(at + len(piece), start + size) - max(at, start)))
        at += len(piece)
    return [size for size in held if size]


def properties(item: Item, pieces: Sequence[int]) -> dict[str, float | None]:
    """The paper's: word length, gold answer, their ratio, number of tokens, characters a token, length of the target's token.

    `pieces`: characters of the word in each of its tokens. TTL, the length of the token that holds the occurrence asked for, is
    None where no place is asked for.
    """
    length, hiding = len(item.word), None
    if item.task in INDEXING:
        end = 0
        for hiding in pieces:
            end += hiding
            if end > item.gold:
                break
    values = (length, item.gold, item.gold / length, len(pieces), length / len(pieces), hiding)
    return dict(zip(PROPERTIES, values))


def pearson(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Pearson's r; None where one of the two never varies, or for fewer than two pairs."""
    size = len(xs)
    if size < 2:
        return None
    mean_x, mean_y = math.fsum(xs) / size, math.fsum(ys) / size
    off_x, off_y = [x - mean_x for x in xs], [y - mean_y for y in ys]
    spread = math.sqrt(math.fsum(x * x for x in off_x) * math.fsum(y * y for y in off_y))
    return math.fsum(x * y for x, y in zip(off_x, off_y)) / spread if spread else None


def correlations(right: Sequence[bool], table: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """r of being right with each property; None where the property or the answers do not vary, or the task has none."""
    scores = [float(one) for one in right]
    return {
        name: None if any(row[name] is None for row in table) else pearson([row[name] for row in table], scores)
        for name in PROPERTIES
    }


def buckets(right: Sequence[bool], values: Sequence[float]) -> list[tuple[float, float, float, int]]:
    """By value, ascending: the value, the share that is right, its binomial standard error, how many items."""
    found = []
    for value in sorted(set(values)):
        some = [one for one, of in zip(right, values) if of == value]
        share = sum(some) / len(some)
        found.append((value, share, math.sqrt(share * (1 - share) / len(some)), len(some)))
    return found


def overlap(wrong: set[int], other: set[int]) -> float:
    """IoU of the items that two models get wrong; 1 where neither is wrong anywhere."""
    return len(wrong & other) / len(wrong | other) if wrong | other else 1.0


def bias(golds: Sequence[int], answers: Sequence[int | None]) -> float | None:
    """Mean of answer minus gold over the wrong answers that are numbers: below 0 = counts too few. None where there are none."""
    off = [answer - gold for gold, answer in zip(golds, answers) if answer is not None and answer != gold]
    return sum(off) / len(off) if off else None
