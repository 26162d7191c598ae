"""The ground that all cache policies stand on: they choose what is read before attention, and what is forgotten after it.

One object a generation. The model's own attention loop calls `attend` in every layer; it goes through five steps, each of which a
policy may change: `append` the new keys and values, `select` what the queries will see, `read` it back, `observe` the
probabilities, `evict` what is to go. Positions are stored beside every key and never derived from a cache's length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Iterator, NamedTuple

import torch
from torch import Tensor

from labkit.attention.slots import Slots, gather
from labkit.kernels.indexed import attend_indexed
from labkit.kernels.sums import attend_summed
from labkit.knobs import knob
from labkit.law import draw
from labkit.methods import Method
from labkit.trace import Step


class Spec(NamedTuple):
    """The shape of the model: query and key-value heads, their size, and its rotary turns [context, 1, size / 2] or None."""

    layers: int
    heads: int
    kv_heads: int
    size: int
    turns: Tensor | None
    dtype: torch.dtype
    device: torch.device


class Selection(NamedTuple):
    """The slots that some queries will see: `index` [kv_heads, M], ascending; None stands for every slot."""

    index: Tensor


class Seen(NamedTuple):
    """What attention reads: keys and values [kv_heads, M, size] and their positions [kv_heads, M]."""

    keys: Tensor
    values: Tensor
    positions: Tensor


@dataclass
class Policy(Method):
    """A decoder whose attention sees what a cache policy leaves it.

    Scores are reduced over the g query heads of one key-value head (by a sum); query head h reads key-value head h // g.
    A policy writes no other text than the model would with that cache: the text differs from dense decoding where what was
    forgotten mattered, so `lossless` is False.
    """

    lossless: ClassVar[bool] = False
    charts: ClassVar[tuple[str, ...]] = ("cache_map", "cache_cost")
    whole: ClassVar[dict[str, Any]] = {}  # knobs with which it is dense attention
    changes: ClassVar[bool] = False  # True: what is read back is not what was stored (quantised, pruned, turned)
    indexed: ClassVar[bool] = False  # True: `read`, `weight`, `face` stay as they are, and no probabilities are looked at
    summed: ClassVar[bool] = False  # True: `face` stays as it is, and of a prompt's probabilities only sums are looked at
    chunk: ClassVar[int] = 256  # queries of a prompt that are served at once
    compare: bool = knob(True, help="run dense attention beside it")

    # -- what a policy may change --------------------------------------------------------------------------------------

    def prepare(self, session) -> None:
        """Before `session` carries it: learn what it needs of the model or of the text. Raises `ModelError` where it cannot."""

    def begin(self, spec: Spec) -> None:
        """Before the first token. Raises `ModelError` when the model is of a kind that the policy cannot serve."""
        self.spec = spec
        self.slots = [Slots() for _ in range(spec.layers)]
        self.met: list[Tensor | None] = [None] * spec.layers  # positions that the last queries met, [kv_heads, M]
        self.gave: list[Tensor | None] = [None] * spec.layers  # what the last query gave, [kv_heads, g, M], where it is known
        self.fed = 0  # tokens read so far
        self.taken = 0  # bytes of keys and values that the last forward read

    def append(self, layer: int, keys: Tensor, values: Tensor, positions: Tensor) -> None:
        """Store n new keys and values [kv_heads, n, size] at `positions` [n]."""
        self.slots[layer].append(positions, keys=keys, values=values)

    def select(self, layer: int, query: Tensor, positions: Tensor) -> Selection | None:
        """Which slots the queries [kv_heads, g, n, size] (scaled) at `positions` [n] will see; None = all."""
        return None

    def read(self, layer: int, selection: Selection | None) -> Seen:
        """The chosen slots as attention needs them: unpacked, dequantised, turned."""
        slots = self.slots[layer]
        if selection is None:
            return Seen(slots.keys, slots.values, slots.positions)
        return Seen(*(gather(held, selection.index) for held in (slots.keys, slots.values, slots.positions)))

    def face(self, query: Tensor, positions: Tensor, seen: Seen) -> Tensor:
        """The queries [kv_heads, g, n, size] as they meet the keys that were read: turned, where those were."""
        return query

    def weight(self, layer: int, seen: Seen) -> int:
        """Bytes that are read of the cache to give `seen`."""
        return sum(part.nelement() * part.element_size() for part in seen[:2])

    def observe(self, layer: int, query: Tensor, probs: Tensor | None, selection: Selection | None) -> None:
        """What the queries [kv_heads, g, n, size] gave the slots they saw: probs [kv_heads, g, n, M].

        Under a policy that is `summed` a prompt's are summed up, [kv_heads, 1, 1, M]; under one that is `indexed` there are
        none, None, for the slots that one query chose.
        """

    def evict(self, layer: int, prompt: bool) -> None:
        """Forget slots, by `self.slots[layer].keep(...)`; `prompt` says that a whole prompt was read just now."""

    def limit(self, layer: int) -> int | None:
        """The most slots a layer may hold behind a step; None = no limit, or not known before the prompt."""
        return None

    # -- the loop ------------------------------------------------------------------------------------------------------

    def attend(self, layer: int, query: Tensor, keys: Tensor, values: Tensor, positions: Tensor) -> Tensor:
        """One layer's attention: query [n, heads, size] (scaled), new keys and values [n, kv_heads, size]; the like of query."""
        spec, (n, heads, size) = self.spec, query.shape
        if layer == 0:
            self.taken = 0
        self.append(layer, keys.transpose(0, 1), values.transpose(0, 1), positions)
        grouped = query.transpose(0, 1).reshape(spec.kv_heads, heads // spec.kv_heads, n, size)
        out = torch.empty_like(grouped)
        for start in range(0, n, self.chunk):
            rows = slice(start, start + self.chunk)
            asking, places = grouped[:, :, rows], positions[rows]
            selection = self.select(layer, asking, places)
            in_place = self.indexed and n == 1 and selection is not None
            out[:, :, rows] = (self._in_place if in_place else self._read_back)(layer, asking, places, selection)
        self.evict(layer, n > 1)
        if layer == spec.layers - 1:
            self.fed += n
        return out.view(heads, n, size).transpose(0, 1)

    def _read_back(self, layer: int, query: Tensor, places: Tensor, selection: Selection | None) -> Tensor:
        """Attention of a chunk of queries [kv_heads, g, n, size] over what is read back."""
        seen = self.read(layer, selection)
        self.met[layer] = seen.positions
        self.taken += self.weight(layer, seen)
        hides = query.shape[2] > 1  # one query is the last, and sees everything
        if self.summed and hides:
            mixed, sums = attend_summed(query, seen.keys, seen.values, places, seen.positions)
            probs = sums[:, None, None]
        else:
            scores = self.face(query, places, seen) @ seen.keys[:, None].transpose(2, 3)  # [kv_heads, g, n, M]
            if hides:
                scores.masked_fill_((seen.positions[:, None, :] > places[None, :, None])[:, None], float("-inf"))
            probs = scores.softmax(-1)
            mixed = probs @ seen.values[:, None]
            self.gave[layer] = probs[:, :, -1]
        self.observe(layer, query, probs, selection)
        return mixed

    def _in_place(self, layer: int, query: Tensor, places: Tensor, selection: Selection) -> Tensor:
        """Attention of one query over the chosen slots, which need not be copied for it."""
        slots, index = self.slots[layer], selection.index
        self.met[layer] = gather(slots.positions, index)
        self.taken += 2 * index.numel() * self.spec.size * slots.keys.element_size()
        self.observe(layer, query, None, selection)
        return attend_indexed(query[:, :, 0], slots.keys, slots.values, index)[0][:, :, None]

    # -- what is told --------------------------------------------------------------------------------------------------

    def payload(self, layer: int) -> int:
        """Bytes of the keys and values that a layer holds."""
        return self.slots[layer].bytes("keys", "values")

    def metadata(self, layer: int) -> int:
        """Bytes of what a layer holds beside them: positions, scores, labels."""
        return self.slots[layer].bytes("positions", *self.slots[layer].extras)

    def held(self, layer: int) -> int:
        """Positions that a layer holds a head."""
        return self.slots[layer].length

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor that is really held; their sizes are what `payload` and `metadata` tell."""
        for slots in self.slots:
            yield from slots.tensors()

    @property
    def bytes(self) -> int:
        """Bytes held in all layers."""
        return sum(self.payload(layer) + self.metadata(layer) for layer in range(len(self.slots)))

    def kept(self) -> list[list[list[int]]]:
        """By layer and key-value head, the positions held, as [first, behind the last, first, ...] of the unbroken runs."""
        return [[runs(row) for row in slots.positions.tolist()] for slots in self.slots]

    def notes(self) -> dict[str, Any]:
        """The policy's own figures of this step, for its pictures."""
        return {}

    def witness(self) -> Witness:
        """What reads the same text densely beside this policy."""
        return Witness()

    def steps(self, session, rng) -> Iterator[Step]:
        self.prepare(session)
        session.carry(session.runner.policy_cache(self))
        witness = self.witness() if self.compare else None
        dense = session.aside() if witness else None
        if dense:
            dense.carry(session.runner.policy_cache(witness))
        while True:
            logits = session.logits  # [V]
            token = int(logits.argmax()) if session.law.greedy else draw(session.law(logits), rng)
            held = [self.held(layer) for layer in range(len(self.slots))]
            notes = {"fed": self.fed, "held": held, "kept": self.kept()}
            notes["bytes"] = {"payload": sum(map(self.payload, range(len(self.slots)))), "whole": self.bytes, "read": self.taken}
            notes["dense bytes"] = self.fed * dense_bytes(self.spec)
            if dense:
                notes |= against(dense.logits, logits)
                notes["lost"] = lost(witness, self)
                dense.push(token)
            notes |= self.notes()
            session.push(token)
            yield session.step(logits[None], [token], sources=["target"], notes=notes)


class Witness(Policy):
    """Dense attention: what a policy's losses are measured by."""


def lost(witness: Witness, policy: Policy) -> list[float]:
    """By layer, the share of the dense attention of the last query that fell on positions which the policy's did not meet.

    The positions are those met by the last query that both have read; a mean over heads.
    """
    gave = [given.mean(1).gather(1, met.long()).sum(-1).mean() for given, met in zip(witness.gave, policy.met)]
    return [max(0.0, 1 - float(share)) for share in gave]


def turned(states: Tensor, turns: Tensor, back: bool = False) -> Tensor:
    """Rotate `states` [..., size] by `turns` [..., size / 2] (of `Spec.turns`, at the wanted positions), or back by them."""
    wide = states if states.dtype == torch.float64 else states.float()
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)).contiguous())
    whole = torch.view_as_real(pairs * (turns.conj() if back else turns)).flatten(-2)
    return whole.to(states.dtype)


def dense_bytes(spec: Spec) -> int:
    """Bytes that a dense cache holds for each token."""
    return 2 * spec.layers * spec.kv_heads * spec.size * torch.empty((), dtype=spec.dtype).element_size()


def against(dense: Tensor, sparse: Tensor) -> dict[str, Any]:
    """KL(dense || sparse) in nats of two rows of logits [V], and whether both have the same favourite."""
    p, q = dense.double().log_softmax(-1), sparse.double().log_softmax(-1)
    return {"kl": float((p.exp() * (p - q)).sum().clamp(min=0)), "agrees": bool(dense.argmax() == sparse.argmax())}


def runs(positions: list[int]) -> list[int]:
    """Ascending positions as [first, behind the last, first, behind the last, ...] of their unbroken runs."""
    found: list[int] = []
    for position in positions:
        if found and found[-1] == position:
            found[-1] += 1
        else:
            found += [position, position + 1]
    return found
