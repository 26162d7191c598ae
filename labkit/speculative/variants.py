"""One verify step at one place, done rightly in several ways and wrongly in several more, each with its exact law.

The wrong ones are the mistakes that implementations of speculative decoding really contain. They exist so that "check it" can
show a law that is not kept, and so that the tests prove that they would notice. No method uses them. A mistake need not show
everywhere: at some places the law of a broken verifier is so near p that no count of draws would tell; its formula says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import torch
from torch import Tensor

from labkit.law import draw
from labkit.speculative import cover, verify
from labkit.trace import Tree

LOSSLESS, LOSSY, BROKEN = "lossless", "lossy", "broken"


@dataclass(frozen=True)
class Place:
    """The laws at one place, after temperature and transforms [V], and how many drafts those variants try that try several.

    `raw_q` is the draft's law before temperature and transforms.
    """

    p: Tensor
    q: Tensor
    raw_q: Tensor
    drafts: int = 2


@dataclass(frozen=True)
class Variant:
    """A way to get one token from a place. `emit(place, rng)` drafts, verifies and returns the emitted token.

    `law(place)` [V] is the law of that token, by formula. `kind` is "lossless", "lossy" (on purpose) or "broken".
    """

    title: str
    kind: str
    emit: Callable[[Place, torch.Generator], int]
    law: Callable[[Place], Tensor]

    @property
    def right(self) -> bool:
        return self.kind == LOSSLESS


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


def _flat(place: Place, tokens: list[int]) -> tuple[Tree, Tensor]:
    """`tokens` as children of the root, and p for every row."""
    return Tree(tokens, [-1] * len(tokens)), place.p.expand(len(tokens) + 1, -1)


def _emitted(tree: Tree, outcome: verify.Outcome) -> int:
    return tree.tokens[outcome.path[0]] if outcome.path else outcome.added


def _coin(rng: torch.Generator) -> float:
    return torch.rand((), generator=rng, dtype=torch.float64).item()


# -- right, and lossy --------------------------------------------------------------------------------------------------


def residual(place: Place, tokens: list[int], rows: Tensor, rng: torch.Generator) -> int:
    """V2 over siblings `tokens` drawn from `rows`."""
    tree, p = _flat(place, tokens)
    return _emitted(tree, verify.residual_chain(tree, p, rows, rng))


def one_draft(place, rng):
    return residual(place, *siblings(place.q, 1, True, rng), rng)


def distinct_drafts(place, rng):
    return residual(place, *siblings(place.q, place.drafts, False, rng), rng)


def iid_drafts(place, rng):
    return residual(place, *siblings(place.q, place.drafts, True, rng), rng)


def matched(place, rng):
    tree, p = _flat(place, siblings(place.q, place.drafts, True, rng)[0])
    return _emitted(tree, verify.sample_and_match(tree, p, rng))


def k_seq(place, rng):
    tokens, rows = siblings(place.q, place.drafts, True, rng)
    tree, p = _flat(place, tokens)
    return _emitted(tree, verify.k_seq(tree, p, rows, rng, verify.children_of(tree)))


def keeps(place: Place) -> Tensor:
    """The law of every right verifier."""
    return place.p


def typical(place, rng):
    tree, p = _flat(place, place.q.topk(min(place.drafts, len(place.q))).indices.tolist())
    return _emitted(tree, verify.typical(tree, p, rng))


def typical_law(place):
    tree, p = _flat(place, place.q.topk(min(place.drafts, len(place.q))).indices.tolist())
    taken = verify.typical(tree, p, torch.Generator()).path
    return _certain(place.p, tree.tokens[taken[0]]) if taken else place.p


def greedy(place, rng):
    """V0 above temperature 0: always the likeliest token, whatever was drafted."""
    return int(place.p.argmax())


def greedy_law(place):
    return _certain(place.p, int(place.p.argmax()))


# -- broken ------------------------------------------------------------------------------------------------------------


def no_residual(place, rng):
    """Wrong: after a refusal it draws from p, not from what the draft left of p."""
    (token,), rows = siblings(place.q, 1, True, rng)
    return token if _coin(rng) * rows[0, token].item() < place.p[token].item() else draw(place.p, rng)


def no_residual_law(place):
    kept = torch.minimum(place.p, place.q)
    return kept + (1 - kept.sum()) * place.p


def dropped_draft(place, rng):
    """Wrong: a drawn token is thrown away because it is not the draft's favourite, and the place is drawn from p."""
    tokens, rows = siblings(place.q, 1, True, rng)
    if tokens[0] != int(place.q.argmax()):
        return draw(place.p, rng)
    return residual(place, tokens, rows, rng)


def dropped_draft_law(place):
    best = int(place.q.argmax())
    kept = _certain(place.p, best) * torch.minimum(place.p, place.q)
    return (1 - place.q[best]) * place.p + kept + (place.q[best] - kept.sum()) * _left(place.p, place.q)


def merged_siblings(place, rng):
    """Wrong: two equal drafts are merged into one node and tested once."""
    tokens, rows = siblings(place.q, 2, True, rng)
    if tokens[0] == tokens[1]:
        tokens, rows = tokens[:1], rows[:1]
    return residual(place, tokens, rows, rng)


def merged_siblings_law(place):
    once = _left(place.p, place.q)
    twice = _left(once, place.q)
    return place.p + (place.q * (place.q - place.p).clamp(min=0)).sum() * (once - twice)


def stale_row(place, rng):
    """Wrong: the second draft is tested against the row the first was drawn from."""
    tokens, rows = siblings(place.q, 2, False, rng)
    return residual(place, tokens, place.q.expand(len(tokens), -1), rng)


def stale_row_law(place):
    refused = (place.q - place.p).clamp(min=0)
    second, once = _second(place.q, refused), _left(place.p, place.q)
    kept = second * _chance(once, place.q)
    lone = (refused.sum() - second.sum()).clamp(min=0)  # the draft knows one token only: there is no second
    return torch.minimum(place.p, place.q) + kept + (second - kept).sum() * _left(once, place.q) + lone * once


def unwarped_draft(place, rng):
    """Wrong: drafts are drawn from the warped q but tested against the raw one (temperature and cuts forgotten)."""
    tokens, _ = siblings(place.q, 1, True, rng)
    return residual(place, tokens, place.raw_q[None], rng)


def unwarped_draft_law(place):
    kept = place.q * _chance(place.p, place.raw_q)
    return kept + (1 - kept.sum()) * _left(place.p, place.raw_q)


def small_division(place, rng):
    """Wrong: k-SEQ with rho = 1. What the residual lacks below zero is cut off, and gone."""
    for token in siblings(place.q, place.drafts, True, rng)[0]:
        if _coin(rng) * place.q[token].item() < place.p[token].item():
            return token
    return draw(cover.k_seq(place.p, place.q, place.drafts, 1.0)[-1].clamp(min=0), rng)


def small_division_law(place):
    rows = cover.k_seq(place.p, place.q, place.drafts, 1.0)
    covered, left = rows[:-1].sum(0), rows[-1].clamp(min=0)
    return covered + (1 - covered.sum()).clamp(min=0) * left / left.sum().clamp(min=1e-300)


def distinct_k_seq(place, rng):
    """Wrong: k-SEQ over two drafts drawn without replacement; its residual is that of independent ones."""
    tokens, _ = siblings(place.q, 2, False, rng)
    split = verify.share(place.p, place.q, 2)
    for token in tokens:
        if _coin(rng) * split.rho * place.q[token].item() < place.p[token].item():
            return token
    return draw(split.residual, rng)


def distinct_k_seq_law(place):
    split = verify.share(place.p, place.q, 2)
    covered = torch.minimum(place.q, place.p / split.rho)
    covered = covered + _second(place.q, place.q - covered) * _chance(place.p, split.rho * place.q)
    return covered + (1 - covered.sum()) * split.residual


# -- pieces of their laws ----------------------------------------------------------------------------------------------


def _certain(law: Tensor, token: int) -> Tensor:
    return torch.zeros_like(law).index_fill_(0, torch.tensor([token]), 1.0)


def _chance(p: Tensor, q: Tensor) -> Tensor:
    """min(1, p/q); 1 where the draft gives nothing."""
    return torch.where(q > p, p / q, 1.0)


def _left(p: Tensor, q: Tensor) -> Tensor:
    """norm(max(p - q, 0)), or p where nothing is left."""
    left = (p - q).clamp(min=0)
    return left / left.sum() if left.sum() > 0 else p


def _second(q: Tensor, refused: Tensor) -> Tensor:
    """The chance that a second, different draft is looked at and is this token; `refused`: the first was this and fell."""
    weight = refused / (1 - q).clamp(min=1e-300)
    before = torch.cat([weight.new_zeros(1), weight[:-1]]).cumsum(0)  # sums of the others, not "all less mine": mine may be huge
    behind = torch.cat([weight.new_zeros(1), weight.flip(0)[:-1]]).cumsum(0).flip(0)
    return q * (before + behind)


VARIANTS = {
    "V1": Variant("sample and match", LOSSLESS, matched, keeps),
    "V2": Variant("residual chain, one draft", LOSSLESS, one_draft, keeps),
    "V2-iid": Variant("residual chain, independent drafts", LOSSLESS, iid_drafts, keeps),
    "V2-two": Variant("residual chain, drafts without replacement", LOSSLESS, distinct_drafts, keeps),
    "V3": Variant("k-SEQ, independent drafts", LOSSLESS, k_seq, keeps),
    "V4": Variant("lossy: typical acceptance", LOSSY, typical, typical_law),
    "V0": Variant("broken: greedy match above temperature 0", BROKEN, greedy, greedy_law),
    "no-residual": Variant("broken: draws from p after a refusal", BROKEN, no_residual, no_residual_law),
    "dropped-draft": Variant("broken: throws unloved drafts away", BROKEN, dropped_draft, dropped_draft_law),
    "merged-siblings": Variant("broken: tests equal drafts once", BROKEN, merged_siblings, merged_siblings_law),
    "stale-row": Variant("broken: second draft against the first one's row", BROKEN, stale_row, stale_row_law),
    "unwarped-draft": Variant("broken: forgets the draft's temperature", BROKEN, unwarped_draft, unwarped_draft_law),
    "small-division": Variant("broken: k-SEQ with ρ = 1", BROKEN, small_division, small_division_law),
    "distinct-k-seq": Variant("broken: k-SEQ over drafts without replacement", BROKEN, distinct_k_seq, distinct_k_seq_law),
}
