"""A cache policy where the lean forward, or transformers' models, look for their cache."""

from __future__ import annotations

from torch import Tensor

from labkit.attention.ground import Policy, Spec
from labkit.errors import LabError, ModelError


class PolicyCache:
    """A policy in the place of the lean forward's cache. It goes forward only: what a policy forgot cannot come back."""

    rows = 1

    def __init__(self, policy: Policy, spec: Spec):
        self.policy = policy
        policy.begin(spec)

    @property
    def length(self) -> int:
        """Tokens read so far."""
        return self.policy.fed

    @length.setter
    def length(self, total: int) -> None:
        if total != self.policy.fed:
            raise LabError("A cache that forgets cannot be set to another length: start the run again.")

    @property
    def bytes(self) -> int:
        """Bytes held."""
        return self.policy.bytes

    def room(self, new: int) -> None:
        """The slots grow by themselves."""

    def keep(self, length: int, rows: list[int]) -> None:
        """Only nothing or everything can be kept. Raises `LabError` otherwise."""
        if length + len(rows) != self.length:
            raise LabError("A cache that forgets cannot go back: start the run again.")

    def attend(self, layer, query, keys, values, positions, mask, past) -> Tensor:
        """One layer's attention; [n, heads * size]."""
        if mask is not None and mask.shape[-1] > 1 and mask.shape[-1] != query.shape[0]:
            raise ModelError("Cache policies read one chain of tokens, not a tree: choose a method without drafts.")
        return self.policy.attend(layer, query, keys, values, positions).reshape(query.shape[0], -1)
