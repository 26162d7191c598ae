"""The threshold of AdaDec (P003): from which entropy on is the model's favourite token likely to be wrong?

The paper's recipe: teacher-force code, note at every place the entropy H and whether the true token ranks first, balance the two
classes by undersampling, fit P(first | H) by logistic regression, take the cut that classifies best the fifth kept apart,
unbalanced. Fit and cut see files of the training split only; every figure is measured on held-out files.
"""

from collections.abc import Callable
from math import log
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from labkit import parts
from labkit.law import entropy
from labkit.models import SHIPPED, load
from labkit.sampling.adadec import PART
from labkit.train.tokenizer import RESERVED, load_tokenizer
from labkit.train.tokens import Windows, load_tokens

WINDOW, LEAD = 256, 64  # tokens read, of which the first are context only
CUTS = [number / 100 for number in range(1, 100)]  # the paper's
KEPT_APART = 0.2  # of the windows, to choose the cut: the paper's
EDGES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)  # nats; the bins the curve is drawn by


def stretches(text: np.ndarray, count: int, seed: int) -> Tensor:  # int64 [count, WINDOW + 1]
    """The first `count` windows of `text` that hold no reserved token: within one document, in its own order."""
    windows, found, number = Windows(text, WINDOW, seed), [], 0
    while len(found) < count:
        if number == windows.count:
            raise ValueError(f"the text has {len(found)} whole windows, fewer than {count}: ask for fewer")
        window = windows.batch(number, 1)[0]
        number += 1
        if window.min() >= len(RESERVED):
            found.append(torch.from_numpy(window))
    return torch.stack(found)


@torch.inference_mode()
def places(runner, windows: Tensor) -> Tensor:
    """Teacher-forced, for every place behind the lead: its window, H in nats and the true token's rank from 1, [3, places]."""
    found = []
    for number, window in enumerate(windows.to(runner.device)):
        at = torch.arange(WINDOW, device=runner.device)
        logits = runner.forward(window[:-1], at, None, runner.new_cache(), LEAD, False)[0].float()
        true = logits.gather(1, window[LEAD + 1 :, None])
        rank = 1 + (logits > true).sum(1)
        found.append(torch.stack([torch.full_like(rank, number), entropy(logits.softmax(-1)), rank]).double().cpu())
    return torch.cat(found, 1)


def balanced(right: Tensor, rng: torch.Generator) -> Tensor:
    """Indices of all places of the rarer class of `right` [n] and of as many of the other, drawn at random."""
    classes = [torch.where(right == value)[0] for value in (True, False)]
    size = min(map(len, classes))
    return torch.cat([of[torch.randperm(len(of), generator=rng)[:size]] for of in classes])


def fit(nats: Tensor, right: Tensor) -> tuple[float, float]:
    """Slope and intercept of P(right | H) = sigmoid(intercept + slope H), the maximum of the likelihood by Newton's steps."""
    x, weights = torch.stack([nats, torch.ones_like(nats)], 1), torch.zeros(2, dtype=torch.float64)
    for _ in range(30):
        chance = (x @ weights).sigmoid()
        curvature = (x.T * (chance * (1 - chance))) @ x
        weights += torch.linalg.solve(curvature, x.T @ (right.double() - chance))
    return tuple(weights.tolist())


def threshold(slope: float, intercept: float, nats: Tensor, right: Tensor) -> tuple[float, float]:
    """The cut q of CUTS with which "P(right | H) > q" says best what is right, and its tau in nats, where P is q."""
    said = (intercept + slope * nats).sigmoid()
    accuracy = [((said > cut) == right).double().mean().item() for cut in CUTS]
    cut = CUTS[accuracy.index(max(accuracy))]
    return cut, (log(cut / (1 - cut)) - intercept) / slope


def bins(nats: Tensor, rank: Tensor) -> list[list[float]]:
    """By entropy: mean H, share of places whose true token ranks first, its mean rank, and how many places; empty bins go."""
    level = torch.bucketize(nats, torch.tensor(EDGES, dtype=nats.dtype), right=True)
    groups = [level == number for number in range(len(EDGES) + 1)]
    return [
        [nats[of].mean().item(), (rank[of] == 1).double().mean().item(), rank[of].mean().item(), int(of.sum())]
        for of in groups
        if of.any()
    ]


def train_adadec(
    windows: int = 400,
    *,
    device: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    folder: Path = parts.FOLDER,
    report: Callable[[str], None] = print,
) -> Path:
    """Learn the shipped target's threshold from `windows` windows of training text and write the part; returns its file.

    Measured on a quarter as many of the held-out text. Raises ValueError for bad choices.
    """
    if not 20 <= windows <= 10_000:
        raise ValueError(f"windows is {windows}: give a number from 20 to 10,000")
    if threads is not None:
        torch.set_num_threads(threads)
    target = load("lab-target", "none", device, "float32").target
    corpus = load_tokens(load_tokenizer(SHIPPED["lab-target"]), seed)
    window, nats, rank = places(target, stretches(corpus.train, windows, seed)).unbind(0)
    report(f"training text: {len(nats):,} places")
    right, apart = rank == 1, window >= (1 - KEPT_APART) * windows
    chosen = balanced(right[~apart], torch.Generator().manual_seed(seed))
    slope, intercept = fit(nats[~apart][chosen], right[~apart][chosen])
    cut, tau = threshold(slope, intercept, nats[apart], right[apart])
    _, held, ranks = places(target, stretches(corpus.held_out, windows // 4, seed)).unbind(0)
    report(f"held-out text: {len(held):,} places")
    table = bins(held, ranks)
    figures = {
        "tau": tau,
        "cut": cut,
        "slope": slope,
        "intercept": intercept,
        "places": len(nats),
        "fitted_to": len(chosen),
        "seed": seed,
        "corpus": corpus.manifest["fingerprint"],
        "torch": torch.__version__,
        "held_out": measure(held, ranks, tau),
        "bins": table,
    }
    figures["summary"] = summary(figures)
    report(figures["summary"])
    tensors = {"line": torch.tensor([slope, intercept]), "tau": torch.tensor([tau]), "bins": torch.tensor(table)}
    return parts.save(PART, tensors, "lab-target", figures, folder)


def measure(nats: Tensor, rank: Tensor, tau: float) -> dict:
    """What a threshold of `tau` nats is worth over places: their number, the share at which AdaDec would pause, how often
    "sure" means right and "unsure" wrong (accuracy), the share that is right on each side, and mean ranks there."""
    paused, right = nats >= tau, rank == 1
    return {
        "places": len(nats),
        "paused": paused.double().mean().item(),
        "accuracy": (right != paused).double().mean().item(),
        "right_when_sure": right[~paused].double().mean().item(),
        "right_when_paused": right[paused].double().mean().item(),
        "second_or_third_when_paused": ((rank == 2) | (rank == 3))[paused].double().mean().item(),
        "rank_when_sure": rank[~paused].mean().item(),
        "rank_when_paused": rank[paused].mean().item(),
    }


def summary(figures: dict) -> str:
    """The part's row in the model card."""
    held = figures["held_out"]
    return (
        f"The entropy from which AdaDec (P003) pauses: tau {figures['tau']:.2f} nats. On held-out text {held['paused']:.1%} of "
        f"{held['places']:,} places lie above it; the likeliest token is right at {held['right_when_sure']:.1%} of the others "
        f"and at {held['right_when_paused']:.1%} of these, where the second or third is at "
        f"{held['second_or_third_when_paused']:.1%}."
    )
