"""PIE, positional integrity encoding (P032): a cache is mended after an edit, not computed again.

Functions on a `Session` whose model the lab's own Llama loop runs; its cache holds keys that are rotated by their positions.
"""

from __future__ import annotations

from typing import NamedTuple, Sequence

import torch
from torch import Tensor

from labkit.attention.ground import turned
from labkit.errors import LabError, ModelError, PromptError
from labkit.llama import LlamaRunner
from labkit.lm import Session


class Change(NamedTuple):
    """Replace `removed` tokens from `place` on by the tokens `new`: an insertion removes none, a deletion brings none."""

    place: int
    removed: int
    new: tuple[int, ...] = ()

    @property
    def delta(self) -> int:
        """By how many positions the text behind it moves."""
        return len(self.new) - self.removed

    @property
    def stop(self) -> int:
        """The first token that stands behind what is removed."""
        return self.place + self.removed


def rotations(runner) -> Tensor:
    """The model's rotary turns [context, 1, size / 2]. Raises `ModelError` when its keys are not ours to rotate."""
    if not isinstance(runner, LlamaRunner):
        raise ModelError(
            "Moving keys needs a model with rotary positions run by the lab's own loop: choose a Llama, Mistral or Qwen2 model."
        )
    return runner.turns


def moved(keys: Tensor, turns: Tensor, start: int, delta: int) -> Tensor:
    """Keys [..., n, size] of the positions `start`, `start` + 1, ... as they are `delta` positions further on.

    R(j + delta) R(j)^-1 is R(delta) for every j: one rotation for the whole suffix. It is taken from the model's own table,
    row by row, since the float32 angles of that table are off by up to 1e-4 at position 1,000, and R(delta) alone would be
    off by as much from what a full recompute writes. With delta = 0 the keys are returned as they are. Every move rounds to the
    keys' dtype once more: in bfloat16 a long series of small edits adds up.
    """
    if delta == 0:
        return keys
    places = slice(start, start + keys.shape[-2])
    there = slice(start + delta, start + delta + keys.shape[-2])
    return turned(keys, (turns[there] / turns[places])[:, 0])


def carried(part: Tensor, turns: Tensor, start: int, delta: int) -> Tensor:
    """Keys and values [layers, 2, kv_heads, n, size] that stood from `start` on, moved by `delta`: values know no position."""
    keys, values = part.unbind(1)
    return torch.stack([moved(keys, turns, start, delta), values], 1)


@torch.inference_mode()
def edit(session: Session, changes: Sequence[Change], rotate: bool = True, refresh: int = 0) -> None:
    """Edit the text of `session` and mend its cache (P032); `session.logits` then re-runs the last token only.

    `changes` are in the old text's places, ascending and apart. What stands before the first is kept bit for bit. New tokens
    are encoded against what stands before them only. Each segment behind a change is moved by the sum of the deltas before it;
    its contents stay stale, since they never saw the new text. That is the approximation. `refresh`: that many of the last
    tokens behind the first change are encoded again, not the last alone (the lab's own addition). Without `rotate` the old
    keys keep their old rotation: positions are then double or missing ("temporal confusion"), while new and re-run tokens get
    the positions they stand at (inferred).

    The first token of a text stays: a session is never empty. When nothing stands behind the last change, its new tokens were
    read just now and nothing is re-run; if it has none, the last token before it is. Raises `ModelError` for a model whose keys
    are not rotated here, `LabError` for changes out of order, `PromptError` when the new text does not fit.
    """
    turns, ids = rotations(session.runner), list(session.ids)
    ends = [*(change.place for change in changes[1:]), len(ids)]
    if not changes or changes[0].place < 1 or any(change.stop > end for change, end in zip(changes, ends)):
        raise LabError(f"Changes must be in order, apart, and within tokens 1 to {len(ids)} of the text: move them.")
    length = len(ids) + sum(change.delta for change in changes)
    if length > session.runner.context:
        raise PromptError(f"The edited text has {length:,} tokens, the model holds {session.runner.context:,}: insert less.")
    _ = session.logits  # everything is in the cache
    base, shift = changes[0].place, 0
    held = session.cache.part(0, base, len(ids)).clone()  # [layers, 2, kv_heads, n, size]
    session.rewind(base)
    for change, end in zip(changes, ends):
        shift += change.delta
        session.push(*change.new)
        if change.new:
            _ = session.logits  # one forward of the new tokens
        if change.stop < end:
            part = held[:, :, :, change.stop - base : end - base]
            _join(session, carried(part, turns, change.stop, shift) if rotate else part, ids[change.stop : end])
    again = min(refresh, length - base - len(changes[0].new))
    if again > 0:
        last = session.ids[-again:]
        session.rewind(length - again)
        session.push(*last)


def _join(session: Session, part: Tensor, ids: list[int]) -> None:
    """Put keys and values [layers, 2, kv_heads, n, size] of `ids` behind the cache, and the tokens behind the text."""
    cache, n = session.cache, len(ids)
    cache.room(n)[:, :, :, cache.length : cache.length + n] = part
    cache.length += n
    session.push(*ids)
