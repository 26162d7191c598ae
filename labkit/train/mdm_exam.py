"""What a masked-diffusion model of Python came to: its bound, its errors by masked share, infilling, completions, calibration."""

from __future__ import annotations

import ast
from contextlib import suppress

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.diffusion.predictor import MaskPredictor
from labkit.ledger import Ledger
from labkit.prompts import heldout
from labkit.train.figures import spread_windows
from labkit.train.tokens import TokenSet

WINDOWS, DRAWS = 32, 64  # held-out windows, and ways to mask each, that the bound is measured on
EPSILON = 1e-3  # LLaDA's smallest masked share
SHARES = (0.15, 0.5, 0.95)  # masked shares whose errors are told
ONES, COMPLETIONS, WRITTEN, SEEN = 512, 100, 48, 64  # places infilled one by one; texts completed, tokens of each, tokens before
BINS = 10
AT_ONCE = 16  # rows of a forward


@torch.inference_mode()
def examined(network: MaskPredictor, corpus: TokenSet, vocabulary) -> dict:
    """The figures of the model card, all on held-out text. `vocabulary` writes texts for the parser."""
    windows = spread_windows(corpus.held_out, network.context - 1, max(WINDOWS, ONES // 2)).to(network.device)
    rng = torch.Generator().manual_seed(0)
    sure, right = _confidences(network, windows[:WINDOWS], rng)
    return {
        "bound": _bound(network, windows[:WINDOWS], rng),
        "loss_by_share": {str(share): _loss(network, windows[:WINDOWS], share, rng) for share in SHARES},
        "infilled": _infilled(network, windows, rng),
        "parses": _parsing(network, vocabulary),
        "calibration": _calibration(sure, right),
        "quantiles": [round(float(value), 4) for value in sure.quantile(torch.linspace(0, 1, 101, dtype=sure.dtype))],
    }


def _covered(network: MaskPredictor, rows: Tensor, hidden: Tensor) -> Tensor:
    """Logits at the hidden places, in their order [N, V]; the forwards a few rows at a time."""
    masked = rows.masked_fill(hidden, network.mask)
    parts = zip(masked.split(AT_ONCE), hidden.split(AT_ONCE))
    return torch.cat([network(part, Ledger())[places] for part, places in parts])


def _bound(network: MaskPredictor, windows: Tensor, rng: torch.Generator) -> float:
    """Nats a token that -ln p(text) stays below: LLaDA's loss in its exact form, sum over masked of CE / share, a token."""
    total = 0.0
    for window in windows:
        share = ((torch.arange(DRAWS) + torch.rand(DRAWS, generator=rng)) / DRAWS * (1 - EPSILON) + EPSILON)[:, None]
        hidden = torch.rand(DRAWS, len(window), generator=rng) < share
        rows = window.expand(DRAWS, -1)
        losses = F.cross_entropy(_covered(network, rows, hidden), rows[hidden], reduction="none")
        total += float((losses / share.expand(-1, len(window))[hidden]).sum()) / DRAWS / len(window)
    return total / len(windows)


def _loss(network: MaskPredictor, windows: Tensor, share: float, rng: torch.Generator) -> float:
    """Mean nats of a masked token where this share is masked."""
    hidden = torch.rand(windows.shape, generator=rng) < share
    return float(F.cross_entropy(_covered(network, windows, hidden), windows[hidden]))


def _infilled(network: MaskPredictor, windows: Tensor, rng: torch.Generator) -> float:
    """The share of single masked tokens, all others visible, whose likeliest token is right."""
    rows = windows.repeat_interleave(2, 0)[:ONES]
    place = torch.randint(8, windows.shape[1], (len(rows), 1), generator=rng)
    hidden = torch.zeros(rows.shape, dtype=torch.bool).scatter_(1, place, True)
    return float((_covered(network, rows, hidden).argmax(-1) == rows[hidden]).double().mean())


def _confidences(network: MaskPredictor, windows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """(confidence, is it right) of every masked place, masked shares spread evenly over (0, 1)."""
    share = (torch.arange(len(windows)) + 0.5)[:, None] / len(windows)
    hidden = torch.rand(windows.shape, generator=rng) < share
    sure, guess = _covered(network, windows, hidden).softmax(-1).max(-1)
    return sure.double(), guess == windows[hidden]


def _calibration(sure: Tensor, right: Tensor) -> list[list[float]]:
    """Of each bin of confidence: [its mean, the share that is right, how many places]; bins without any are left out."""
    found = []
    for number in range(BINS):
        inside = (sure > number / BINS) & (sure <= (number + 1) / BINS)
        if inside.any():
            row = [float(sure[inside].mean()), float(right[inside].double().mean()), int(inside.sum())]
            found.append([round(value, 4) for value in row])
    return found


def _parsing(network: MaskPredictor, vocabulary) -> float:
    """The share of completions, one place a forward in blocks of 32, that parse once their broken end is mended."""
    ids = [vocabulary.encode(prompt)[:SEEN] for prompt in heldout(COMPLETIONS)]
    done = [row + complete(network, row, WRITTEN) for row in ids]
    return sum(parses(vocabulary.decode(row)) for row in done) / len(done)


def complete(network: MaskPredictor, prompt: list[int], room: int, block: int = 32) -> list[int]:
    """`room` tokens behind the prompt, the surest masked place of the block first, one a forward; up to the end of text."""
    ids = torch.tensor([*prompt, *[network.mask] * room], device=network.device)
    for start in range(len(prompt), len(ids), block):
        inside = slice(start, start + block)
        while (hidden := ids[inside] == network.mask).any():
            sure, guess = network(ids[None], Ledger())[0, inside].softmax(-1).max(-1)
            place = int(torch.where(hidden, sure, -1.0).argmax())
            ids[start + place] = guess[place]
    text = ids[len(prompt) :].tolist()
    return text[: text.index(network.end)] if network.end in text else text


def parses(text: str) -> bool:
    """Is the text Python, without its unfinished last line, and with a body where that line would have begun one?"""
    lines = text.split("\n")[:-1]
    indent = len(lines[-1]) - len(lines[-1].lstrip()) if lines else 0
    for ending in ("", f"\n{' ' * (indent + 4)}pass", f"\n{' ' * indent}pass"):
        with suppress(SyntaxError, ValueError):
            ast.parse("\n".join(lines) + ending + "\n")
            return True
    return False
