import random
from math import log
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from labkit.train import figures
from labkit.train.needles import make_needle


class Bigram(nn.Module):
    """A model whose next-token distribution depends on the last token alone: `logits` [V, V]."""

    def __init__(self, logits: torch.Tensor):
        super().__init__()
        self.logits = logits

    def forward(self, ids):
        return SimpleNamespace(logits=self.logits[ids])


P = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
Q = torch.tensor([[0.25, 0.5, 0.25], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2]])
WINDOW = torch.tensor([[0, 1, 2, 0]])


def test_loss_by_hand():
    sizes = torch.tensor([0, 2, 3])  # bytes of the tokens
    found = figures.held_out_loss(Bigram(P.log()), WINDOW, sizes)
    nats = -(log(0.25) + log(0.1) + log(0.2))  # 0→1, 1→2, 2→0
    assert found["nats_per_token"] == pytest.approx(nats / 3)
    assert found["bits_per_byte"] == pytest.approx(nats / log(2) / 5)
    assert found["windows"] == 1


def test_agreement_by_hand():
    found = figures.agreement(Bigram(P.log()), Bigram(Q.log()), WINDOW)
    # After 0: min is .25+.25+.25; after 1: all; after 2: .2+.2+.2.
    assert found["alpha_1.0"] == pytest.approx((0.75 + 1.0 + 0.6) / 3)
    assert found["argmax"] == pytest.approx(1 / 3)

    def sharpened(row):
        return row ** (1 / 0.7) / (row ** (1 / 0.7)).sum()

    by_hand = sum(torch.minimum(sharpened(P[i]), sharpened(Q[i])).sum().item() for i in range(3)) / 3
    assert found["alpha_0.7"] == pytest.approx(by_hand)


def test_a_model_that_knows_the_text_finds_every_needle(tokenizer):
    needles = [make_needle(random.Random(i), ["x = y\n" * 2000]) for i in range(6)]
    texts = {tuple(tokenizer.encode(needle.text).ids) for needle in needles}

    class Knows(nn.Module):
        """Gives each next token of the texts it knows a logit of one; with `fails`, none of the digits."""

        def __init__(self, fails=False):
            super().__init__()
            self.fails = fails

        def forward(self, ids):
            assert tuple(ids[0].tolist()) in texts
            shifted = torch.nn.functional.one_hot(ids[0].roll(-1), 4096).float()
            return SimpleNamespace(logits=(-shifted if self.fails else shifted)[None])

    found = figures.needle_accuracy(Knows(), tokenizer, needles)
    assert sum(of["cases"] for of in found.values()) >= len(needles)
    assert all(of["accuracy"] in (None, 1.0) for of in found.values())
    missed = figures.needle_accuracy(Knows(fails=True), tokenizer, needles)
    assert all(of["accuracy"] in (None, 0.0) for of in missed.values())


def test_bins_and_bytes(tokenizer):
    assert [figures._bin(d) for d in (0, 99, 100, 899, 900, 5000)] == [
        "0-100", "0-100", "100-400", "400-900", "900+", "900+",
    ]  # fmt: skip
    sizes = figures.token_bytes(tokenizer)
    text = "def naïve(x):\n    return '→'\n"
    assert int(sizes[tokenizer.encode(text).ids].sum()) == len(text.encode())
    assert int(sizes[:64].sum()) == 0


def test_windows_are_spread_over_the_text():
    windows = figures.spread_windows(np.arange(1000, dtype=np.uint16), 100, 5)
    assert windows.shape == (5, 101)
    assert windows[:, 0].tolist() == [0, 224, 449, 674, 899]
    with pytest.raises(ValueError, match="50 held-out tokens"):
        figures.spread_windows(np.arange(50, dtype=np.uint16), 100, 5)
