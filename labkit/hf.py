"""Any Hugging Face causal language model behind the same verbs as the lean Llama forward: slower, general."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward


class HuggingFaceCache:
    """transformers' dynamic cache, with the rows of a tree kept or dropped. The one place that knows its inside."""

    def __init__(self):
        self.inner, self.length, self.rows = DynamicCache(), 0, 1

    def join(self, parts: list[Tensor], pads: list[int], spare: int) -> HuggingFaceCache:
        """Make this cache one of len(parts) rows; row i is `pads[i]` empty columns and behind them `parts[i]`, see `part`."""
        self.rows, self.length = len(parts), pads[0] + parts[0].shape[3]
        padded = torch.stack([functional.pad(part, (0, 0, pad, 0)) for part, pad in zip(parts, pads)], 2)
        for number, (keys, values) in enumerate(padded):
            self.inner.update(keys, values, number)
        return self

    def part(self, row: int, start: int, stop: int) -> Tensor:
        """Keys and values of the columns `start` to `stop` of one row, [layers, 2, kv_heads, stop - start, head_size]."""
        cut = slice(start, stop)
        return torch.stack([torch.stack((layer.keys[row, :, cut], layer.values[row, :, cut])) for layer in self._layers()])

    @property
    def bytes(self) -> int:
        return sum(t.nelement() * t.element_size() for layer in self._layers() for t in (layer.keys, layer.values))

    def _layers(self):
        return [layer for layer in self.inner.layers if getattr(layer, "keys", None) is not None]

    def keep(self, length: int, rows: list[int]) -> None:
        """Keep the first `length` tokens and behind them the tokens at `rows`, in that order; forget the rest."""
        self.length = length + len(rows)
        contiguous = rows == list(range(length, self.length))
        index = None if contiguous else [*range(length), *rows]
        for layer in self._layers():
            cut = slice(self.length) if contiguous else index
            layer.keys, layer.values = layer.keys[:, :, cut], layer.values[:, :, cut]

    def fork(self) -> HuggingFaceCache:
        twin = HuggingFaceCache()
        twin.length, twin.rows = self.length, self.rows
        for number, layer in enumerate(self._layers()):  # its tensors are replaced, never written: sharing them is safe
            twin.inner.update(layer.keys, layer.values, number)
        return twin


class _Handover(DynamicCache):
    """Gives attention the new keys and values alone; a policy stores them."""

    def __init__(self, policy):
        super().__init__()
        self.policy = policy

    def update(self, keys, values, layer, *_, **__):
        return keys, values

    def get_seq_length(self, layer: int = 0) -> int:
        return self.policy.fed


_working: list[tuple[object, Tensor]] = []  # the policy and the positions of the forward under way, if it is a policy's


def _attention(module, query, keys, values, mask, scaling=None, dropout=0.0, **more):
    """The attention function that models of transformers call while a policy is at work; otherwise plain sdpa."""
    if not _working:
        return sdpa_attention_forward(module, query, keys, values, mask, dropout=dropout, scaling=scaling, **more)
    policy, positions = _working[-1]
    query, keys, values = (part[0].transpose(0, 1) for part in (query, keys, values))
    query = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    return policy.attend(module.layer_idx, query, keys, values, positions)[None], None


AttentionInterface.register("labkit", _attention)


class HuggingFaceRunner:
    """Runs any causal LM of transformers with an additive float mask (exact with sdpa and eager alike)."""

    def __init__(self, model):
        self.model = model.eval()
        config = model.config.get_text_config()
        weight = model.get_input_embeddings().weight
        self.device, self.dtype, self.vocabulary = weight.device, weight.dtype, config.vocab_size
        self.parameters, self.depth = model.num_parameters(), config.num_hidden_layers
        self.context = getattr(config, "max_position_embeddings", None) or 2048
        if window := getattr(config, "sliding_window", None):  # our mask lets every token see all before it: right up to here
            self.context = min(self.context, window)

    def new_cache(self) -> HuggingFaceCache:
        return HuggingFaceCache()

    def policy_cache(self, policy):
        """A cache that works by a policy of `labkit.attention`.

        The policy sees keys as the model rotated them; it is told of no rotation of its own, so policies that turn keys refuse.
        """
        from labkit.attention.ground import Spec
        from labkit.attention.policy_cache import PolicyCache

        config = self.model.config.get_text_config()
        heads = config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        spec = Spec(self.depth, heads, getattr(config, "num_key_value_heads", None) or heads, size, None, self.dtype, self.device)
        cache = PolicyCache(policy, spec)
        cache.inner = _Handover(policy)
        return cache

    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings [n, d] of `ids` [n]."""
        return self.model.get_input_embeddings()(ids)

    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor | None, cache: HuggingFaceCache, first: int, hidden: bool):
        """Feed `ids` [n] at `positions` [n] behind the cache; returns (logits [n - first, V], hidden [L+1, n, d] or None).

        In place of ids there may be input embeddings [n, d], such as a mix of `embed`ded tokens.
        With a cache of several rows as `LlamaRunner.forward` does, for `first` = 0.
        """
        if policy := getattr(cache, "policy", None):
            return self._by_policy(policy, cache, ids, positions, first, hidden)
        past, rows = cache.length, cache.rows
        new = ids.shape[0] // rows
        whole = torch.zeros(rows, 1, new, past + new, dtype=self.dtype, device=self.device)
        floor = torch.finfo(self.dtype).min  # finite: a fully masked row must not become NaN
        if mask is None:
            whole[..., past:] = torch.full((new, new), floor, dtype=self.dtype, device=self.device).triu_(1)
        else:
            whole[..., past + new - mask.shape[-1] :] = mask.clamp(min=floor)
        return self._answer(ids, positions, whole, cache, first, hidden)

    def _answer(self, ids: Tensor, positions: Tensor, mask: Tensor, cache, first: int, hidden: bool):
        """What the model says under a mask that covers the cache too; one row of tokens or several, as in `forward`."""
        past, rows = cache.length, cache.rows
        new = ids.shape[0] // rows
        answer = self.model(
            **{"inputs_embeds" if ids.is_floating_point() else "input_ids": ids.unflatten(0, (rows, new))},
            attention_mask=mask,
            position_ids=positions.view(rows, new),
            past_key_values=cache.inner,
            use_cache=True,
            output_hidden_states=hidden,
            logits_to_keep=new - first,
        )
        cache.length = past + new
        trail = torch.stack(answer.hidden_states).flatten(1, 2) if hidden else None
        return answer.logits.flatten(0, 1), trail

    def _by_policy(self, policy, cache, ids: Tensor, positions: Tensor, first: int, hidden: bool):
        """The same forward, with the policy's attention in the place of the model's."""
        before = self.model.config._attn_implementation
        self.model.set_attn_implementation("labkit")
        _working.append((policy, positions))
        try:
            mask = torch.zeros(1, 1, 1, 1, dtype=self.dtype, device=self.device)  # the policy masks by position
            return self._answer(ids, positions, mask, cache, first, hidden)
        finally:
            _working.pop()
            self.model.set_attn_implementation(before)
