"""One verify step at one place, done rightly in several ways and wrongly in several more.

The wrong ones are the mistakes that implementations of speculative decoding really contain. They exist so that "check it" can
show a law that is not kept, and so that the tests prove that they would notice. No method uses them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import torch
from torch import Tensor

from labkit.law import draw
from labkit.speculative import verify
from labkit.trace import Tree


@dataclass(frozen=True)
class Place:
    """The laws at one place, after temperature and transforms [V]; `raw_q` is the draft's law before them."""

    p: Tensor
    q: Tensor
    raw_q: Tensor


@dataclass(frozen=True)
class Variant:
    """A way to get one token from a place. `emit(place, rng)` drafts, verifies and returns the emitted token."""

    title: str
    right: bool
    emit: Callable[[Place, torch.Generator], int]


def siblings(q: Tensor, count: int, replace: bool, rng: torch.Generator) -> tuple[list[int], Tensor]:
    """`count` tokens drawn from `q` [V] and the row each was drawn from [count, V]; fewer when q's mass is used up."""
    tokens, rows, row = [], [], q
    for _ in range(count):
        if row.sum() <= 0:
            break
        tokens.append(draw(row, rng))
        rows.append(row)
        if not replace:
            row = row.index_fill(0, torch.tensor([tokens[-1]]), 0.0)
            row = row / row.sum().clamp(min=1e-300)
    return tokens, torch.stack(rows)


def _emitted(tree: Tree, outcome: verify.Outcome) -> int:
    return tree.tokens[outcome.path[0]] if outcome.path else outcome.added


def residual(place: Place, tokens: list[int], rows: Tensor, rng: torch.Generator) -> int:
    """V2 over siblings `tokens` drawn from `rows`."""
    tree = Tree(tokens, [-1] * len(tokens))
    p = place.p.expand(len(tokens) + 1, -1)
    return _emitted(tree, verify.residual_chain(tree, p, rows, rng))


def one_draft(place, rng):
    return residual(place, *siblings(place.q, 1, True, rng), rng)


def two_drafts(place, rng):
    return residual(place, *siblings(place.q, 2, False, rng), rng)


def two_iid_drafts(place, rng):
    return residual(place, *siblings(place.q, 2, True, rng), rng)


def matched(place, rng):
    tokens, _ = siblings(place.q, 1, True, rng)
    tree = Tree(tokens, [-1])
    return _emitted(tree, verify.sample_and_match(tree, place.p.expand(2, -1), rng))


def no_residual(place, rng):
    """Wrong: after a refusal it draws from p, not from what the draft left of p."""
    tokens, rows = siblings(place.q, 1, True, rng)
    token = tokens[0]
    coin = torch.rand((), generator=rng, dtype=torch.float64).item()
    return token if coin * rows[0, token].item() < place.p[token].item() else draw(place.p, rng)


def dropped_draft(place, rng):
    """Wrong: a drawn token is thrown away because it is not the draft's favourite, and the place is drawn from p."""
    tokens, rows = siblings(place.q, 1, True, rng)
    if tokens[0] != int(place.q.argmax()):
        return draw(place.p, rng)
    return residual(place, tokens, rows, rng)


def merged_siblings(place, rng):
    """Wrong: two equal drafts are merged into one node and tested once."""
    tokens, rows = siblings(place.q, 2, True, rng)
    if tokens[0] == tokens[1]:
        tokens, rows = tokens[:1], rows[:1]
    return residual(place, tokens, rows, rng)


def stale_row(place, rng):
    """Wrong: the second draft is tested against the row the first was drawn from."""
    tokens, rows = siblings(place.q, 2, False, rng)
    return residual(place, tokens, place.q.expand(len(tokens), -1), rng)


def unwarped_draft(place, rng):
    """Wrong: drafts are drawn from the warped q but tested against the raw one (temperature and cuts forgotten)."""
    tokens, _ = siblings(place.q, 1, True, rng)
    return residual(place, tokens, place.raw_q[None], rng)


VARIANTS = {
    "V2": Variant("residual chain, one draft", True, one_draft),
    "V2-two": Variant("residual chain, two drafts without replacement", True, two_drafts),
    "V2-iid": Variant("residual chain, two independent drafts", True, two_iid_drafts),
    "V1": Variant("sample and match", True, matched),
    "no-residual": Variant("broken: draws from p after a refusal", False, no_residual),
    "dropped-draft": Variant("broken: throws unloved drafts away", False, dropped_draft),
    "merged-siblings": Variant("broken: tests equal drafts once", False, merged_siblings),
    "stale-row": Variant("broken: second draft against the first one's row", False, stale_row),
    "unwarped-draft": Variant("broken: forgets the draft's temperature", False, unwarped_draft),
}
