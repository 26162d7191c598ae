"""AdaSPEC's two phases (P008), step by step: a reference that learns every token, then drafts that each keep a share of them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from labkit.speculative.distil import chosen_loss, divergence

WARM = 20  # steps in which the rate rises
CLIP = 1.0  # gradient norm


class Pupil:
    """A draft in training: AdamW, its rate rising for 20 steps and then falling to zero at `steps`."""

    def __init__(self, model, rate: float, steps: int):
        with torch.inference_mode(False):
            self.model = copy.deepcopy(model).requires_grad_(True)
            self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
        self.rate, self.steps, self.done = rate, steps, 0

    def log_q(self, ids: Tensor) -> Tensor:
        """Its log-probs [B * S, V] at every place of `ids` [B, S]."""
        return self.model(ids, use_cache=False).logits.flatten(0, 1).log_softmax(-1)

    def step(self, loss: Tensor) -> None:
        rate = self.rate * min(1, (self.done + 1) / WARM) * (1 - self.done / self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.done += 1


class Contest:
    """Drafts of one shape, one start and one text that differ in the share of the tokens they learn from.

    `steps` of plain distillation make the reference. Then every share's draft begins again from the start and learns for
    `steps` from the tokens where it lags most behind the reference; share 1 is plain distillation. `longer` is the fair
    rival: the reference, which goes on learning every token, so that it has seen as many steps as both phases together.
    """

    def __init__(self, start, shares: list[float], steps: int, rate: float, kind: str):
        self.steps, self.rate, self.kind, self.done = steps, rate, kind, 0
        self.reference = Pupil(start, rate, steps)
        self.drafts = {share: Pupil(start, rate, steps) for share in shares}
        self.longer: Pupil | None = None

    @property
    def pupils(self) -> dict[str, Pupil]:
        """Who is learning now, by name."""
        if self.longer is None:
            return {"reference": self.reference}
        return {f"share {share:g}": pupil for share, pupil in self.drafts.items()} | {"longer": self.longer}

    @property
    def over(self) -> bool:
        return self.done == 2 * self.steps

    def begin_second(self) -> None:
        """The reference is ready: from now on it is the yardstick, and a copy of it goes on as `longer`."""
        self.longer = Pupil(self.reference.model, self.rate, self.steps)

    def step(self, ids: Tensor, log_p: Tensor) -> None:
        """One gradient step of everybody whose turn it is, on `ids` [B, S] with the target's log-probs [B * S, V] there."""
        if self.done == self.steps:
            self.begin_second()
        with torch.inference_mode(False), torch.enable_grad():
            ids, log_p = ids.clone(), log_p.clone()  # what inference made cannot be learned from
            if self.longer is None:
                self.reference.step(divergence(log_p, self.reference.log_q(ids), self.kind).mean())
            else:
                with torch.no_grad():
                    reference = divergence(log_p, self.reference.log_q(ids), self.kind)
                for share, pupil in self.drafts.items():
                    pupil.step(chosen_loss(divergence(log_p, pupil.log_q(ids), self.kind), reference, share)[0])
                self.longer.step(divergence(log_p, self.longer.log_q(ids), self.kind).mean())
        self.done += 1


@torch.no_grad()
def alpha(pupil: Pupil, ids: Tensor, p: Tensor) -> float:
    """The mean over the places of `ids` [B, S] of the sum of min(p, q), `p` [B * S, V] being the target's laws."""
    return torch.minimum(p, pupil.log_q(ids).exp()).sum(-1).mean().item()
