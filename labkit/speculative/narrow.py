"""A narrow copy of a draft: the directions its states use most are kept, the others are cut away (P008's small student)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from labkit.errors import ModelError
from labkit.llama import fits


@torch.inference_mode(False)
@torch.no_grad()
def narrowed(model, width: int, texts: list[list[int]]):
    """A transformers model like `model` whose states have `width` dimensions instead of d; it still has to be trained.

    The states of `texts` (token ids) are scaled to unit size, as the norms do, and their `width` principal directions kept:
    what reads the states or writes to them is projected on those. Layers, heads and the MLP's width stay. Raises `ModelError`
    when the model is not of the Llama family, or not that wide.
    """
    wide = model.config.hidden_size
    if not fits(model.config) or not model.config.tie_word_embeddings:
        raise ModelError(
            "Only a draft of the Llama family with tied embeddings can be made narrow: choose such a draft."
        )
    if width > wide:
        raise ModelError(f"The draft's states have {wide} dimensions, {width} are asked for: choose a smaller width.")
    basis, kept = principal(model, width, texts)
    scale = (kept * wide / width) ** 0.5  # a norm divides by the root mean square of what is left
    config = copy.deepcopy(model.config)
    config.head_dim, config.hidden_size = getattr(config, "head_dim", None) or wide // config.num_attention_heads, width
    small = type(model)(config).to(model.device, model.dtype).eval()
    small.model.embed_tokens.weight.copy_(model.model.embed_tokens.weight @ basis)
    for mine, its in zip(small.model.layers, model.model.layers):
        for norm, part, readers in (
            ("input_layernorm", "self_attn", ("q_proj", "k_proj", "v_proj")),
            ("post_attention_layernorm", "mlp", ("gate_proj", "up_proj")),
        ):
            for name in readers:
                reader = getattr(getattr(its, part), name).weight * getattr(its, norm).weight
                getattr(getattr(mine, part), name).weight.copy_(reader @ basis)
            getattr(mine, norm).weight.fill_(scale)
        mine.self_attn.o_proj.weight.copy_(basis.T @ its.self_attn.o_proj.weight)
        mine.mlp.down_proj.weight.copy_(basis.T @ its.mlp.down_proj.weight)
    small.model.norm.weight.copy_(scale * (basis**2 * model.model.norm.weight[:, None]).sum(0))
    return small


def principal(model, width: int, texts: list[list[int]]) -> tuple[Tensor, float]:
    """The directions [d, width] that carry most of the scaled states of `texts`, and the share of their squares they hold."""
    rows = []
    for text in texts:
        trail = model(
            torch.tensor([text], device=model.device), output_hidden_states=True, use_cache=False
        ).hidden_states
        rows += [states[0, 1:] for states in trail[:-1]]  # the first token's states are of another kind
    states = torch.cat(rows)
    states = states / states.pow(2).mean(-1, keepdim=True).sqrt()
    shares, directions = torch.linalg.eigh(states.T @ states)
    return directions[:, -width:], (shares[-width:].sum() / shares.sum()).item()
