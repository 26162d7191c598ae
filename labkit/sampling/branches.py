"""Several ways on, tried side by side behind one context: what look-ahead and trials share."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from labkit.lm import Session
from labkit.trace import Tree


@dataclass
class Branch:
    """One way on: its tokens, ln p of each, and the nodes of those that were fed (all, but perhaps the newest)."""

    tokens: list[int]
    logprobs: list[float]
    nodes: list[int] = field(default_factory=list)

    def add(self, token: int, logprob: float) -> None:
        """Write one more token."""
        self.tokens.append(token)
        self.logprobs.append(logprob)


def feed(session: Session, tree: Tree, branches: list[Branch]) -> Tensor:
    """Read the newest token of every branch, all in one forward; what follows each: logits [len(branches), V].

    All branches hang in one growing tree behind the context, whose cache they share.
    """
    for branch in branches:
        tree.parents.append(branch.nodes[-1] if branch.nodes else -1)
        tree.tokens.append(branch.tokens[-1])
        branch.nodes.append(len(tree.tokens) - 1)
    return session.grow(tree).logits


def commit(session: Session, branch: Branch, count: int) -> None:
    """Keep the first `count` tokens of `branch`, and of the cache only their rows; what was not fed goes in later."""
    if nodes := branch.nodes[:count]:
        session.commit(nodes)
    if rest := branch.tokens[len(nodes) : count]:
        session.push(*rest)


def room(session: Session) -> int:
    """How many tokens a branch may read before the model's context is full."""
    return session.runner.context - len(session.ids)
