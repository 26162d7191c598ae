"""The network of masked diffusion: a Llama without its causal mask that says, at every place, which token stands there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from labkit import parts
from labkit.ledger import Ledger

if TYPE_CHECKING:  # transformers takes seconds to import, and the list of methods needs no network
    from transformers import LlamaConfig, LlamaForCausalLM

NAME = "labkit_open"  # of the attention without a mask, as transformers knows it


def open_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Softmax attention of every place to every place: query [B, H, T, D], key and value [B, K, T, D], H a multiple of K.

    Plain matrix products: on these sizes three times as fast on a CPU as PyTorch's own kernel, forwards and backwards.
    """
    batch, heads, length, size = query.shape
    shared = key.shape[1]
    rows = (query * scale).reshape(batch * shared, heads // shared * length, size)
    weights = torch.bmm(rows, key.reshape(batch * shared, length, size).transpose(1, 2)).softmax(-1)
    return torch.bmm(weights, value.reshape(batch * shared, length, size)).reshape(batch, heads, length, size)


def _interface(module, query, key, value, attention_mask, scaling, dropout=0.0, **_):
    """The signature that transformers calls; it wants [B, T, H, D] back."""
    return open_attention(query, key, value, scaling).transpose(1, 2).contiguous(), None


def open_llama(config: LlamaConfig, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """A Llama of this shape whose places all see each other, with random weights."""
    from transformers import AttentionInterface, LlamaForCausalLM

    AttentionInterface.register(NAME, _interface)
    return LlamaForCausalLM._from_config(config, attn_implementation=NAME, dtype=dtype)


class MaskPredictor:
    """p(token | everything that is visible), at every place of a text with masks: a network without a state.

    `shift`: the network was a causal one, whose logits at a place speak of the next; the end of text then goes in front.
    `context`: places it was trained for. `end`: the token that ends a text, behind which nothing comes but itself.
    """

    def __init__(self, module: LlamaForCausalLM, mask: int, end: int, shift: bool = False, context: int = 256):
        self.module, self.mask, self.end, self.shift, self.context = module.eval(), mask, end, shift, context
        self.vocabulary = module.config.vocab_size
        self.quantiles = [place / 100 for place in range(101)]  # of its confidences on held-out text, where they were measured
        self.device = module.device

    def __call__(self, ids: Tensor, ledger: Ledger) -> Tensor:
        """Logits [B, L, V] at every place of ids [B, L], float32 (or float64); the mask itself is never predicted.

        A batch is one forward of B x L tokens. Raises `PromptError` when the text is longer than the network was trained for.
        """
        rows, length = ids.shape
        with ledger.forward(self, rows * length, self.module.config.num_hidden_layers, length):
            if self.shift:
                ids = torch.cat([ids.new_full((rows, 1), self.end), ids[:, :-1]], 1)
            logits = self.module(ids, use_cache=False).logits
            logits = logits if logits.dtype == torch.float64 else logits.float()
            logits[..., self.mask] = float("-inf")
        return logits

    def flops(self, length: int) -> int:
        """Multiplications and additions of one row of `length` places: 2 for every weight of a matrix, and the attention's."""
        config = self.module.config
        matrices = sum(weight.numel() for weight in self.module.model.layers.parameters() if weight.ndim == 2)
        matrices += self.vocabulary * config.hidden_size
        width = config.num_attention_heads * config.head_dim
        return 2 * length * matrices + 4 * config.num_hidden_layers * length * length * width


def assembled(about: dict, tensors: dict[str, Tensor]) -> MaskPredictor:
    """The network with these weights, in float32 on their device; `about` is what its part's figures say of it.

    "shape" (a LlamaConfig's fields), "mask", "end", "shift", "context", and where they were measured the "quantiles".
    """
    from transformers import LlamaConfig

    module = open_llama(LlamaConfig(**about["shape"])).to(tensors["model.embed_tokens.weight"].device)
    module.load_state_dict(tensors, strict=False)
    module.tie_weights()
    network = MaskPredictor(module, about["mask"], about["end"], about["shift"], about["context"])
    network.quantiles = about.get("quantiles", network.quantiles)
    return network


def shipped(runner) -> MaskPredictor:
    """`mdm-py`, which reads and writes the tokens of the shipped target. Raises `ModelError` for any other tokenizer's model."""
    return assembled(parts.figures("mdm-py"), parts.load("mdm-py", runner))
