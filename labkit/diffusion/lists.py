"""Small problems whose right answers are all known, and equally likely: lists, squares, dominoes, sums, brackets (P132).

A problem is 18 tokens: its name, 16 slots, "="; the answer stands behind it. A list fills the first slots and is told its place
and its item in the last two. A square's slots are its cells, empty where no clue is given. Slots that nothing needs are empty, so
that an item's place in the answer is always as far behind its place in the list.

The ten list operations and the two puzzles are ParallelBench's (16 cells, and `n` clues); dominoes, running sums and brackets are
this lab's, for chains of dependence, for depth of computation, and for a grammar.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations, product
from math import factorial
from random import Random

VOCABULARY, LENGTH = 128, 48
END, MASK, EMPTY, EQUALS = range(4)
OPENS, CLOSES = (4, 6), (5, 7)  # ( [ and ) ]
DIGITS = range(8, 18)
TASKS = (
    "copy", "reverse", "sort", "shuffle", "replace-index", "replace-random", "insert-index", "insert-random", "remove-index",
    "remove-random", "latin", "sudoku", "domino", "running-sum", "brackets",
)  # fmt: skip
NAMES = range(18, 18 + len(TASKS))
PLACES = range(40, 56)  # numbers of places in a list, and of tokens asked for
ITEMS = range(64, 128)
FACES = 8  # of a domino, which is one item: 8 times its left face and its right face
SLOTS, SIDE = 16, 4
HEAD = SLOTS + 2  # tokens of a problem
LEAST, MOST = 3, 12  # of n
ASK, ITEM = 14, 15  # slots of a place (or a number of tokens) and of an item
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZαβγδεζηθικλμ"

Tokens = tuple[int, ...]


def task_of(problem: Tokens) -> str:
    """The task that a problem (18 tokens) belongs to."""
    return TASKS[problem[0] - NAMES[0]]


def listed(problem: Tokens) -> Tokens:
    """The list that a problem is about."""
    return tuple(token for token in problem[1 : 1 + ASK] if token != EMPTY)


def length(problem: Tokens) -> int:
    """How many tokens the answer has."""
    task, count = task_of(problem), len(listed(problem))
    if task in ("latin", "sudoku"):
        return SLOTS
    if task in ("domino", "brackets"):
        return problem[1 + ASK] - PLACES[0]
    return count + task.startswith("insert") - task.startswith("remove")


def posed(task: str, slots: Tokens = (), ask: int = EMPTY, item: int = EMPTY) -> Tokens:
    """A problem's 18 tokens."""
    filled = [*slots, *[EMPTY] * (SLOTS - len(slots))]
    if len(slots) <= ASK:
        filled[ASK:] = [ask, item]
    return NAMES[TASKS.index(task)], *filled, EQUALS


def draw(task: str, n: int, rng: Random) -> tuple[Tokens, Tokens]:
    """A problem and one of its answers, both drawn evenly: n items (or clues, or tokens asked for)."""
    if task in ("latin", "sudoku"):
        answer = rng.choice(squares(task))
        clues = set(rng.sample(range(SLOTS), n))
        return posed(task, tuple(token if cell in clues else EMPTY for cell, token in enumerate(answer))), answer
    if task == "domino":
        faces = [rng.randrange(FACES) for _ in range(n + 1)]
        return posed(task, ask=PLACES[n]), tuple(ITEMS[FACES * left + right] for left, right in zip(faces, faces[1:]))
    if task == "brackets":
        depth = rng.choice([depth for depth in range(1, min(n, 7)) if (n - depth) % 2 == 0])
        opened = [rng.randrange(2) for _ in range(depth)]
        return posed(task, tuple(OPENS[kind] for kind in opened), PLACES[n]), closing(opened, n, rng)
    if task == "running-sum":
        problem = posed(task, tuple(rng.choices(DIGITS, k=n)))
        return problem, answers(problem)[0]
    *items, item = rng.sample(ITEMS, n + 1)
    place = PLACES[rng.randrange(n + (task == "insert-index"))] if task.endswith("-index") else EMPTY
    problem = posed(task, tuple(items), place, item if task.startswith(("replace", "insert")) else EMPTY)
    return problem, tuple(rng.sample(items, n)) if task == "shuffle" else rng.choice(answers(problem))


def answers(problem: Tokens) -> list[Tokens]:
    """Every right answer; all are equally likely. Many thousands of some tasks: ask `count` first."""
    task, items, item = task_of(problem), listed(problem), problem[1 + ITEM]
    places = [problem[1 + ASK] - PLACES[0]] if problem[1 + ASK] != EMPTY else range(len(items) + task.startswith("insert"))
    match task:
        case "copy":
            return [items]
        case "reverse":
            return [items[::-1]]
        case "sort":
            return [tuple(sorted(items))]
        case "shuffle":
            return list(permutations(items))
        case "replace-index" | "replace-random":
            return [(*items[:place], item, *items[place + 1 :]) for place in places]
        case "insert-index" | "insert-random":
            return [(*items[:place], item, *items[place:]) for place in places]
        case "remove-index" | "remove-random":
            return [(*items[:place], *items[place + 1 :]) for place in places]
        case "latin" | "sudoku":
            return [square for square in squares(task) if keeps(square, problem)]
        case "domino":
            chains = product(range(FACES), repeat=length(problem) + 1)
            return [tuple(ITEMS[FACES * left + right] for left, right in zip(faces, faces[1:])) for faces in chains]
        case "running-sum":
            total, sums = 0, []
            for token in items:
                total = (total + token - DIGITS[0]) % 10
                sums.append(DIGITS[total])
            return [tuple(sums)]
        case "brackets":
            return _closings(tuple(OPENS.index(token) for token in items), length(problem))


def count(problem: Tokens) -> int:
    """How many right answers there are."""
    match task_of(problem):
        case "shuffle":
            return factorial(len(listed(problem)))
        case "domino":
            return FACES ** (length(problem) + 1)
        case "brackets":
            return ways(len(listed(problem)), length(problem))
        case _:
            return len(answers(problem))


def valid(problem: Tokens, answer: Tokens) -> bool:
    """Is the answer right? Checked by the rules of its task, not by a look into a list of answers where that would be long."""
    answer = tuple(answer)
    if len(answer) != length(problem):
        return False
    match task := task_of(problem):
        case "shuffle":
            return sorted(answer) == sorted(listed(problem))
        case "domino":
            faces = [divmod(token - ITEMS[0], FACES) for token in answer]
            return min(answer) >= ITEMS[0] and all(one[1] == next[0] for one, next in zip(faces, faces[1:]))
        case "latin" | "sudoku":
            return keeps(answer, problem) and all(len(set(line)) == SIDE for line in lines(answer, task)) and fours(answer)
        case "brackets":
            stack = [OPENS.index(token) for token in listed(problem)]
            for token in answer:
                if token in OPENS:
                    stack.append(OPENS.index(token))
                elif token not in CLOSES or not stack or stack.pop() != CLOSES.index(token):
                    return False
            return not stack
        case _:
            return answer in answers(problem)


# -- squares ------------------------------------------------------------------------------------------------------------


def keeps(square: Tokens, problem: Tokens) -> bool:
    """Does it have the clues of the problem?"""
    return all(clue in (EMPTY, token) for clue, token in zip(problem[1:], square))


def fours(square: Tokens) -> bool:
    """Are all its cells 1, 2, 3 or 4?"""
    return set(square) <= set(DIGITS[1 : SIDE + 1])


def lines(square: Tokens, task: str) -> list[Tokens]:
    """What must hold four different digits each: rows and columns, of a sudoku the four boxes too."""
    rows = [square[SIDE * row : SIDE * (row + 1)] for row in range(SIDE)]
    boxes = [(*rows[row][c : c + 2], *rows[row + 1][c : c + 2]) for row in (0, 2) for c in (0, 2)]
    return [*rows, *zip(*rows), *(boxes if task == "sudoku" else ())]


@cache
def squares(task: str) -> list[Tokens]:
    """All 576 Latin squares of side 4, or the 288 of them that are sudokus."""
    grids: list[Tokens] = [()]
    for _ in range(SIDE):
        rows = permutations(DIGITS[1 : SIDE + 1])
        grids = [grid + row for row in rows for grid in grids if all(row[i % SIDE] != token for i, token in enumerate(grid))]
    return [grid for grid in grids if all(len(set(line)) == SIDE for line in lines(grid, task))]


# -- brackets -----------------------------------------------------------------------------------------------------------


@cache
def ways(depth: int, places: int) -> int:
    """In how many ways `places` brackets of two kinds close `depth` open ones, and what they open themselves."""
    if depth < 0 or depth > places:
        return 0
    return 1 if places == 0 else 2 * ways(depth + 1, places - 1) + ways(depth - 1, places - 1)


def closing(opened: list[int], places: int, rng: Random) -> Tokens:
    """One of these ways, drawn evenly; `opened`: the kinds of the brackets that stand open."""
    stack, made = list(opened), []
    for left in range(places - 1, -1, -1):
        opens = ways(len(stack) + 1, left)
        lot = rng.randrange(2 * opens + ways(len(stack) - 1, left))
        if lot < 2 * opens:
            stack.append(lot % 2)
            made.append(OPENS[stack[-1]])
        else:
            made.append(CLOSES[stack.pop()])
    return tuple(made)


def _closings(stack: Tokens, places: int) -> list[Tokens]:
    if not ways(len(stack), places):
        return []
    if places == 0:
        return [()]
    found = [(OPENS[kind], *rest) for kind in range(2) for rest in _closings((*stack, kind), places - 1)]
    return found + [(CLOSES[stack[-1]], *rest) for rest in _closings(stack[:-1], places - 1)] if stack else found


# -- what a person reads ------------------------------------------------------------------------------------------------


def piece(token: int, task: str) -> str:
    """How a token of a task is written: an item is a letter, or a domino's two faces."""
    if token in ITEMS:
        faces = divmod(token - ITEMS[0], FACES)
        return "{}{}".format(*faces) if task == "domino" else LETTERS[token - ITEMS[0]]
    if token in DIGITS:
        return str(token - DIGITS[0])
    if token in PLACES:
        return f"#{token - PLACES[0] + 1}" if task not in ("domino", "brackets") else f"#{token - PLACES[0]}"
    return TASKS[token - NAMES[0]] if token in NAMES else {END: "⏹", MASK: "▢", EMPTY: "·", EQUALS: "="}.get(token) or "()[]"[token - 4]
