"""The baselines: no budget at all, a sliding window, sinks with a window, and random slots."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from labkit.attention.budget import Budgeted
from labkit.attention.ground import Policy
from labkit.knobs import knob


@dataclass
class Dense(Policy):
    """Everything is kept and read: plain attention, through the loop of the policies."""

    name, title = "dense", "Dense attention"
    leaf = "whole"


@dataclass
class Window(Budgeted):
    """A sliding window: only the newest tokens are kept."""

    name, title = "window", "Sliding window"
    leaf = "static"

    def order(self, layer, slots):
        return slots.positions.double()


@dataclass
class Sinks(Budgeted):
    """The first tokens and the newest ones: the first draw attention whatever they say (StreamingLLM, Xiao et al. 2024)."""

    name, title = "sinks", "Sinks and window"
    leaf = "static"
    sinks: int = knob(4, 0, 64, unit="tokens", help="kept from the beginning")

    def order(self, layer, slots):
        first = slots.positions < self.sinks
        return slots.positions.double().masked_fill(first, float("inf"))


@dataclass
class Random(Budgeted):
    """Slots drawn by lot, and the newest token: what any cleverer choice must beat."""

    name, title = "random", "Random slots"
    leaf = "static"

    def begin(self, spec):
        super().begin(spec)
        self.rng = torch.Generator().manual_seed(0)  # lots must not take coins from the text

    def order(self, layer, slots):
        if "lot" not in slots.extras:
            slots.add("lot", torch.empty(self.spec.kv_heads, dtype=torch.float32, device=self.spec.device), fill=-1.0)
        lots = slots["lot"]
        fresh = lots < 0
        lots[fresh] = torch.rand(int(fresh.sum()), generator=self.rng).to(lots.device)
        return lots.double().masked_fill(slots.positions == slots.positions.max(), float("inf"))
