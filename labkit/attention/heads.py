"""What each head of each layer looks at, densely and under a policy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from labkit.attention.cache_race import CacheRace
from labkit.attention.dhsa import DHSA
from labkit.attention.ground import Policy, Witness
from labkit.attention.maps import folded
from labkit.knobs import knob
from labkit.methods import Study
from labkit.trace import Step

CELLS = 48  # a row, at most
POLICIES = ("H2O", "TokenSelect", "Double Sparsity", "DHSA", "window", "sinks")


@dataclass
class Heads(Study):
    """What does the newest token look at, head by head: densely, and with what a cache policy leaves?

    The prompt is read twice, with a whole cache and with the policy's; then both read the tokens that dense attention would
    write, one a step. Every row is one query head's attention over the text, summed over neighbouring positions. `budget` is what
    the policy holds, or reads, of the prompt. Beside it, what share of the head's dense attention the policy could see.
    """

    name, title = "heads", "What each head looks at"
    charts = ("heads_map",)
    policy: str = knob("H2O", choices=POLICIES, help="drawn beside it")
    budget: float = knob(0.2, 0.05, 0.9, unit="of the tokens", help="held, or read", step=0.05)
    tokens: int = knob(12, 1, 48, unit="tokens", help="written, one a step")

    def steps(self, session, rng):
        contenders = CacheRace(budget=self.budget).contenders(len(session.ids)) | {"DHSA": DHSA(budget=self.budget)}
        policy, witness = contenders[self.policy], Witness()
        dense, sparse = session.open(session.ids), session.open(session.ids)
        policy.prepare(sparse)
        dense.carry(session.runner.policy_cache(witness))
        sparse.carry(session.runner.policy_cache(policy))
        policy.indexed = policy.summed = False  # what each head gave is looked at here
        written: list[int] = []
        for done in range(1, self.tokens + 1):
            token, _ = int(dense.logits.argmax()), sparse.logits
            length = len(dense.ids)
            width = -(-length // CELLS)
            notes = {"done": done, "of": self.tokens, "policy": self.policy, "length": length, "width": width}
            layers = range(len(witness.slots))
            for name, one in (("dense", witness), ("sparse", policy)):
                notes[name] = [folded(over_text(one, layer, length), width) for layer in layers]
            notes["caught"] = [caught(witness, policy, layer) for layer in layers]
            notes["group"] = witness.spec.heads // witness.spec.kv_heads
            notes["tokens"] = [list(written), [token]]  # read behind the prompt, and what dense attention writes now
            yield Step(emitted=[], notes=notes)
            if token in session.ends:
                return
            written.append(token)
            dense.push(token)
            sparse.push(token)


def over_text(policy: Policy, layer: int, length: int) -> Tensor:
    """What the last query of each head gave to every position of a text, [heads, length]; nothing where it saw nothing."""
    gave = policy.gave[layer]
    places = policy.met[layer].long()[:, None].expand_as(gave)
    return gave.new_zeros(*gave.shape[:2], length).scatter_add(2, places, gave).flatten(0, 1)


def caught(witness: Policy, policy: Policy, layer: int) -> list[float]:
    """By query head, the share of its dense attention that lies where the policy could see."""
    gave = witness.gave[layer]
    places = policy.met[layer].long()[:, None].expand(-1, gave.shape[1], -1)
    return gave.gather(2, places).sum(-1).flatten().tolist()
