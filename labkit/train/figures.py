"""What a trained pair measures on held-out text: losses, agreement of draft and target, and needles by distance.

All of it runs in float32 on the whole next-token distribution; nothing is sampled.
"""

from collections.abc import Sequence
from math import log
from typing import TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from labkit.train.needles import Needle
from labkit.train.plan import CONTEXT

LOSS_WINDOWS = {1024: 64, 2048: 24}  # window length in tokens: how many, spread evenly over the held-out text
ALPHA_WINDOW, ALPHA_WINDOWS = 512, 48
TEMPERATURES = (1.0, 0.7)
DISTANCES = (100, 400, 900)  # tokens between assignment and question: the upper ends of the bins but the last


class Loss(TypedDict):
    """A model's mean surprise on held-out text."""

    nats_per_token: float
    bits_per_byte: float
    windows: int


class NeedleBin(TypedDict):
    """Needles within one bin of distances: the share whose whole value is the model's first choice, and how many."""

    accuracy: float | None
    cases: int


def spread_windows(tokens: np.ndarray, length: int, count: int) -> Tensor:  # int64 [count, length + 1]
    """`count` windows that start evenly spread over `tokens`; fewer when the text holds fewer without overlap.

    Raises ValueError when it doesn't hold one.
    """
    fitting = (len(tokens) - 1) // length
    if fitting < 1:
        raise ValueError(f"{len(tokens)} held-out tokens can't fill a window of {length}: give more text")
    starts = np.linspace(0, len(tokens) - length - 1, min(count, fitting)).astype(int)
    return torch.from_numpy(np.stack([tokens[start : start + length + 1].astype(np.int64) for start in starts]))


def token_bytes(tokenizer: Tokenizer) -> Tensor:  # int64 [V]
    """How many bytes of text each token stands for; none for the reserved ones."""
    special = set(tokenizer.get_added_tokens_decoder())
    # In a byte-level vocabulary every character of an entry stands for one byte.
    sizes = [0 if i in special else len(tokenizer.id_to_token(i)) for i in range(tokenizer.get_vocab_size())]
    return torch.tensor(sizes)


@torch.inference_mode()
def held_out_loss(model: nn.Module, windows: Tensor, sizes: Tensor) -> Loss:
    """Mean loss over `windows` [count, length + 1]; `sizes` [V] are the tokens' bytes (see `token_bytes`)."""
    nats, size = 0.0, 0
    for window in windows:
        logits = model(window[None, :-1]).logits[0].float()
        nats += F.cross_entropy(logits, window[1:], reduction="sum").item()
        size += int(sizes[window[1:]].sum())
    count = windows.shape[0] * (windows.shape[1] - 1)
    return {"nats_per_token": nats / count, "bits_per_byte": nats / log(2) / size, "windows": len(windows)}


@torch.inference_mode()
def agreement(target: nn.Module, draft: nn.Module, windows: Tensor) -> dict[str, float]:
    """How well the draft speaks for the target, averaged over every position of `windows` [count, length + 1].

    "alpha_<temperature>": the sum over the vocabulary of min(p, q), which is the chance that a token drawn from the
    draft is accepted; "argmax": the share of positions where both have the same first choice.
    """
    sums: dict[str, float] = {f"alpha_{temperature}": 0.0 for temperature in TEMPERATURES} | {"argmax": 0.0}
    for window in windows:
        inputs = window[None, :-1]
        p, q = target(inputs).logits[0].float(), draft(inputs).logits[0].float()  # [length, V]
        for temperature in TEMPERATURES:
            shared = torch.minimum((p / temperature).softmax(-1), (q / temperature).softmax(-1))
            sums[f"alpha_{temperature}"] += shared.sum(-1).mean().item()
        sums["argmax"] += (p.argmax(-1) == q.argmax(-1)).float().mean().item()
    return {name: total / len(windows) for name, total in sums.items()}


@torch.inference_mode()
def needle_accuracy(model: nn.Module, tokenizer: Tokenizer, needles: Sequence[Needle]) -> dict[str, NeedleBin]:
    """How often the model gives a needle's whole value back, fed the right text so far, by distance in tokens.

    A value counts when each of its tokens is the model's first choice. Needles over 2,048 tokens are left out.
    """
    hits: dict[str, list[bool]] = {_bin(edge): [] for edge in (0, *DISTANCES)}
    for needle in needles:
        encoding = tokenizer.encode(needle.text, add_special_tokens=False)
        if len(encoding.ids) > CONTEXT:
            continue
        ids = torch.tensor(encoding.ids)
        choices = model(ids[None]).logits[0].argmax(-1)  # [tokens]: the choice for the token after each
        starts = np.array([start for start, _ in encoding.offsets])
        ends = np.array([end for _, end in encoding.offsets])
        for case in needle.cases:
            places = np.flatnonzero((ends > case.start) & (starts < case.end))
            right = bool((choices[places - 1] == ids[places]).all())
            distance = int(((starts >= case.assigned) & (starts < case.asked)).sum())
            hits[_bin(distance)].append(right)
    return {name: {"accuracy": float(np.mean(of)) if of else None, "cases": len(of)} for name, of in hits.items()}


def _bin(distance: int) -> str:
    for low, high in zip((0, *DISTANCES), DISTANCES, strict=False):
        if distance < high:
            return f"{low}-{high}"
    return f"{DISTANCES[-1]}+"
