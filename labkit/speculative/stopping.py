"""When to stop drafting: the policies that say, token by token, whether a chain goes on.

What keeps every one of them lossless: whether another token is drawn is decided from what was drawn before it, and a token that
was drawn stays. (To stop because of the token just drawn AND drop it changes the law: `variants.dropped_draft`.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit import parts
from labkit.law import draw, entropy
from labkit.lm import Ledger, Session
from labkit.speculative.verify import Outcome, Tested
from labkit.trace import ACCEPTED, UNREACHED, Step, Tree

PART = "stop-head"
HEADS = ("weighted", "even")  # what a refusal weighs in training: 6 times an acceptance (the paper's), or as much
JUDGED = 1e-5  # added to the mean square of a hidden state before its root
BINS = 10  # of a prediction, in `reliability`


def judge(states: Tensor, head: dict[str, Tensor]) -> Tensor:
    """Logits [..., 2] (refused, accepted) that the head gives to last hidden `states` [..., d] of the draft (P013).

    A state is the residual stream behind the last block, before the final norm, where the drafted token is the input; here it is
    brought to unit mean square. Then blocks h + SiLU(W h + b), `blocks` [depth, d, d] and `shifts` [depth, d]; `out` [2, d + 1]
    is the last product, its bias in the last column.
    """
    x = F.rms_norm(states.float(), states.shape[-1:], eps=JUDGED)
    for weight, shift in zip(head["blocks"], head["shifts"]):
        x = x + F.silu(F.linear(x, weight, shift))
    return F.linear(x, head["out"][:, :-1], head["out"][:, -1])


def load_head(kind: str, runner) -> dict[str, Tensor]:
    """The trained head `kind` (one of HEADS) for the draft `runner`. Raises `ModelError` when there is none for its weights."""
    part = parts.load(PART, runner)
    return {name.removeprefix(f"{kind}."): tensor for name, tensor in part.items() if name.startswith(kind)}


def judgements(step: Step) -> list[tuple[float, float]]:
    """(P(accepted) by the head, the chance it was accepted with) of every token of the step that was judged and tested.

    At temperature 0 the chance is 0 or 1; above, min(1, p/q).
    """
    found = []
    for said, chance, verdict in zip(step.notes["judged"], step.tree.thresholds, step.tree.verdicts):
        if verdict != UNREACHED:
            found.append((said, float(verdict == ACCEPTED) if chance is None else chance))
    return found


def reliability(predicted: Tensor, actual: Tensor) -> dict:
    """Means of both [n], and how they compare by bins of the prediction: [mean predicted, mean actual, how many]."""
    bins = (predicted * BINS).long().clamp(max=BINS - 1)
    rows = []
    for one in bins.unique().tolist():
        inside = bins == one
        rows.append((predicted[inside].mean().item(), actual[inside].mean().item(), int(inside.sum())))
    return {
        "predicted": predicted.mean().item(),
        "actual": actual.mean().item(),
        "error": sum(count * abs(one - other) for one, other, count in rows) / len(predicted),
        "bins": [[round(one, 4), round(other, 4), count] for one, other, count in rows],
        "count": len(predicted),
    }


class Stop:
    """Never stops, so that the longest chain allowed is the length; the base of the other policies.

    Before each token is drawn, `value` reads a number from what is known, and `passes` says whether the token is to be the
    last. `climb` are the numbers laid against `line` in this round.
    """

    measure = ""  # what climbs, in words
    line: float | None = None
    wants_state = False

    def __init__(self):
        self.climb: list[float] = []

    def begin(self, session: Session | None = None) -> None:
        """A new round behind the session's context."""
        self.climb = []

    def value(self, q: Tensor, state: Tensor | None) -> float | None:
        """The number read before a draw from `q` [V]; `state` [d] is the draft's where the token before was fed, if one was."""

    def passes(self, value: float | None) -> bool:
        """Is the token that is drawn next the last one?"""
        return False

    def pick(self, q: Tensor, greedy: bool, rng: torch.Generator) -> int | None:
        """The next drafted token; None = draw nothing, the chain ends here."""
        return int(q.argmax()) if greedy else draw(q, rng)

    def notes(self) -> dict:
        """The round, for the trace."""
        return {"measure": self.measure, "line": self.line, "climb": self.climb}


class EntropyStop(Stop):
    """The token drawn where the draft's own entropy is above `line` nats is the last one."""

    measure = "entropy of the draft, nats"

    def __init__(self, line: float):
        super().__init__()
        self.line = line

    def value(self, q, state):
        return entropy(q).item()

    def passes(self, value):
        self.climb.append(value)
        return value > self.line


class RiskStop(Stop):
    """Stops when the head thinks that some drafted token will be refused: 1 - product of P(accepted) > `line` (P013).

    The head judges a token where it is the draft's input, so the newest token is always kept unjudged, as released.
    """

    measure = "chance that a draft is refused"
    wants_state = True

    def __init__(self, line: float, head: dict[str, Tensor]):
        super().__init__()
        self.line, self.head = line, head

    def begin(self, session=None):
        super().begin(session)
        self.kept, self.judged = 1.0, []

    def value(self, q, state):
        return None if state is None else judge(state, self.head).softmax(-1)[1].item()

    def passes(self, value):
        if value is not None:  # before the first token there is nothing to judge
            self.judged.append(value)
            self.kept *= value
            self.climb.append(1 - self.kept)
        return 1 - self.kept > self.line

    def notes(self):
        return super().notes() | {"judged": self.judged}


class Oracle(Stop):
    """Stops exactly before the first token that would be refused. A yardstick, not a method: it asks the target every time.

    It keeps the law: a coin decides with chance sum(min(p, q)) that the next draft will be accepted, and only then one is drawn,
    from min(p, q) normalised; else the target adds from norm(max(p - q, 0)). That is speculative sampling with the
    coin thrown first. Nothing is discarded, at any temperature. `peeks` counts its own target calls, which are in no cost.
    """

    def begin(self, session):
        super().begin(session)
        self.law = session.law
        self.target = session.fork()[0]
        self.target.ledger = Ledger()  # apart
        self.left: Tensor | None = None  # what the target adds from; None = its whole law

    def pick(self, q, greedy, rng):
        p, self.left = self.law(self.target.logits), None
        if greedy:
            token = int(q.argmax())
            token = token if p[token] > 0 else None
        else:
            shared = torch.minimum(p, q)
            sure = torch.rand((), generator=rng, dtype=torch.float64).item() < shared.sum().item()
            token = draw(shared, rng) if sure else None
        if token is None:
            self.left = (p - q).clamp(min=0)
        else:
            self.target.push(token)
        return token

    def notes(self):
        return super().notes() | {"peeks": self.target.ledger.forwards}

    def outcome(self, tree: Tree, p: Tensor, rng: torch.Generator) -> Outcome:
        """What verifying comes to when every coin was thrown while drafting; `p` [N+1, V]."""
        law = p[-1] if self.left is None else self.left / self.left.sum()
        path = list(range(len(tree.tokens)))
        tested = [Tested(node, True, "the oracle knew: accepted") for node in path]
        added = draw(law, rng)
        return Outcome(path, added, law[added].item(), "target" if self.left is None else "residual", tested)
