"""Is it really lossless? Draw the first token of many verify steps and lay what came out over the exact law."""

from __future__ import annotations

from typing import Any

import torch

from labkit.errors import KnobError, ModelError, PromptError
from labkit.lm import Session
from labkit.methods import build_law
from labkit.models import Pair
from labkit.speculative.variants import VARIANTS, Place
from labkit.trace import Setting

MOST_DRAWS = 20_000  # in one call; the page asks again and adds up
SHOWN = 8  # tokens named; the others are counted together


def place_at(pair: Pair, ids: list[int], temperature: float, transforms: list[Setting], heat: float) -> Place:
    """The laws of target and draft behind `ids`, in float64 so that their sums are exact enough to count with."""
    law = build_law(temperature, transforms)
    target, draft = (Session(runner, ids).logits.double().cpu() for runner in (pair.target, pair.draft))
    return Place(law(target), law.heated(heat)(draft), draft.softmax(-1))


def chi_square(exact: list[float], counts: dict[int, int]) -> tuple[float, int]:
    """The statistic of `counts` (by token) against the law `exact` [V], and its degrees of freedom.

    Tokens expected at least 5 times have a cell each, the rarer ones share one; where even that is expected less often it
    joins the smallest cell, since a lone rare token says nothing.
    """
    total = sum(counts.values())
    cells = sorted((share * total, counts.get(token, 0)) for token, share in enumerate(exact) if share * total >= 5)
    forbidden = sum(count for token, count in counts.items() if exact[token] == 0)
    due = total - sum(due for due, _ in cells)
    seen = total - sum(seen for _, seen in cells) - forbidden
    if due < 5 and cells:
        due, seen = due + cells[0][0], seen + cells[0][1]
        del cells[0]
    cells.append((due, seen))
    statistic = sum((seen - due) ** 2 / due for due, seen in cells)
    # what the law forbids is proof enough, but a finite one: JSON has no infinity
    return statistic + 1e9 * forbidden, max(len(cells) - 1, 1)


def check(
    pair: Pair,
    ids: list[int],
    variant: str = "V2",
    draws: int = 2_000,
    seed: int = 0,
    temperature: float = 1.0,
    transforms: list = (),
    heat: float = 1.0,
    counts: dict[int, int] | None = None,
) -> dict[str, Any]:
    """Run `draws` verify steps of `variant` behind `ids`; add `counts` of earlier calls; compare with the exact law.

    Returns tokens and pieces (the likeliest), `exact` and `drawn` shares, what the rest holds, `draws` so far, `counts` so far,
    and the chi-square test (see `chi_square`): `chi_square`, `df`, `p_value`, and `limit`, the 5 % line. Raises `KnobError` on an
    unknown variant, too many draws or counts that no earlier call gave, `ModelError` without a draft.
    """
    from scipy.stats import chi2  # 0.3 s of import, for this question only

    if variant not in VARIANTS:
        raise KnobError(f"There is no verifier {variant!r} to check: choose one of {', '.join(VARIANTS)}.")
    if not 1 <= draws <= MOST_DRAWS:
        raise KnobError(f"{draws} draws are asked for: choose 1 to {MOST_DRAWS:,} at a time.")
    if pair.draft is None:
        raise ModelError("Checking a verifier needs a draft model: choose a draft.")
    if not ids or len(ids) > pair.target.context:
        raise PromptError(f"The context has {len(ids):,} tokens: give 1 to {pair.target.context:,}.")
    transforms = [Setting(**item) if isinstance(item, dict) else item for item in transforms]
    place = place_at(pair, ids, temperature, transforms, heat)
    rng = torch.Generator().manual_seed(seed)
    counts = {int(token): int(count) for token, count in (counts or {}).items()}
    if any(not 0 <= token < pair.target.vocabulary or count < 0 for token, count in counts.items()):
        raise KnobError("The counts are not those of an earlier answer: begin again without them.")
    emit = VARIANTS[variant].emit
    for _ in range(draws):
        token = emit(place, rng)
        counts[token] = counts.get(token, 0) + 1

    total = sum(counts.values())
    exact = place.p.tolist()
    statistic, df = chi_square(exact, counts)
    shown = place.p.topk(min(SHOWN, len(exact))).indices.tolist()
    return {
        "variant": variant,
        "title": VARIANTS[variant].title,
        "right": VARIANTS[variant].right,
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
    }
