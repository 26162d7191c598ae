"""PG-TD: an oracle that knows no cache plays the same search; one rollout is greedy; memories change nothing but the cost."""

from __future__ import annotations

import itertools
import math

import pytest
import tiny_models
import torch

from labkit.errors import LabError, PromptError
from labkit.law import Law
from labkit.lm import Session
from labkit.sampling import pgtd
from labkit.sampling.pgtd import PGTD, Search
from labkit.sampling.planning import GREEDY, PLANNING, sampled
from labkit.tasks import kit, passed
from labkit.trace import loads

HOLES = {task.name: task for task in kit("hole")}
MEMORIES = list(itertools.product([True, False], repeat=2))


def search(pair, prompt, tests=(), **knobs) -> Search:
    session = Session(pair.target, prompt if isinstance(prompt, list) else pair.vocabulary.encode(prompt))
    session.vocabulary = pair.vocabulary
    return Search(PGTD(**knobs), session, list(tests))


@pytest.fixture
def letters(monkeypatch):
    """Five letters, and a reward that is a fixed odd function of the text."""
    monkeypatch.setattr(pgtd, "passed", lambda text, tests: [(sum(map(ord, text)) * 7 + n * 3) % 5 < 2 for n in range(4)])
    return tiny_models.letters_pair("llama, grouped, tied")


class Oracle:
    """The search of P166 without any cache, every law from scratch, in dictionaries by prefix."""

    def __init__(self, pair, prompt, k, c, cb, horizon):
        self.pair, self.prompt, self.k, self.c, self.cb, self.horizon = pair, prompt, k, c, cb, horizon
        self.open: dict[tuple, list] = {(): self.top(())}
        self.returns: dict[tuple, list] = {}

    def top(self, prefix):
        law = Session(self.pair.target, [*self.prompt, *prefix]).logits.softmax(-1).tolist()
        best = sorted(range(len(law)), key=lambda token: -law[token])[: self.k]
        return [(token, law[token] / sum(law[other] for other in best)) for token in best]

    def worth(self, prefix):
        return sum(pgtd.passed(self.pair.vocabulary.decode([*self.prompt, *prefix]), [])) / 4

    def rollout(self):
        at, path = (), []
        while self.open.get(at):
            visits = 1 + len(self.returns.get(at, []))

            def value(child, at=at, visits=visits):
                token, prior = child
                past = self.returns.get((*at, token), [])
                beta = math.log((visits + self.cb + 1) / self.cb) + self.c
                return max(past, default=0) + beta * prior * math.sqrt(math.log(visits)) / (1 + len(past))

            token, _ = max(self.open[at], key=value)
            at = (*at, token)
            path.append(token)
        program = at
        if len(at) < self.horizon:
            self.open[at] = self.top(at)
            while len(program) < self.horizon:
                program = (*program, self.top(program)[0][0])
        worth = self.worth(program)
        for depth in range(len(path) + 1):
            self.returns.setdefault(tuple(path[:depth]), []).append(worth)
        return path, program, worth


@pytest.mark.parametrize(("k", "c", "cb"), [(3, 4.0, 10.0), (2, 0.5, 10.0), (5, 1.0, 1.0), (3, 0.0, 100.0)])
@pytest.mark.parametrize("memories", MEMORIES)
def test_the_oracle_plays_the_same_search(k, c, cb, memories, letters):
    prompt = [1, 2, 3]
    oracle = Oracle(letters, prompt, k, c, cb, horizon=5)
    lists, programs = memories
    ours = search(letters, prompt, k=k, c=c, cb=cb, horizon=5, known_lists=lists, known_programs=programs)
    for _ in range(40):
        path, program, worth = oracle.rollout()
        mine, found = ours.rollout()
        assert [ours.nodes[node].token for node in mine[1:]] == path
        assert (found.tokens, found.worth) == (program, worth)
    assert max(oracle.returns[()]) == ours.best.worth


def tokens_of(run: Search, node: int) -> tuple[int, ...]:
    found = []
    while node:
        found.append(run.nodes[node].token)
        node = run.nodes[node].parent
    return tuple(reversed(found))


@pytest.mark.parametrize("beams", [1, 3])
def test_visits_and_returns(beams, letters):
    run, said = search(letters, [4, 0, 1], horizon=4, beams=beams), []
    bests = []
    for _ in range(60):
        path, program = run.rollout()
        said.append((path, program.worth))
        bests.append(run.best.worth)
    assert bests == sorted(bests) and run.nodes[0].returns == 60
    for number, node in enumerate(run.nodes):
        through = [worth for path, worth in said if number in path]
        assert (node.returns, node.q) == (len(through), max(through, default=0.0))
        if node.children:
            below = sum(run.nodes[child].returns for child in node.children)
            assert node.returns == below + (number > 0), "its own first program, and those of its children"
            assert sum(run.nodes[child].prior for child in node.children) == pytest.approx(1)
        elif node.returns:
            assert len(tokens_of(run, number)) == 4, "only a whole program has no children"


def test_beam_search_is_exact_where_it_is_wide_enough(letters):
    run = search(letters, [2, 2], beams=5, k=2, horizon=2)

    def total(word):
        rows = [Session(letters.target, [2, 2, *word[:depth]]).logits.log_softmax(-1) for depth in range(2)]
        return sum(row[token].item() for row, token in zip(rows, word))

    assert run.pen.complete(()).tokens == max(itertools.product(range(5), repeat=2), key=total)


@pytest.mark.parametrize("name", ["total", "histogram", "identity", "digit_sum"])
def test_one_rollout_is_greedy(name, quick64, traced):
    prompt = HOLES[name].prompt
    planned = traced(quick64, "pg-td", prompt=prompt, knobs={"rollouts": 1}, max_new_tokens=60)
    plain = traced(quick64, "plain", prompt=prompt, max_new_tokens=60)
    assert planned.ids == plain.ids[: len(planned.ids)] and len(planned.ids) > 2


@pytest.mark.parametrize("beams", [1, 3])
def test_every_style_of_model(beams, tiny_pair, traced):
    """The tree of beams goes through every runner: what it says of a prefix is what a session of its own says."""
    prompt = tiny_models.some_tokens(12, seed=beams)
    run = search(tiny_pair, prompt, beams=beams, horizon=8)
    program = run.pen.complete(())
    if beams == 1:
        plain = traced(tiny_pair, "plain", ids=prompt, max_new_tokens=8).ids
        assert list(program.tokens) == plain[: len(program.tokens)] and program.tokens
    assert len(run.pen.lists) >= len(program.tokens)
    for prefix, (tokens, logs) in run.pen.lists.items():
        law = Session(tiny_pair.target, [*prompt, *prefix]).logits.log_softmax(-1)
        assert law[tokens].tolist() == pytest.approx(logs, abs=1e-9) == law.topk(3).values.tolist()


@pytest.mark.parametrize("name", ["running", "middle", "unique"])
def test_memories_save_forwards_and_change_nothing(name, quick64):
    task, seen = HOLES[name], {}
    for lists, programs in MEMORIES:
        run = search(quick64, task.prompt, task.public, known_lists=lists, known_programs=programs, horizon=16)
        before = run.pen.session.ledger
        story = [(path, program[:3]) for path, program in (run.rollout() for _ in range(16))]
        nodes = [vars(node) | {"prior": round(node.prior, 9)} for node in run.nodes]
        seen[lists, programs] = (story, nodes), before.forwards, run.saved
    results = [result for result, _, _ in seen.values()]
    assert all(result == results[0] for result in results)
    without = seen[False, False][1]
    for _, forwards, saved in seen.values():
        assert forwards + saved["lists"] + saved["programs"] == without, "what was saved is exactly what was not run"
    assert seen[True, True][1] < without and seen[True, True][2]["tests"] > 0
    assert seen[False, False][2] == {"lists": 0, "programs": 0, "tests": 0}


def test_a_known_program_costs_no_forward(shipped32):
    task = HOLES["running"]
    run, free = search(shipped32, task.prompt, task.public), 0
    for _ in range(12):
        before = run.pen.session.ledger.forwards
        run.rollout()
        if run.source == pgtd.KNOWN:
            assert run.pen.session.ledger.forwards == before
            free += 1
    assert free


def test_the_answer_is_the_best_program(shipped32, traced):
    task = HOLES["running"]
    trace = traced(shipped32, "pg-td", prompt=task.prompt, max_new_tokens=60)
    *rollouts, answer = trace.steps
    assert all(step.emitted == [] for step in rollouts) and trace.closing.reason == "done"
    assert [step.notes["rollout"] for step in rollouts] == list(range(1, len(rollouts) + 1))
    assert rollouts[0].notes["worth"] < 1 == answer.notes["best"], "greedy fails here, planning does not"
    assert trace.closing.text.rstrip() == answer.notes["best program"].rstrip()
    assert all(passed(task.prompt + trace.closing.text, [*task.public, *task.hidden]))
    assert trace.cost.target_forwards == answer.notes["forwards"] + 1, "one more to write it"
    assert len(answer.beliefs) == len(answer.sources) == len(answer.emitted)


def test_same_request_same_trace_and_numbers_that_are_none(letters, traced):
    first, second = (traced(letters, "pg-td", ids=[1, 2], seed=seed, temperature=1.0) for seed in (3, 4))
    assert [step.notes for step in first.steps] == [step.notes for step in second.steps], "nothing is drawn"
    assert loads(first.dumps()) == first
    assert traced(letters, "pg-td", ids=[1, 2], max_new_tokens=5).ids == first.ids[:5]
    letters.target.embedding = torch.full_like(letters.target.embedding, math.nan)
    with pytest.raises(LabError, match="not numbers"):
        traced(letters, "pg-td", ids=[1, 2])


@pytest.mark.parametrize(
    ("objective", "text", "worth"),
    [
        (pgtd.TESTS, "\n    return x  # as it is\n", 0.5),
        (pgtd.SHORT, "\n    return x\n", 0.5 + 0.1 * (1 - 2 / 48)),
        (pgtd.COMMENTS, "\n    # as it is\n    return x\n", 0.5 + 0.1 / 2),
    ],
)
def test_objectives(objective, text, worth, shipped32):
    prompt = "def f(x):\n    '''\n    >>> f(1)\n    1\n    >>> f(2)\n    4\n    '''"
    run = search(shipped32, prompt, pgtd.examples(prompt), objective=objective)
    assert run.judge(pgtd.Program((), text, True)).worth == pytest.approx(worth)


def test_where_a_program_ends(shipped32):
    pen = search(shipped32, "def f(x):", horizon=12).pen

    def read(text):
        return pen.read(tuple(shipped32.vocabulary.encode(text)))

    assert read("\n    return x\n\n\ndef")[1:3] == ("\n    return x\n\n\n", True)
    assert read("\n    return x")[1:3] == ("\n    return x", False)
    assert read("\n    return x<|endoftext|>")[1:3] == ("\n    return x\n", True)
    long = read("\n    a = 1\n    b = 2\n    return a + b + c + d")
    assert (long.text, long.finished) == ("\n    a = 1\n    b = 2\n", False) and pen.ends(long.tokens)


def test_a_full_context(letters):
    with pytest.raises(PromptError, match="fills the model's context: shorten it"):
        search(letters, [1] * 512)
    assert search(letters, [1] * 509, horizon=48).pen.horizon == 3


def test_the_study_counts_what_it_says(shipped32, traced):
    budget = 60
    knobs = {"tasks": 3, "budget": budget}
    trace = traced(shipped32, "planning", prompt="x", knobs=knobs, seed=1)
    notes = trace.steps[-1].notes
    assert (notes["done"], notes["of"]) == (3, 3) and not trace.ids
    assert trace.cost.target_forwards >= sum(run[-1][0] for runs in notes["runs"].values() for run in runs)
    for way, runs in notes["runs"].items():
        assert len(runs) == 3
        for run in runs:
            assert [moment[0] for moment in run] == sorted({moment[0] for moment in run})
            shares = [moment[1] for moment in run]
            assert shares == sorted(set(shares)), "each better than the one before"
            assert all(moment[0] <= budget for moment in run[1:])
            assert way != GREEDY or len(run) == 1
    for one, other in zip(notes["runs"][GREEDY], notes["runs"][PLANNING]):
        assert other[0] == one[0], "planning tries the greedy program first"


def test_sampling_draws_from_the_law(shipped32):
    run = search(shipped32, HOLES["running"].prompt)
    rng = torch.Generator().manual_seed(0)
    assert next(sampled(run, Law(0.001), rng)).tokens == run.pen.complete(()).tokens
    warm = sampled(run, Law(0.8), rng)
    assert len({next(warm).tokens for _ in range(4)}) > 1
