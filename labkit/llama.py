"""A lean forward for the Llama family: the same numbers as transformers', with less between the products.

Q, K, V are one product, gate and up another, the norms' weights are folded into the products behind them, rotary positions
are one complex multiplication, the KV cache is one preallocated tensor, and a mask covers only the new tokens among
themselves. It computes one sequence whose tokens may form a tree, or several of equal length: the rows of a joined cache.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.kernels.tree import attend_tree

FAMILY = {"llama", "mistral", "qwen2"}
FIRST_CAPACITY = 256  # tokens; doubled when full


def fits(config) -> bool:
    """Whether this forward computes what `config`'s model computes."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}  # transformers 5, 4
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        config.model_type in FAMILY
        and config.hidden_act == "silu"
        and rope.get("rope_type", "default") in ("default", "linear", "llama3")
        and layers == {"full_attention"}
        and not (config.model_type == "mistral" and getattr(config, "sliding_window", None))
        and not getattr(config, "mlp_bias", False)
    )


@cache
def made_by_intel() -> bool:
    """Is this an Intel CPU? MKL keeps its best products for those."""
    try:
        words = Path("/proc/cpuinfo").read_text()
    except OSError:
        words = platform.processor()
    return "GenuineIntel" in words


def product(weight: Tensor):
    """`(x [n, in], bias [out] or None, add [n, out] or None) -> x @ weight.T + bias + add`, for `weight` [out, in].

    For float32 the weight is packed once for oneDNN, except on Intel's CPUs. Few-token products, which drafted trees are made
    of, are then 1.7 to 2.5 times faster on an EPYC; on a Xeon MKL is 1.2 to 1.6 times faster (1 to 17 tokens, d = 256, one
    thread).
    """
    packs = torch.backends.mkldnn.is_available() and not made_by_intel()
    if weight.device.type == "cpu" and weight.dtype == torch.float32 and packs:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
        linear = torch.ops.mkldnn._linear_pointwise.default
        binary = torch.ops.mkldnn._linear_pointwise.binary

        def multiply(x, bias=None, add=None):
            return linear(x, packed, bias, "none", [], "") if add is None else binary(x, add, packed, bias, "add")
    else:
        turned = weight.t().contiguous()

        def multiply(x, bias=None, add=None):
            y = x @ turned if add is None else torch.addmm(add, x, turned)
            return y if bias is None else y + bias

    return multiply


def by_head(x: Tensor, rows: int) -> Tensor:
    """[rows * tokens, heads, size] -> [rows * heads, tokens, size]."""
    return x.transpose(0, 1) if rows == 1 else x.unflatten(0, (rows, -1)).transpose(1, 2).flatten(0, 1)


class LlamaCache:
    """Keys and values of all layers in one tensor [layers, 2, kv_heads, capacity, head_size]; forks share it until one writes."""

    def __init__(self, shape: tuple[int, int, int], limit: int, like: Tensor):
        layers, heads, size = shape
        self.limit, self.length, self.shared, self.rows = limit, 0, False, 1
        self.kv = like.new_empty(layers, 2, heads, min(FIRST_CAPACITY, limit), size)

    @torch.inference_mode()
    def join(self, parts: list[Tensor], pads: list[int], spare: int) -> LlamaCache:
        """Make this cache one of len(parts) rows; row i is `pads[i]` empty columns and behind them `parts[i]`, see `part`.

        All rows must come to one length; there is room for `spare` more tokens each.
        """
        layers, two, heads, length, size = parts[0].shape
        self.rows, self.length = len(parts), pads[0] + length
        kv = self.kv.new_empty(layers, two, self.rows, heads, self.length + spare, size)
        for row, (part, pad) in enumerate(zip(parts, pads)):
            kv[:, :, row, :, :pad] = 0  # never looked at, but 0 times what memory held before could be NaN
            kv[:, :, row, :, pad : self.length] = part
        self.kv = kv.flatten(2, 3)
        return self

    def part(self, row: int, start: int, stop: int) -> Tensor:
        """Keys and values of the columns `start` to `stop` of one row, [layers, 2, kv_heads, stop - start, head_size]; a view."""
        return self.kv.unflatten(2, (self.rows, -1))[:, :, row, :, start:stop]

    @property
    def bytes(self) -> int:
        """Bytes of the keys and values held (not of the room kept ready)."""
        layers, two, heads, _, size = self.kv.shape
        return layers * two * heads * self.length * size * self.kv.element_size()

    @torch.inference_mode()
    def room(self, new: int) -> Tensor:
        """The tensor, ours alone, with room for `new` more tokens."""
        capacity, need = self.kv.shape[3], self.length + new
        if need > capacity or self.shared:
            while capacity < need:
                capacity *= 2
            old = self.kv
            self.kv = old.new_empty(*old.shape[:3], min(capacity, max(self.limit, need)), old.shape[4])
            self.kv[:, :, :, : self.length] = old[:, :, :, : self.length]
            self.shared = False
        return self.kv

    def attend(
        self, layer: int, query: Tensor, keys: Tensor, values: Tensor, positions: Tensor, mask: Tensor | None, past: int
    ) -> Tensor:
        """Attention of one layer: queries [n, heads, size] (scaled) over what is held and the new keys and values
        [n, kv_heads, size], which are put behind the first `past` tokens; returns [n, heads * size].

        `mask` is that of `LlamaRunner.forward`; there must be `room`. Positions are in the rotated keys already.
        """
        (n, heads, size), rows, kv_heads = query.shape, self.rows, keys.shape[1]
        total = past + n // rows
        held_keys, held_values = self.kv[layer, 0], self.kv[layer, 1]
        held_keys[:, past:total] = by_head(keys, rows)
        held_values[:, past:total] = by_head(values, rows)
        query = by_head(query, rows).reshape(rows * kv_heads, -1, size)  # grouped by key head
        mixed = attend_tree(query, held_keys[:, :total], held_values[:, :total], mask)
        return mixed.view(rows, heads, n // rows, size).transpose(1, 2).reshape(n, -1)

    @torch.inference_mode()
    def keep(self, length: int, rows: list[int]) -> None:
        """Keep the first `length` tokens and behind them the tokens at `rows`, in that order; forget the rest."""
        if rows != list(range(length, length + len(rows))):
            kv = self.room(0)
            kv[:, :, :, length : length + len(rows)] = kv[:, :, :, rows]
        self.length = length + len(rows)

    def fork(self) -> LlamaCache:
        twin = object.__new__(LlamaCache)
        self.shared = True
        twin.__dict__.update(self.__dict__)
        return twin


class LlamaRunner:
    """Runs a transformers Llama-family model through the lean forward. Built from a loaded model; keeps none of its modules."""

    def __init__(self, model):
        config, body = model.config, model.model
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.size = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.context, self.vocabulary = config.max_position_embeddings, config.vocab_size
        self.eps, self.parameters = config.rms_norm_eps, model.num_parameters()
        self.embedding = body.embed_tokens.weight.detach()
        self.device, self.dtype = self.embedding.device, self.embedding.dtype
        # folded norms: rms_norm(x) * g @ W.T == rms_norm(x) @ (W * g).T
        self.head = product((model.lm_head.weight * body.norm.weight).detach())
        self.layers = [self._layer(layer) for layer in body.layers]
        self.depth = len(self.layers)
        angles = torch.arange(self.context, dtype=torch.float32)[:, None] * body.rotary_emb.inv_freq.cpu().float()
        turns = torch.complex(angles.cos(), angles.sin()) * body.rotary_emb.attention_scaling  # rounded as transformers does
        wide = torch.complex128 if self.dtype == torch.float64 else torch.complex64
        self.turns = turns.to(wide).to(self.device)[:, None]  # [context, 1, size/2]

    def _layer(self, layer) -> tuple:
        attention, mlp = layer.self_attn, layer.mlp
        before, after = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
        weights, biases = [], []
        for part, heads in ((attention.q_proj, self.heads), (attention.k_proj, self.kv_heads), (attention.v_proj, self.kv_heads)):
            weight = part.weight * before
            bias = part.bias if part.bias is not None else weight.new_zeros(weight.shape[0])
            if part is not attention.v_proj:  # rotary pairs (i, i + size/2) become neighbours: one complex number each
                weight = weight.view(heads, 2, self.size // 2, -1).transpose(1, 2).reshape(weight.shape)
                bias = bias.view(heads, 2, self.size // 2).transpose(1, 2).reshape(-1)
            if part is attention.q_proj:
                weight, bias = weight * self.size**-0.5, bias * self.size**-0.5
            weights.append(weight)
            biases.append(bias)
        bias, out_bias = torch.cat(biases).detach(), attention.o_proj.bias
        gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]) * after
        return (
            product(torch.cat(weights).detach()),
            bias if bias.any() else None,
            product(attention.o_proj.weight.detach()),
            None if out_bias is None else out_bias.detach(),
            product(gate_up.detach()),
            product(mlp.down_proj.weight.detach()),
        )

    def new_cache(self) -> LlamaCache:
        return LlamaCache((len(self.layers), self.kv_heads, self.size), self.context, self.embedding)

    def policy_cache(self, policy):
        """A cache that works by a policy of `labkit.attention`."""
        from labkit.attention.ground import Spec
        from labkit.attention.policy_cache import PolicyCache

        spec = Spec(self.depth, self.heads, self.kv_heads, self.size, self.turns, self.dtype, self.device)
        return PolicyCache(policy, spec)

    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings [n, d] of `ids` [n]."""
        return self.embedding[ids]

    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor | None, cache: LlamaCache, first: int, hidden: bool):
        """Feed `ids` [n] at `positions` [n] behind the cache; returns (logits [n - first, V], hidden [L+1, n, d] or None).

        In place of ids there may be input embeddings [n, d], such as a mix of `embed`ded tokens.
        `mask` [n, w], w >= n, is added to the scores over the last w tokens, the new ones included (0 or -inf); None = causal.
        With a cache of several rows, `ids` and `positions` hold as many tokens for each, row by row, and `mask` is
        [rows, 1, tokens a row, w].
        """
        states = ids if ids.is_floating_point() else self.embed(ids)
        trail = [states] if hidden else None
        states = self.through(range(self.depth), states, positions, mask, cache, cache.length, trail)
        return self.speak(states[first:]), torch.stack(trail) if hidden else None

    def speak(self, states: Tensor) -> Tensor:
        """Logits [..., V] that the final norm and the LM head read in `states` [..., d], of the last layer or of any other."""
        return self.head(F.rms_norm(states, states.shape[-1:], None, self.eps))

    def through(
        self,
        layers: range,
        states: Tensor,
        positions: Tensor,
        mask: Tensor | None,
        cache: LlamaCache,
        past: int,
        trail: list[Tensor] | None,
    ) -> Tensor:
        """Take `states` [n, d] through some of the layers; their keys and values go behind the first `past` tokens.

        What each layer hands on is appended to `trail`. `positions` and `mask` are those of `forward`. The cache then holds
        past + n tokens (past + n / rows, if it has several), as far as these layers are concerned.
        """
        n, rows = states.shape[0], cache.rows
        new = n // rows
        total = past + new
        cache.room(total - cache.length)
        rotated = self.heads + self.kv_heads
        turns = self.turns[positions]
        if mask is None and new > 1:
            mask = torch.full((new, new), float("-inf"), dtype=self.dtype, device=self.device).triu_(1)
        narrow = self.dtype in (torch.bfloat16, torch.float16)
        width = (states.shape[-1],)
        for number in layers:
            qkv, bias, out, out_bias, gate_up, down = self.layers[number]
            parts = qkv(F.rms_norm(states, width, None, self.eps), bias).view(n, -1, self.size)
            turning = parts[:, :rotated]
            if narrow:
                turning = turning.float()
            turned = torch.view_as_complex(turning.reshape(n, rotated, -1, 2)) * turns
            turned = torch.view_as_real(turned).view(n, rotated, self.size)
            if narrow:
                turned = turned.to(self.dtype)
            query, keys, values = turned[:, : self.heads], turned[:, self.heads :], parts[:, rotated:]
            mixed = cache.attend(number, query, keys, values, positions, mask, past)
            states = out(mixed, out_bias, states)
            gate, up = gate_up(F.rms_norm(states, width, None, self.eps)).chunk(2, -1)
            states = down(F.silu(gate) * up, None, states)
            if trail is not None:
                trail.append(states)
        cache.length = total
        return states
