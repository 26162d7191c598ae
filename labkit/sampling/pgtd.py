"""PG-TD (P166): plan a program as a chess program plans a move, with tests in the place of the game's outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, log, sqrt
from typing import Iterator

from labkit.knobs import knob
from labkit.lm import Session
from labkit.methods import Method
from labkit.sampling.programs import Pen, Program
from labkit.tasks import Example, examples, passed
from labkit.trace import Step, Tree

TESTS, SHORT, COMMENTS = "tests", "tests + short code", "tests + comments"
BONUS = 0.1  # the most a second objective adds: no more than one of ten tests
WRITTEN, KNOWN, FINISHED = "written", "known program", "finished"  # where a rollout's program came from


@dataclass
class Node:
    """A token behind its parent's; `returns` counts the programs through it, `q` is the best of them."""

    token: int
    parent: int  # -1 = the root's own
    prior: float
    returns: int = 0
    q: float = 0.0
    children: list[int] = field(default_factory=list)


class Search:
    """One planning search behind a prompt; `rollout` makes one more. Node 0 is the root: nothing written yet."""

    def __init__(self, method: PGTD, session: Session, tests: list[Example]):
        self.method, self.tests = method, tests
        self.pen = Pen(session, method.k, method.beams, method.horizon)
        self.nodes = [Node(-1, -1, 1.0)]
        self.best: Program | None = None
        self.source = WRITTEN
        self.saved = {"lists": 0, "programs": 0, "tests": 0}  # forwards, forwards and test runs that were not needed
        self.expand(0, self.children(()))

    @property
    def remembers_programs(self) -> bool:
        return self.method.known_programs and self.method.beams == 1  # of several beams another start may find another program

    def rollout(self) -> tuple[list[int], Program]:
        """Selection, expansion, evaluation, backup. Returns the path of nodes from the root and the program."""
        path = self.select()
        prefix = tuple(self.nodes[node].token for node in path[1:])
        if self.pen.ends(prefix):
            known = self.pen.programs.get(prefix)
            program, self.source = known or self.judge(self.pen.read(prefix)), FINISHED
            self.saved["tests"] += known is not None
            self.remember(prefix, program)
        else:
            program = self.evaluate(path[-1], prefix)
        if self.best is None or program.worth > self.best.worth:
            self.best = program
        for node in map(self.nodes.__getitem__, path):
            node.returns += 1
            node.q = max(node.q, program.worth)
        return path, program

    def notes(self, path: list[int], program: Program) -> dict:
        """The whole tree and what is known so far, as plain data."""
        columns = {"tokens": "token", "parents": "parent", "priors": "prior", "visits": "returns", "q": "q"}
        tree = {name: [getattr(node, column) for node in self.nodes[1:]] for name, column in columns.items()}
        tree["priors"] = [round(prior, 4) for prior in tree["priors"]]
        return {
            "tree": tree | {"parents": [parent - 1 for parent in tree["parents"]]},  # -1 = the prompt's end
            "path": [node - 1 for node in path[1:]],
            "program": program.text,
            "passed": program.passed,
            "worth": program.worth,
            "best": self.best.worth,
            "best program": self.best.text,
            "source": self.source,
            "forwards": self.pen.session.ledger.forwards,
            "saved": dict(self.saved),
            "tokens": [tree["tokens"]],
        }

    def select(self) -> list[int]:
        """From the root to the first node without children: at each the child of the highest P-UCB."""
        path = [0]
        while self.nodes[path[-1]].children:
            path.append(max(self.nodes[path[-1]].children, key=self.ucb))
        return path

    def ucb(self, child: int) -> float:
        """Q + beta(s) P sqrt(ln visits(s)) / (1 + visits(s, a)); a place counts one visit before any."""
        node, m = self.nodes[child], self.method
        visits = 1 + self.nodes[node.parent].returns
        beta = log((visits + m.cb + 1) / m.cb) + m.c
        return node.q + beta * node.prior * sqrt(log(visits)) / (1 + node.returns)

    def evaluate(self, node: int, prefix: tuple[int, ...]) -> Program:
        """Expand `node` with its likeliest tokens, and write a whole program from there, as far as neither is known."""
        program = self.pen.programs.get(prefix) if self.remembers_programs else None
        listed = self.method.known_lists and prefix in self.pen.lists
        self.saved["lists"] += listed and program is not None  # writing would have asked for this law anyway
        self.expand(node, self.children(prefix))
        if program:
            self.source = KNOWN
            self.saved["programs"] += len(program.tokens) - len(prefix) - 1
            self.saved["tests"] += 1
            return program
        self.source = WRITTEN
        program = self.judge(self.pen.complete(prefix))
        self.remember(prefix, program)
        return program

    def remember(self, prefix: tuple[int, ...], program: Program) -> None:
        """The program of every prefix from `prefix` on that greedy decoding leads through."""
        if self.remembers_programs:
            for length in range(len(prefix), len(program.tokens) + 1):
                self.pen.programs[program.tokens[:length]] = program

    def children(self, prefix: tuple[int, ...]) -> tuple[list[int], list[float]]:
        if self.method.known_lists and prefix in self.pen.lists:
            return self.pen.lists[prefix]
        return self.pen.likeliest(prefix, self.pen.law(prefix))

    def expand(self, node: int, listed: tuple[list[int], list[float]]) -> None:
        """Hang the k likeliest tokens under `node`; their priors are renormalised."""
        tokens, logs = (part[: self.method.k] for part in listed)
        shares = [exp(value) for value in logs]
        for token, share in zip(tokens, shares):
            self.nodes[node].children.append(len(self.nodes))
            self.nodes.append(Node(token, node, share / sum(shares)))

    def judge(self, program: Program) -> Program:
        """Run the public tests in the sandbox; what the program is worth: their share, and the second objective's bonus."""
        results = passed(self.pen.prompt + program.text, self.tests)
        worth = sum(results) / len(results)
        if self.method.objective == SHORT:
            worth += BONUS * max(0.0, 1 - len(program.text.split()) / self.method.horizon)
        elif self.method.objective == COMMENTS:
            lines = [line.strip() for line in program.text.splitlines() if line.strip()]
            worth += BONUS * sum("#" in line for line in lines) / max(1, len(lines))
        return program._replace(passed=results, worth=worth)


@dataclass
class PGTD(Method):
    """Search a tree of next tokens for a program that passes the examples in the prompt, then write the best one found (P166).

    Each step is one rollout: walk down by P-UCB, open one new place with its k likeliest tokens, write a whole program from
    there by beam search, run the prompt's `>>>` examples on it in the sandbox, hand the share that passes back up the path
    (Q = the best return: nothing is random). The last step emits the best program, at most `max_new_tokens` of it. The law's
    temperature and transforms are left aside, the tree ranks by the model's own probabilities; with one rollout and one beam the
    program is the greedy one. Without examples in the prompt the only test is that the program runs. Programs run only in
    `labkit.sandbox`. Left out: committing tokens on the way (the paper's multi-step mode). Inferred: the bonus of the second
    objectives, and that a program ends where its function does.
    """

    name, title, paper, lossless = "pg-td", "PG-TD planning", "P166", False
    charts = ("plan_tree", "plan_cost")
    rollouts: int = knob(32, 1, 200, label="Rollouts", help="programs tried at most")
    k: int = knob(3, 2, 8, unit="tokens", label="Children k", help="likeliest tokens at each place")
    c: float = knob(4.0, 0.0, 16.0, step=0.5, label="Exploration c", help="0: follow the best return alone")
    beams: int = knob(1, 1, 5, label="Beams b", help="of the rollouts; 1 is greedy")
    horizon: int = knob(48, 8, 128, unit="tokens", help="longest program")
    objective: str = knob(TESTS, choices=(TESTS, SHORT, COMMENTS), label="Objective", help="what a program is worth")
    until_solved: bool = knob(True, label="Stop when solved", help="when every example passes")
    known_lists: bool = knob(True, label="Remember lists", help="of likeliest tokens, met while writing")
    known_programs: bool = knob(True, label="Remember programs", help="with one beam only")
    cb: float = knob(10.0, 1.0, 100.0, step=1.0, label="Base cb", help="large: exploration grows later")

    def steps(self, session, rng) -> Iterator[Step]:
        base = len(session.ids)
        search = Search(self, session, examples(session.vocabulary.decode(session.ids)))
        for number in range(1, self.rollouts + 1):
            path, program = search.rollout()
            notes = search.notes(path, program) | {"rollout": number, "of": self.rollouts}
            yield Step(emitted=[], notes=notes)
            if self.until_solved and all(search.best.passed):
                break
        best = search.best
        emitted = list(best.tokens[:-1] if best.finished and len(best.tokens) > 1 else best.tokens)  # the last one only ends it
        session.rewind(base)
        tree = Tree(emitted, list(range(-1, len(emitted) - 1)))
        rows = session.score(tree).logits[:-1]
        session.commit(list(range(len(emitted))))
        yield session.step(rows, emitted, sources=["target"] * len(emitted), notes=notes)
