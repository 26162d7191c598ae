"""P157 DEL: the target drafts with its own first layers; how many, and how far, is chosen again every round."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.early import exits
from labkit.errors import KnobError
from labkit.knobs import knob
from labkit.law import draw
from labkit.speculative.ground import Proposal, Speculative, room
from labkit.trace import Tree

DYNAMIC, FIXED = "dynamic", "fixed"


def tokens_per_layer(acceptance: float, layer: int, length: int, layers: int) -> float:
    """TPL(l, d): the tokens that a round of `length` drafts from layer `layer` is expected to bring, per layer it loads.

    Expected are 1 + a + ... + a^d tokens (d + 1 when a is 1); loaded are l layers for every draft and all L to verify.
    """
    return sum(acceptance**k for k in range(length + 1)) / (length * layer + layers)


class Shadows:
    """What verified places have shown of every layer as a drafter: sums in which a round weighs `discount` times the next.

    One place is made up to begin with (inferred): layer l of L matched there for l / L of it, unsure. With that a_l one
    draft from any layer neither wins nor loses.
    """

    def __init__(self, layers: int, discount: float):
        share = torch.arange(1, layers + 1, dtype=torch.float64) / layers
        nothing = torch.zeros(layers, dtype=torch.float64)
        self.sums = torch.stack([share, 1 - share, nothing, nothing])  # [4, L]: matched, missed, how sure it was at either
        self.discount = discount

    def learn(self, matched: Tensor, sure: Tensor) -> None:
        """A round's places: `matched` [L, n] from 0 to 1, and `sure` [L, n], the layer's largest probability there."""
        missed = 1 - matched
        fresh = torch.stack([matched, missed, sure * matched, sure * missed]).sum(-1)
        self.sums = self.discount * self.sums + fresh.double().cpu()

    @property
    def acceptance(self) -> list[float]:
        """a_l of every layer, [L]."""
        matched, missed, _, _ = self.sums
        return (matched / (matched + missed)).tolist()

    @property
    def doubt(self) -> list[float]:
        """Half way between how sure a layer is where it matches and where it misses, [L]: below, a draft ends (inferred)."""
        matched, missed, sure_matched, sure_missed = self.sums.clamp(min=1e-12)
        return ((sure_matched / matched + sure_missed / missed) / 2).tolist()


@dataclass
class DEL(Speculative):
    """The target's first layers draft, the others verify; every round picks exit and length by tokens per layer (P157).

    LayerSkip's drafting: final norm and LM head read layer l's states; verification goes on from those states and keys.
    After it the states of all layers are there up to the first mismatch, so what every layer WOULD have drafted ("shadow
    tokens") is known as well, and a_l, the share that was right, is learnt for all layers at once. Above temperature 0 a
    match is the sum of min(p, q_l), the chance to be accepted, and drafts are verified by V2.

    Inferred: how a_l begins and when a draft ends early (see `Shadows`). The token that was doubted is still proposed, so
    that the stop tells nothing about what was drawn next and the law is kept. Drafting pays with layers that learnt to
    speak, those of the model lab-exits; on an ordinary target the early layers are nearly mute. Lean forward only. What
    falls is the number of layers loaded; in seconds a target of eight layers on a CPU only breaks even, since every draft
    also needs the LM head.
    """

    name, title, paper, drafts = "del", "Dynamic exit layer", "P157", "free"
    charts = ("lens", "exit_choice")
    hidden = True
    policy: str = knob(DYNAMIC, choices=(DYNAMIC, FIXED), label="Exit and length", help="dynamic: chosen every round")
    layer: int = knob(2, 1, 63, unit="layers", label="Fixed exit", help="how many layers draft, when fixed")
    length: int = knob(4, 0, 16, unit="tokens", label="Fixed length", help="tokens drafted, when fixed")
    discount: float = knob(0.95, 0.5, 1.0, step=0.01, label="Discount a round", help="1: no round is forgotten")
    stop_early: bool = knob(True, label="Stop when in doubt", help="behind a token the exit was unsure of")
    longest: int = knob(8, 1, 16, unit="tokens", label="Longest draft", help="dynamic: chosen up to here")
    shallowest: int = knob(1, 1, 63, unit="layers", label="Shallowest exit", help="dynamic: chosen from here")
    deepest: int = knob(63, 1, 63, unit="layers", label="Deepest exit", help="dynamic: up to here, or the last but one")

    def start(self, session):
        layers = self.layers = exits(session.runner)
        deepest = min(self.deepest, layers - 1)
        if self.policy == FIXED and self.layer >= layers:
            raise KnobError(f"Fixed exit is {self.layer}, but the target has {layers} layers: choose 1 to {layers - 1}.")
        if self.shallowest > deepest:
            raise KnobError(f"Shallowest exit is {self.shallowest}, deeper than the deepest: choose 1 to {deepest}.")
        self.allowed = range(self.shallowest, deepest + 1)
        self.shadows = Shadows(layers, self.discount)
        self.loaded = session.ledger.layers + session.ledger.early.layers  # so far

    def grid(self) -> list[list[float]]:
        """TPL of every exit layer l = 1 ... L - 1 and length d = 0 ... `longest`, [L - 1, longest + 1]."""
        lengths = range(self.longest + 1)
        known = enumerate(self.shadows.acceptance[:-1], 1)
        return [[tokens_per_layer(a, layer, length, self.layers) for length in lengths] for layer, a in known]

    def choose(self, grid: list[list[float]]) -> tuple[int, int]:
        """(l, d) of the largest TPL among the layers allowed; of equal ones the shortest draft, then the first layer."""
        pairs = ((layer, length) for length in range(self.longest + 1) for layer in self.allowed)
        return max(pairs, key=lambda pair: grid[pair[0] - 1][pair[1]])

    def propose(self, session, rng):
        grid = self.grid()
        layer, length = self.choose(grid) if self.policy == DYNAMIC else (self.layer, self.length)
        doubt = self.shadows.doubt[layer - 1] if self.stop_early else 0.0
        law = session.law
        tree, laws = Tree([], [], kind="deterministic" if law.greedy else "iid"), []
        while len(tree.tokens) < min(length, room(session)):
            logits = session.early(tree, layer)  # [V]
            raw = logits.softmax(-1)
            q = raw if law.greedy else law(logits)
            tree.parents.append(len(tree.tokens) - 1)
            tree.tokens.append(int(q.argmax()) if law.greedy else draw(q, rng))
            laws.append(q)
            if raw.max() < doubt:
                break
        rounded = [[round(value, 6) for value in line] for line in grid]  # a trace holds one of each round
        self.notes = {"exit": layer, "length": length, "doubt": doubt, "acceptance": self.shadows.acceptance, "tpl": rounded}
        return Proposal(tree, torch.stack(laws) if laws else None)  # at temperature 0 the raw law, for show only

    def observe(self, session, tree, scores):
        places = len(tree.path) + 1  # the root and what was accepted: there every layer saw the right text
        said = torch.cat([session.speak(scores.hidden[1:-1, :places]), scores.logits[None, :places]])  # [L, places, V]
        shadow = said.argmax(-1)
        if session.law.greedy:
            matched = (shadow == shadow[-1]).double()
        else:
            laws = session.law(said)
            matched = torch.minimum(laws, laws[-1]).sum(-1)
        self.shadows.learn(matched, (said.amax(-1) - said.logsumexp(-1)).exp())
        before, self.loaded = self.loaded, session.ledger.layers + session.ledger.early.layers
        return self.notes | {"layers loaded": self.loaded - before, "tokens": shadow.tolist()}
