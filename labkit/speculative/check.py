"""Is it really lossless? Draw the first token of many verify steps and lay what came out over the exact law."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from labkit.errors import KnobError, ModelError, PromptError
from labkit.lm import Session
from labkit.methods import build_law, check_seed
from labkit.models import Pair
from labkit.speculative.variants import VARIANTS, Place
from labkit.trace import Setting

MOST_DRAWS = 20_000  # in one call; the page asks again and adds up
MOST_DRAFTS = 8
COOLEST, HOTTEST = 0.1, 10.0  # of the draft, against the target's temperature
MOST_COUNTED = 2**53  # floats count no further
SHOWN = 8  # tokens named; the others are counted together


def place_at(
    pair: Pair, ids: list[int], temperature: float, transforms: list[Setting], heat: float, drafts: int
) -> Place:
    """The laws of target and draft behind `ids`, in float64 so that their sums are exact enough to count with."""
    law = build_law(temperature, transforms)
    target, draft = (Session(runner, ids).logits.double().cpu() for runner in (pair.target, pair.draft))
    return Place(law(target), law.heated(heat)(draft), draft.softmax(-1), drafts)


def pooled(exact: Tensor, other: Tensor, draws: int) -> tuple[Tensor, Tensor, float]:
    """Both laws [V] summed over the cells of a chi-square test of `draws` draws, and the mass of `other` that `exact` forbids.

    Tokens expected at least 5 times have a cell each, the rarer ones share one; where even that is expected less often it
    joins the smallest cell, since a lone rare token says nothing.
    """
    due = exact * draws
    frequent = due >= 5
    cell, rare = frequent.cumsum(0) - 1, int(frequent.sum())
    if rare and due[~frequent].sum() < 5:
        rare = int(cell[due.where(frequent, torch.inf).argmin()])
    cell = torch.where(frequent, cell, rare)
    size = int(cell.max()) + 1
    mine, theirs = (exact.new_zeros(size).index_add_(0, cell, law * (exact > 0)) for law in (exact, other))
    return mine, theirs, other[exact == 0].sum().item()


def chi_square(exact: Tensor, counts: dict[int, int]) -> tuple[float, int]:
    """The statistic of `counts` (by token) against the law `exact` [V], and its degrees of freedom; see `pooled`."""
    total = sum(counts.values())
    seen = torch.zeros_like(exact)
    seen[list(counts)] = torch.tensor(list(counts.values()), dtype=exact.dtype) / total
    mine, theirs, forbidden = pooled(exact, seen, total)
    statistic = total * ((theirs - mine) ** 2 / mine).sum().item()
    # what the law forbids is proof enough, but a finite one: JSON has no infinity
    return statistic + 1e9 * total * forbidden, max(len(mine) - 1, 1)


def power(exact: Tensor, law: Tensor, draws: int) -> float:
    """The chance that `draws` draws from `law` [V] land above the 5 % line of the test against `exact` [V]; see `pooled`."""
    from scipy.stats import chi2, ncx2

    mine, theirs, forbidden = pooled(exact, law, draws)
    df = max(len(mine) - 1, 1)
    excess = draws * ((theirs - mine) ** 2 / mine).sum().item()  # of the statistic over its mean under the exact law
    seen = float(ncx2.sf(chi2.isf(0.05, df), df, excess)) if excess > 1e-9 else 0.05
    return 1 - (1 - seen) * (1 - forbidden) ** draws


def check(
    pair: Pair,
    ids: list[int],
    variant: str = "V2",
    draws: int = 2_000,
    seed: int = 0,
    temperature: float = 1.0,
    transforms: list[Setting] = (),
    heat: float = 1.0,
    drafts: int = 2,
    counts: dict[int, int] | None = None,
) -> dict[str, Any]:
    """Run `draws` verify steps of `variant` behind `ids`; add `counts` of earlier calls; compare with the exact law.

    `drafts` = how many a variant tries that tries several. Returns tokens and pieces (the likeliest), `exact` and `drawn` shares,
    what the rest holds, `draws` so far, `counts` so far, and the chi-square test (see `chi_square`): `chi_square`, `df`,
    `p_value`, and `limit`, the 5 % line. By formula, without drawing: `distance`, the total variation (0 to 1) between the
    variant's own law and the exact one, and `power`, the chance that MOST_DRAWS draws show it. Raises `KnobError` on an unknown
    variant, too many draws or drafts, a heat out of range, or counts that no earlier call gave, `ModelError` without a draft.
    """
    from scipy.stats import chi2  # 0.3 s of import, for this question only

    if variant not in VARIANTS:
        raise KnobError(f"There is no verifier {variant!r:.60} to check: choose one of {', '.join(VARIANTS)}.")
    if not 1 <= draws <= MOST_DRAWS:
        raise KnobError(f"{draws} draws are asked for: choose 1 to {MOST_DRAWS:,} at a time.")
    if not 1 <= drafts <= MOST_DRAFTS:
        raise KnobError(f"{drafts} drafts are asked for: choose 1 to {MOST_DRAFTS}.")
    if not COOLEST <= heat <= HOTTEST:
        raise KnobError(f"The draft's heat is {heat!r}: choose a factor from {COOLEST:g} to {HOTTEST:g}.")
    check_seed(seed)
    if pair.draft is None:
        raise ModelError("Checking a verifier needs a draft model: choose a draft.")
    if not ids or len(ids) > pair.target.context:
        raise PromptError(f"The context has {len(ids):,} tokens: give 1 to {pair.target.context:,}.")
    place = place_at(pair, ids, temperature, transforms, heat, drafts)
    rng = torch.Generator().manual_seed(seed)
    counts = {int(token): int(count) for token, count in (counts or {}).items()}
    if any(not 0 <= token < pair.target.vocabulary or not 0 <= count < MOST_COUNTED for token, count in counts.items()):
        raise KnobError("The counts are not those of an earlier answer: begin again without them.")
    tried = VARIANTS[variant]
    for _ in range(draws):
        token = tried.emit(place, rng)
        counts[token] = counts.get(token, 0) + 1

    total = sum(counts.values())
    exact, law = place.p.tolist(), tried.law(place)
    statistic, df = chi_square(place.p, counts)
    shown = place.p.topk(min(SHOWN, len(exact))).indices.tolist()
    return {
        "variant": variant,
        "title": tried.title,
        "right": tried.right,
        "kind": tried.kind,
        "tokens": shown,
        "pieces": [pair.vocabulary.piece(token) for token in shown],
        "exact": [exact[token] for token in shown],
        "drawn": [counts.get(token, 0) / total for token in shown],
        "rest_exact": max(0.0, 1 - sum(exact[token] for token in shown)),
        "rest_drawn": 1 - sum(counts.get(token, 0) for token in shown) / total,
        "draws": total,
        "counts": counts,
        "chi_square": statistic,
        "df": df,
        "p_value": float(chi2.sf(statistic, df)),
        "limit": float(chi2.isf(0.05, df)),
        "distance": (law - place.p).abs().sum().item() / 2,
        "power": power(place.p, law, MOST_DRAWS),
    }
