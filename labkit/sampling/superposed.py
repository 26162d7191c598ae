"""P171 Superposed decoding: the k drafts share one cache, and every forward carries them all as one mixed embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.errors import LabError
from labkit.knobs import knob
from labkit.law import NOT_NUMBERS
from labkit.lm import Scores, Session
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.sampling.ngrams import LONGEST, NGrams, counted
from labkit.trace import Step, Tree

WEIGHTS = (0.01, 0.04, 0.15, 0.18, 0.12)  # of contexts of 1 to 5 tokens; the authors' params/p15_d3_mixed.json, for k = 3
PENALTY = 200.0  # nats, for a draft whose continuations the n-grams all rule out; the authors' code
TAIL = 8  # tokens of the prompt that a trace repeats


class Superposition:
    """k drafts behind a session's context, and their common next step."""

    def __init__(self, session: Session, knobs: Superposed, table: NGrams | None):
        """`table`: None where `knobs.share` is 0."""
        self.session, self.knobs, self.table = session, knobs, table
        self.base = len(session.ids)
        self.paths: list[list[int]] = [[]]
        self.scores = session.logits.new_zeros(1, dtype=torch.float64)  # of every draft: the sum of its log f
        self.seen: Scores | None = None  # what the last superposed forward said

    @property
    def weights(self) -> Tensor:
        """Every draft's share in the next mix, [drafts]."""
        return self.scores.softmax(0)

    def step(self, hidden: bool = False) -> list[int]:
        """One more token for every draft, from one forward (from none when it is the first); returns whose child each is."""
        logits = self.session.logits if self.paths == [[]] else self._superpose(hidden)
        law = self.session.law(logits.double())  # at the paper's temperature float32 would round most of it to 0
        if law.isnan().any():
            raise LabError(NOT_NUMBERS)
        p, tokens = law.topk(min(self.knobs.candidates, len(law)))
        scores = self.scores[:, None] + self._smoothed(p / p.sum(), tokens)  # [drafts, n]
        best = scores.flatten().topk(min(self.knobs.count, scores.numel()))
        best = best.indices[best.values > -torch.inf]  # a law with fewer tokens than drafts starts fewer
        parents, chosen = (best // len(tokens)).tolist(), tokens[best % len(tokens)].tolist()
        self.scores = scores.flatten()[best]
        self.paths = [[*self.paths[parent], token] for parent, token in zip(parents, chosen)]
        return parents

    def _superpose(self, hidden: bool) -> Tensor:
        """Logits [V] behind the mix of the drafts' last tokens; a token that two drafts share weighs as much as both."""
        last = torch.tensor([path[-1] for path in self.paths], device=self.scores.device)
        state = self.weights.to(self.session.runner.dtype) @ self.session.runner.embed(last)
        self.seen = self.session.push_embedding(state, self.paths[0][-1], hidden)
        return self.seen.logits[0]

    def _smoothed(self, p: Tensor, tokens: Tensor) -> Tensor:
        """log f of the candidates `tokens` [n] for every draft, [drafts, n]. `p` [n]: the model's law, the same for all."""
        share = self.knobs.share
        own = torch.where(p > 0, (1 - share) * p.log(), -torch.inf).expand(len(self.paths), -1)
        if not share:
            return own
        before = self.session.ids[max(0, self.base - LONGEST) : self.base]
        ends = [([-1] * LONGEST + before + path)[-LONGEST:] for path in self.paths]
        g = self.table.mixed(torch.tensor(ends, device=p.device), WEIGHTS[: self.knobs.context])[:, tokens].double()
        if self.knobs.normalise:
            g = g / g.sum(1, keepdim=True).clamp(min=torch.finfo(g.dtype).tiny)
        both = torch.where(g > 0, own + share * g.log(), -torch.inf)
        return torch.where((both > -torch.inf).any(1, keepdim=True), both, own - PENALTY)


def tree_of(paths: list[list[int]]) -> tuple[Tree, list[list[int]]]:
    """Drafts as one tree, what they share once; and every draft's nodes, root side first."""
    nodes: dict[tuple[int, int], int] = {}  # (parent, token)
    lines = []
    for path in paths:
        line = [-1]
        for token in path:
            line.append(nodes.setdefault((line[-1], token), len(nodes)))
        lines.append(line[1:])
    return Tree([token for _, token in nodes], [parent for parent, _ in nodes]), lines


def read(session: Session, paths: list[list[int]]) -> list[list[float]]:
    """ln p of every token of every draft, by one ordinary forward over all of them behind the session's context."""
    tree, lines = tree_of(paths)
    logs = session.score(tree).logits.log_softmax(-1)  # [N + 1, V]
    rows = torch.tensor(tree.parents, device=logs.device) + 1
    own = logs[rows, torch.tensor(tree.tokens, device=logs.device)].tolist()
    return [[own[node] for node in line] for line in lines]


@dataclass
class Superposed(Study):
    """Can one forward a step write several drafts at once (P171)?

    The drafts' last tokens go into the model as one mixed embedding, each weighed by its draft's score, and the cache keeps
    the mixes. So all drafts get the same law; n-grams counted in the training text tell each draft which of its tokens follow
    its own words: log f = (1 - a) log p + a log g. The k best of all continuations stay.

    The temperature is the paper's T (0.06 there). A study, since it writes k texts and no single one: when the drafts are done,
    one ordinary forward reads them all, and says how likely each token is to the model alone. Left out: drafts do not stop at
    an end of text. Ours: the n-gram table is pruned to a few megabytes, so more continuations count as unseen, and where fewer
    than k tokens are possible, fewer drafts start. Another model than the shipped one has no table: `ModelError` unless a is 0.
    """

    name, title, paper, lossless = "superposed", "Superposed decoding", "P171", False
    charts = ("strands_super",)
    count: int = knob(3, 1, 10, label="Drafts k", help="written at once")
    share: float = knob(0.54, 0.0, 1.0, step=0.02, label="N-gram share a", help="0: the model alone")
    length: int = knob(10, 2, 24, unit="tokens", label="New tokens", help="of every draft")
    text: int = knob(0, 0, 120, label="Prompt", help="0: this page's; 1 on: held-out")
    candidates: int = knob(9, 1, 40, unit="tokens", label="Candidates n", help="likeliest, the rest is cut")
    context: int = knob(LONGEST, 1, LONGEST, unit="tokens", label="Longest context", help="of the n-grams")
    normalise: bool = knob(False, label="Normalise g", help="over the candidates")
    prefix: int = knob(15, 1, 60, unit="tokens", label="Prefix", help="of a held-out text")

    def steps(self, session, rng):
        if self.text:
            session = session.open(session.vocabulary.encode(heldout(self.text)[-1])[: self.prefix])
        calls, _ = session.ledger.forwards, session.logits
        apart, prompt = session.fork()[0], session.ids[-TAIL:]
        drafting = Superposition(session, self, counted(session) if self.share else None)
        tokens, steps = [prompt], []
        for done in range(1, self.length + 1):
            parents = drafting.step()
            steps.append({"parents": parents, "weights": drafting.weights.tolist()})
            tokens = [*tokens, [path[-1] for path in drafting.paths]]
            notes = {"done": done, "of": self.length, "tokens": tokens, "steps": list(steps), "count": self.count}
            notes["forwards"] = session.ledger.forwards - calls
            if done == self.length:
                notes["logprobs"] = read(apart, drafting.paths)
            yield Step([], notes=notes)
