"""Small causal models with random weights that vary what they write, and drafts that agree with them now and then."""

from __future__ import annotations

import copy
import random
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from labkit.hf import HuggingFaceRunner
from labkit.llama import LlamaRunner, fits
from labkit.models import Pair
from labkit.paths import DATA

# name: (config, model, what differs from the common shape)
STYLES = {
    "llama, grouped, tied": (LlamaConfig, LlamaForCausalLM, {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "llama, untied": (LlamaConfig, LlamaForCausalLM, {"num_key_value_heads": 4, "tie_word_embeddings": False}),
    "llama, biased": (LlamaConfig, LlamaForCausalLM, {"num_key_value_heads": 1, "attention_bias": True, "head_dim": 8}),
    "mistral": (MistralConfig, MistralForCausalLM, {"num_key_value_heads": 2, "sliding_window": None}),
    "qwen2, tied": (Qwen2Config, Qwen2ForCausalLM, {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "qwen2, untied": (Qwen2Config, Qwen2ForCausalLM, {"num_key_value_heads": 2, "tie_word_embeddings": False}),
    "gpt2": (GPT2Config, GPT2LMHeadModel, {}),
    "neox": (GPTNeoXConfig, GPTNeoXForCausalLM, {"tie_word_embeddings": False}),
}
LEAN = [style for style in STYLES if style not in ("gpt2", "neox")]


def tiny(style: str, seed: int = 0, vocabulary: int = 4096, context: int = 512, spread: float = 0.4, **more):
    """A float64 model of two layers, d = 48; biases and norms are random too, so that a forgotten one shows."""
    config, model, own = STYLES[style]
    shape = {"vocab_size": vocabulary, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    shape["initializer_range"] = spread
    if config is GPT2Config:
        shape |= {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": context}
    else:
        shape |= {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
        shape["max_position_embeddings"] = context
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = model(config(**{**shape, **own, **more})).double().eval()
        for weight in made.parameters():
            if weight.ndim == 1:
                weight.data += 0.2 * torch.randn_like(weight)
        row = made.get_input_embeddings().weight.data[1]  # the padding token's is zero, which a norm blows up
        row += spread * torch.randn_like(row)
    return made


def shaken(model, noise: float, seed: int = 1):
    """A copy of `model` whose weights are off by `noise` times their own spread: a draft that is often right."""
    twin = copy.deepcopy(model)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in twin.parameters():
            spread = weight.std() if weight.numel() > 1 else 1.0
            weight += noise * spread * torch.randn(weight.shape, generator=rng, dtype=weight.dtype)
    return twin


def some_tokens(count: int, seed: int = 0) -> list[int]:
    """`count` random tokens of 64."""
    rng = random.Random(seed)
    return [rng.randrange(64) for _ in range(count)]


def save(model, folder: Path) -> Path:
    """`model` in `folder` with the shipped tokenizer, as a person would bring it."""
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DATA / "models" / "target" / file, folder)
    return folder


def runner(model):
    """The runner that `labkit.models` would choose for `model`; `fresh()` gives its weights to be trained."""
    made = LlamaRunner(model) if fits(model.config) else HuggingFaceRunner(model)
    made.fresh = partial(copy.deepcopy, model)
    return made


@dataclass
class Letters:
    """A vocabulary of a few letters, one token each."""

    size: int

    def encode(self, text: str) -> list[int]:
        return [ord(letter) - ord("a") for letter in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(map(self.piece, ids))

    def piece(self, token: int) -> str:
        return chr(ord("a") + token)

    def pieces(self, tokens) -> dict[int, str]:
        return {token: self.piece(token) for token in tokens}

    def spelling(self, token: int) -> bytes:
        return self.piece(token).encode()


def letters_pair(style: str, vocabulary: int = 5, noise: float = 0.2, spread: float = 0.25, ends=(), **more) -> Pair:
    """A pair over `vocabulary` letters, in float64: laws small enough to enumerate."""
    model = tiny(style, 3, vocabulary, spread=spread, **more)
    draft = shaken(model, noise)
    return Pair(runner(model), runner(draft), Letters(vocabulary), "letters", "shaken", frozenset(ends))
