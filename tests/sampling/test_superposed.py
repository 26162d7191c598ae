"""Superposed decoding: what must hold by arithmetic, on tiny models and on the shipped one."""

from __future__ import annotations

import math

import pytest
import tiny_models
import torch
from tiny_models import some_tokens

from labkit.errors import LabError, ModelError
from labkit.law import Law
from labkit.lm import Session
from labkit.run import run
from labkit.sampling.ngrams import LONGEST, NGrams
from labkit.sampling.superposed import PENALTY, WEIGHTS, Superposed, Superposition, read, tree_of
from labkit.trace import Closing, Request, Step

T = 0.5
V = 64


@pytest.fixture(scope="module", params=tiny_models.STYLES)
def runner(request):
    """A runner of every style over 64 tokens, in float64."""
    return tiny_models.runner(tiny_models.tiny(request.param, vocabulary=V))


@pytest.fixture(scope="module")
def llama():
    return tiny_models.runner(tiny_models.tiny("llama, grouped, tied", vocabulary=V))


class Cycle:
    """In place of counted n-grams: only the next two numbers may follow a token, 3 to 1; `even` tokens are followed by none."""

    def __init__(self, silent: set[int] = frozenset()):
        self.silent = silent

    def mixed(self, contexts, weights):
        mass = torch.zeros(len(contexts), V)
        for row, last in enumerate(contexts[:, -1].tolist()):
            if last not in self.silent:
                mass[row, (last + 1) % V], mass[row, (last + 2) % V] = 0.75 * sum(weights), 0.25 * sum(weights)
        return mass


def drafted(runner, steps: int, table=None, prompt=None, temperature: float = T, **knobs) -> Superposition:
    session = Session(runner, prompt or some_tokens(9), Law(temperature))
    knobs.setdefault("share", 0.54 if table else 0.0)
    made = Superposition(session, Superposed(**knobs), table)
    for _ in range(steps):
        made.step()
    return made


# -- one draft, many drafts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 0.06, 1.0])
def test_one_draft_without_ngrams_is_greedy(runner, temperature):
    session, greedy = Session(runner, some_tokens(9)), []
    for _ in range(12):
        greedy.append(int(session.logits.argmax()))
        session.push(greedy[-1])
    assert drafted(runner, 12, count=1, temperature=temperature).paths == [greedy]


@pytest.mark.parametrize("count", [1, 3, 10])
def test_forwards_do_not_hang_on_the_number_of_drafts(llama, count):
    made = drafted(llama, 8, count=count, candidates=20)
    assert len(made.paths) == count
    assert made.session.ledger.forwards == 8, "the prompt's one, then one for every step but the first"
    assert made.session.ledger.tokens == 9 + 7, "a mix is one place, however many tokens are in it"


@pytest.mark.parametrize("table", [None, Cycle(), Cycle({3, 5, 7, 9, 11})])
def test_weights_are_a_law_and_drafts_are_distinct(llama, table):
    made = drafted(llama, 0, table, count=5, candidates=V)
    for step in range(1, 11):
        made.step()
        weights = made.weights
        assert (weights >= 0).all() and weights.sum().item() == pytest.approx(1)
        assert weights.tolist() == sorted(weights.tolist(), reverse=True)
        assert len({tuple(path) for path in made.paths}) == len(made.paths)
        assert len(made.paths) == 5 or step < 4, "few can start where n-grams rule most tokens out"
        assert {len(path) for path in made.paths} == {step}


# -- by hand -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [None, Cycle(), Cycle(set(range(0, V, 2)))])
@pytest.mark.parametrize("normalise", [False, True])
def test_all_continuations_are_scored_as_by_hand(llama, table, normalise):
    """The paper's steps 1 to 6 over plain lists, with its own forward over embeddings."""
    prompt, n, k, a = some_tokens(6, 4), 7, 3, 0.54 if table else 0.0
    made = drafted(llama, 0, table, prompt, count=k, candidates=n, share=a, normalise=normalise)
    rows = llama.embed(torch.tensor(prompt))
    embeddings = llama.embed(torch.arange(V))
    alive = [([], 0.0)]
    for step in range(6):
        if step:  # the mix goes behind what was fed before, and the whole is fed again
            shares = [math.exp(score - alive[0][1]) for _, score in alive]
            mix = sum(share / sum(shares) * embeddings[path[-1]] for share, (path, _) in zip(shares, alive))
            rows = torch.cat([rows, mix[None]])
        logits, _ = llama.forward(rows, torch.arange(len(rows)), None, llama.new_cache(), len(rows) - 1, False)
        top = (logits[0] / T).softmax(-1).sort(descending=True)
        p = {int(token): chance.item() / top.values[:n].sum().item() for token, chance in zip(top.indices[:n], top.values[:n])}
        grown = []
        for path, score in alive:
            last = [*prompt, *path][-1]
            g = dict.fromkeys(p, 0.0)
            if table and last not in table.silent:
                g |= {v: share for v, share in (((last + 1) % V, 0.75 * 0.5), ((last + 2) % V, 0.25 * 0.5)) if v in p}
            whole = sum(g.values()) if normalise and any(g.values()) else 1.0
            for token, chance in p.items():
                if not table:
                    grown.append(([*path, token], score + math.log(chance)))
                elif not any(g.values()):
                    grown.append(([*path, token], score + (1 - a) * math.log(chance) - PENALTY))
                elif g[token]:
                    grown.append(([*path, token], score + (1 - a) * math.log(chance) + a * math.log(g[token] / whole)))
        alive = sorted(grown, key=lambda one: -one[1])[:k]
        made.step()
        assert made.paths == [path for path, _ in alive]
        torch.testing.assert_close(made.scores, torch.tensor([score for _, score in alive], dtype=torch.float64))


def test_ngrams_tell_drafts_apart(llama):
    """Without them every draft gets the same law; with them a draft goes on with what follows its own words."""
    made = drafted(llama, 6, Cycle(), count=4, candidates=V, share=0.99)
    for path in made.paths:
        assert all((after - before) % V in (1, 2) for before, after in zip(path, path[1:])), path
    blurred = drafted(llama, 6, count=4, candidates=V)
    assert not all((b - a) % V in (1, 2) for path in blurred.paths for a, b in zip(path, path[1:]))


def test_a_law_with_fewer_tokens_starts_fewer_drafts(llama):
    assert len(drafted(llama, 3, count=5, temperature=0.0).paths) == 1
    made = drafted(llama, 1, count=5, candidates=2)
    assert len(made.paths) == 2
    made.step()
    assert len(made.paths) == 4, "two continuations of each"


def test_sick_logits_end_in_one_sentence():
    sick = tiny_models.runner(tiny_models.tiny("llama, grouped, tied", vocabulary=V))
    sick.embedding = torch.full_like(sick.embedding, math.nan)
    with pytest.raises(LabError, match="not numbers"):
        drafted(sick, 1)


# -- what reads the drafts ---------------------------------------------------------------------------------------------


def test_drafts_as_a_tree_and_back(runner):
    paths = [[1, 2, 3], [1, 2, 4], [5, 2, 3], [1, 6, 3]]
    tree, lines = tree_of(paths)
    assert len(tree.tokens) == 9 and [[tree.tokens[node] for node in line] for line in lines] == paths
    session = Session(runner, some_tokens(7))
    _ = session.logits
    before = session.ledger.forwards
    found = read(session, paths)
    assert session.ledger.forwards == before + 1
    for path, own in zip(paths, found):
        logs = Session(runner, some_tokens(7) + path).prompt_logits().log_softmax(-1)
        assert own == pytest.approx([logs[6 + place, token].item() for place, token in enumerate(path)], abs=1e-9)


# -- the study ---------------------------------------------------------------------------------------------------------


def strands(notes: dict) -> list[list[int]]:
    found = [[token] for token in notes["tokens"][-1]]
    at = list(range(len(found)))
    for row, step in zip(notes["tokens"][-2:0:-1], reversed(notes["steps"])):
        at = [step["parents"][place] for place in at]
        found = [[row[place], *strand] for place, strand in zip(at, found)]
    return found


def test_the_study_says_what_the_drafts_are(shipped64):
    asked = Request(method="superposed", prompt="def area(width, height):\n    return", temperature=0.3, knobs={"length": 6})
    *events, closing = run(shipped64, asked)
    steps = [event for event in events if isinstance(event, Step)]
    assert isinstance(closing, Closing) and closing.reason == "done" and [step.notes["done"] for step in steps] == [*range(1, 7)]
    last = steps[-1].notes
    ids = shipped64.vocabulary.encode(asked.prompt)
    for path, own in zip(strands(last), last["logprobs"]):
        logs = Session(shipped64.target, ids + path).prompt_logits().log_softmax(-1)[len(ids) - 1 :]
        assert own == pytest.approx([logs[place, token].item() for place, token in enumerate(path)], abs=1e-9)
    assert last["forwards"] == 6 and sum(step.cost.target_forwards for step in steps) == 7, "and one that reads the drafts"
    assert last["tokens"][0] == ids[-8:]


def test_the_first_drafts_do_not_hang_on_the_length(shipped64):
    """A held-out text as the prompt; a longer run begins as a shorter one."""
    ask = {"method": "superposed", "prompt": "x", "temperature": 0.3}
    short, long = (
        [event.notes for event in run(shipped64, Request(**ask, knobs={"text": 2, "length": length})) if isinstance(event, Step)]
        for length in (4, 7)
    )
    assert [notes["steps"] for notes in short] == [notes["steps"] for notes in long[:4]]
    assert len(long[0]["tokens"][0]) == 8


@pytest.mark.parametrize("style", ["llama, grouped, tied", "gpt2"])
def test_a_model_of_ones_own_needs_no_table_when_the_share_is_0(style):
    pair = tiny_models.letters_pair(style)
    with pytest.raises(ModelError, match="trained part 'ngrams-super' belongs to lab-target"):
        list(run(pair, Request(method="superposed", ids=[1, 2], temperature=0.5)))
    asked = Request(method="superposed", ids=[1, 2], temperature=0.5, knobs={"share": 0.0, "length": 5})
    *_, last, closing = run(pair, asked)
    assert closing.reason == "done" and len(last.notes["logprobs"]) == 3 and last.notes["forwards"] == 5


# -- the table ---------------------------------------------------------------------------------------------------------


def test_the_shipped_table_is_a_law_behind_every_context(shipped32):
    from labkit import parts

    table = NGrams(parts.load("ngrams-super", shipped32.target))
    ids = torch.tensor(shipped32.vocabulary.encode("import numpy as np\n\n\ndef main():\n    if __name__ == '__main__'"))
    contexts = torch.nn.functional.pad(ids, (LONGEST, 0), value=-1).unfold(0, LONGEST, 1)[1:]
    for m in range(1, LONGEST + 1):
        mass = table.mixed(contexts, (0.0,) * (m - 1) + (1.0,))
        assert (mass >= 0).all() and (mass.sum(1) <= 1.02).all(), "bfloat16 chances"
        assert not mass[: m - 1].any(), "a context that would begin before the text"
    mixed = table.mixed(contexts, WEIGHTS)
    alone = sum(w * table.mixed(contexts, (0.0,) * m + (1.0,)) for m, w in enumerate(WEIGHTS))
    torch.testing.assert_close(mixed, alone)
    after = table.mixed(contexts[2:3], WEIGHTS)  # import num|py
    assert shipped32.vocabulary.piece(int(after.argmax())) == shipped32.vocabulary.piece(int(ids[3]))
