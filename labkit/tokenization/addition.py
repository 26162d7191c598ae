"""Sums for two small models that differ in one thing: which way their numbers are cut into tokens (P087).

Their vocabulary is every number of one to three digits, leading zeros and all (1,110), and a few signs. A sum is written
`a+b=s` and an end; the chunks of a, b and s are counted from the left ("l2r") or from the right ("r2l").
"""

from __future__ import annotations

from functools import cache

import torch

from labkit import parts
from labkit.lm import Session
from labkit.models import make_runner
from labkit.tokenization.numbers import DIRECTIONS, Sum, chunks

SIZE = 3  # digits of a chunk
SIGNS = ("+", "=", "<end>", "<pad>")
PIECES = [str(n).zfill(digits) for digits in range(1, SIZE + 1) for n in range(10**digits)] + list(SIGNS)
IDS = {piece: token for token, piece in enumerate(PIECES)}
PLUS, EQUALS, END, PAD = (IDS[sign] for sign in SIGNS)
BOTH, REPEATED = "both", "l2r, repeated"  # the model that reads both directions; l2r questions that it repeats in r2l first
MARK, MARK_PIECE = len(PIECES), "<r2l>"  # its one more token: go on from the right
DIGITS = (4, 9)  # of an addend: what the models are trained for in the end
LONGEST = 13  # tokens of an answer: ten digits are four chunks, and the end; the question repeated is eight more


def encode(digits: str, direction: str) -> list[int]:
    """The tokens of a number, its digits cut in one direction."""
    return [IDS[chunk] for chunk in chunks(digits, direction, SIZE)]


def question(problem: Sum, direction: str) -> list[int]:
    """The tokens of `a+b=`."""
    return [*encode(str(problem.a), direction), PLUS, *encode(str(problem.b), direction), EQUALS]


def solution(problem: Sum, direction: str) -> list[int]:
    """The tokens of the right answer, and the end."""
    return [*encode(str(problem.a + problem.b), direction), END]


def sides(problem: Sum, way: str) -> tuple[list[int], list[int]]:
    """What is asked and what is due, in tokens, for a way to cut: "l2r", "r2l", or REPEATED."""
    if way == REPEATED:
        return [*question(problem, "l2r"), MARK], [*question(problem, "r2l"), *solution(problem, "r2l")]
    return question(problem, way), solution(problem, way)


def ways(name: str) -> tuple[str, ...]:
    """The ways to cut that the model of that name ("l2r", "r2l", BOTH) has learned."""
    return (*DIRECTIONS, REPEATED) if name == BOTH else (name,)


def config(vocabulary: int):
    """The shape of the models: Llama style, 3 layers of width 128, tied embeddings."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocabulary, hidden_size=128, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=None, eos_token_id=END,
        pad_token_id=PAD,
    )  # fmt: skip


@cache
def adder(name: str, device: str = "cpu"):
    """The runner of the shipped model "l2r", "r2l" or BOTH. Raises `ModelError` when it was not trained yet."""
    return make_runner(assembled(parts.load_alone(f"numbers-{name}", torch.device(device), trainer="numbers")))


def assembled(tensors: dict[str, torch.Tensor]):
    """The transformers model with these weights, in float32."""
    from transformers import LlamaForCausalLM

    vocabulary, device = len(tensors["model.embed_tokens.weight"]), tensors["model.embed_tokens.weight"].device
    model = LlamaForCausalLM._from_config(config(vocabulary), dtype=torch.float32).to(device)
    model.load_state_dict(tensors, strict=False)
    model.tie_weights()
    return model.eval()


def answer(runner, problem: Sum, way: str) -> int | None:
    """What the model makes of a sum, greedily; None when it writes no number, or comes to no end in `LONGEST` tokens."""
    session, said = Session(runner, sides(problem, way)[0]), []
    while END not in said and len(said) < LONGEST:
        said.append(int(session.logits.argmax()))
        session.push(said[-1])
    return value(said)


def value(said: list[int]) -> int | None:
    """The number behind the last "=", if any, and before the end; None where there is none."""
    if END not in said:
        return None
    said = said[: said.index(END)]
    if EQUALS in said:
        said = said[len(said) - said[::-1].index(EQUALS) :]
    digits = "".join(PIECES[token] if token < len(PIECES) else MARK_PIECE for token in said)
    return int(digits) if digits.isdigit() else None
