"""Sums for two small models that differ in one thing: which way their numbers are cut into tokens (P087).

Their vocabulary is every number of one to three digits, leading zeros and all (1,110), and a few signs. A sum is written
`a+b=s` and an end; the chunks of a, b and s are counted from the left ("l2r") or from the right ("r2l").
"""

from __future__ import annotations

from functools import cache
from random import Random
from typing import NamedTuple

import torch

from labkit import parts
from labkit.lm import Session
from labkit.models import make_runner
from labkit.tokenization.numbers import chunks, grows

SIZE = 3  # digits of a chunk
SIGNS = ("+", "=", "<end>", "<pad>")
PIECES = [str(n).zfill(digits) for digits in range(1, SIZE + 1) for n in range(10**digits)] + list(SIGNS)
IDS = {piece: token for token, piece in enumerate(PIECES)}
PLUS, EQUALS, END, PAD = (IDS[sign] for sign in SIGNS)
DIGITS = (4, 9)  # of an addend: what the models are trained for in the end
LONGEST = 5  # tokens of an answer: ten digits are four chunks, and the end


class Sum(NamedTuple):
    """A problem: the two addends."""

    a: int
    b: int

    @property
    def grows(self) -> bool:
        """Is the sum one digit longer than both addends?"""
        return grows(self.a, self.b)


def number(digits: int, rng: Random) -> int:
    """A number with so many digits, all alike likely."""
    return rng.randrange(10 ** (digits - 1), 10**digits)


def problems(count: int, digits: int, rng: Random) -> list[Sum]:
    """Sums of two numbers of `digits` digits each; every second one grows by a digit."""
    found: list[Sum] = []
    while len(found) < count:
        drawn = Sum(number(digits, rng), number(digits, rng))
        if drawn.grows == bool(len(found) % 2):
            found.append(drawn)
    return found


def encode(digits: str, direction: str) -> list[int]:
    """The tokens of a number, its digits cut in one direction."""
    return [IDS[chunk] for chunk in chunks(digits, direction, SIZE)]


def question(problem: Sum, direction: str) -> list[int]:
    """The tokens of `a+b=`."""
    return [*encode(str(problem.a), direction), PLUS, *encode(str(problem.b), direction), EQUALS]


def solution(problem: Sum, direction: str) -> list[int]:
    """The tokens of the right answer, and the end."""
    return [*encode(str(problem.a + problem.b), direction), END]


def text(tokens: list[int]) -> str:
    """What the tokens spell, up to the end; signs other than + and = by their names."""
    tokens = tokens[: tokens.index(END)] if END in tokens else tokens
    return "".join(PIECES[token] for token in tokens)


def config():
    """The shape of the models: Llama style, 3 layers of width 128, tied embeddings."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(PIECES), hidden_size=128, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=None, eos_token_id=END,
        pad_token_id=PAD,
    )  # fmt: skip


@cache
def adder(direction: str, device: str = "cpu"):
    """The runner of the shipped model of that direction. Raises `ModelError` when it was not trained yet."""
    return make_runner(assembled(parts.load_alone(f"numbers-{direction}", torch.device(device))))


def assembled(tensors: dict[str, torch.Tensor]):
    """The transformers model with these weights, in float32."""
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM._from_config(config(), dtype=torch.float32)
    model = model.to_empty(device=next(iter(tensors.values())).device)
    model.load_state_dict(tensors, strict=False)
    model.tie_weights()
    return model.eval()


def answer(session: Session) -> list[int]:
    """What the model writes greedily behind the question in its context, up to its end or `LONGEST` tokens."""
    said: list[int] = []
    while len(said) < LONGEST and END not in said:
        said.append(int(session.logits.argmax()))
        session.push(said[-1])
    return said
