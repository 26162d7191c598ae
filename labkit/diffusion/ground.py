"""The ground that all masked-diffusion decoders stand on: one loop over a text with masks, and the hooks that a paper changes.

A round is one forward over the whole text. `fuse` may bring history into its logits, `size` opens a block, `score` names a token
and a confidence for every place, `select` chooses the places that become final, `revise` those that are taken back, and `stop`
may settle all that is left. Everything here is LLaDA's sampling with Fast-dLLM's rules where no hook is changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Iterator, Sequence

import torch
from torch import Tensor

from labkit.diffusion.predictor import MaskPredictor, shipped
from labkit.errors import LabError
from labkit.knobs import knob
from labkit.law import NOT_NUMBERS, Law, draws, entropy
from labkit.lm import Session
from labkit.methods import Method
from labkit.trace import Step

STAYS = 0  # of `Unmask.select`: no reason to become final
SHOWN = 4  # decimals of a figure in the notes


class State:
    """A text that is being filled: ids [L], masks from `first` to `last` (what stands behind them stays), the block under way."""

    def __init__(self, prompt: list[int], room: int, mask: int, end: int, device: torch.device, behind: Sequence[int] = ()):
        self.ids = torch.tensor([*prompt, *[mask] * room, *behind], device=device)
        self.first, self.last, self.mask, self.end = len(prompt), len(prompt) + room, mask, end
        self.block = (len(prompt), len(prompt))  # places from, to; none is open yet
        self.round = 0  # forwards so far
        self.rounds = 0  # of them in this block

    @property
    def masked(self) -> Tensor:
        """Places that are not final: bool [L]."""
        return self.ids == self.mask

    @property
    def active(self) -> Tensor:
        """Masked places of the block: bool [L]."""
        inside = torch.zeros_like(self.ids, dtype=torch.bool)
        inside[slice(*self.block)] = True
        return inside & self.masked

    @property
    def done(self) -> bool:
        """Is every place final, at least up to the first end of text?"""
        ends = (self.ids[self.first : self.last] == self.end).nonzero()
        upto = self.first + int(ends[0]) if len(ends) else self.last
        return not self.masked[:upto].any()

    def clone(self) -> State:
        """A copy that shares nothing."""
        twin = object.__new__(State)
        twin.__dict__.update(self.__dict__)
        twin.ids = self.ids.clone()
        return twin


def ranked(confidence: Tensor, among: Tensor) -> list[int]:
    """The places where `among` [L] holds, the most confident first; of equals the earlier one."""
    places = among.nonzero()[:, 0]
    return places[confidence[places].sort(descending=True, stable=True).indices].tolist()


@dataclass
class Unmask(Method):
    """A decoder of the masked-diffusion model: change a hook or two, and it is a paper.

    The shipped `mdm-py` fills the places behind the prompt, and those in it that say `<|mask|>`; it shares the target's
    tokenizer. The text is another than the target's, so `lossless` is False. At temperature 0 a place's token is the
    likeliest one; else it is drawn from the law.
    """

    lossless: ClassVar[bool] = False
    charts: ClassVar[tuple[str, ...]] = ("unmask_map", "unmask_pace")
    reasons: ClassVar[tuple[str, ...]] = ("", "sure", "best", "settled")  # why a place became final, by the number `select` gives

    block: int = knob(32, 4, 128, unit="places", help="the span that is filled before the next one")

    # -- the hooks -----------------------------------------------------------------------------------------------------

    def begin(self, state: State, session: Session) -> None:
        """A text begins: forget the one before."""

    def fuse(self, state: State, logits: Tensor) -> Tensor:
        """Logits [L, V] as they are used, from the network's [L, V]; what earlier rounds said may enter here."""
        return logits

    def size(self, state: State, logits: Tensor) -> int:
        """How many places the block that begins at `state.block[0]` has."""
        return self.block

    def score(self, state: State, logits: Tensor, law: Law, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """(tokens [L], confidences [L]); of masked places, the others do not matter. The confidence is the raw law's."""
        tokens = guesses(state, logits, law, rng)
        return tokens, logits.softmax(-1).gather(-1, tokens[:, None])[:, 0]

    def select(self, state: State, tokens: Tensor, confidence: Tensor) -> Tensor:
        """Which active places become final, and why: numbers of `reasons` [L], 0 = it stays masked. At least one does."""
        raise NotImplementedError

    def revise(self, state: State, tokens: Tensor, confidence: Tensor) -> Tensor:
        """Final places to be masked again: bool [L]."""
        return torch.zeros_like(state.masked)

    def stop(self, state: State, logits: Tensor) -> bool:
        """Is the rest settled? Then every masked place takes its token at once."""
        return False

    def noted(self, state: State) -> dict:
        """The method's own figures of the round, for its charts; "tokens": rows of tokens that they name."""
        return {}

    # -- the loop ------------------------------------------------------------------------------------------------------

    def steps(self, session: Session, rng: torch.Generator) -> Iterator[Step]:
        network = predictor_of(session)
        yield from self.fill(State(session.ids, session.room, network.mask, network.end, network.device), network, session, rng)

    def fill(self, state: State, network: MaskPredictor, session: Session, rng: torch.Generator) -> Iterator[Step]:
        """Rounds until every place is final, at least up to an end of text; a forward each, counted by the session."""
        self.quantiles = network.quantiles
        self.begin(state, session)
        while not state.done:
            logits = network(state.ids[None], session.ledger)[0]
            yield self.turn(state, logits, session, rng, flops=network.flops(len(state.ids)))

    def threshold(self, tau: float, scale: str) -> float:
        """The confidence that `tau` stands for: itself, or the one this share of held-out places stays below ("quantile")."""
        return tau if scale == "value" else self.quantiles[round(tau * (len(self.quantiles) - 1))]

    def turn(self, state: State, logits: Tensor, session: Session, rng: torch.Generator, **more) -> Step:
        """One round behind the network's logits [L, V]: the hooks in their order, and what became of them."""
        if logits[state.masked].isnan().any():
            raise LabError(NOT_NUMBERS)
        if not state.active.any():
            self.open(state, logits)
        logits = self.fuse(state, logits)
        tokens, confidence = self.score(state, logits, session.law, rng)
        settled = self.stop(state, logits)
        why = state.masked * (len(self.reasons) - 1) if settled else self.select(state, tokens, confidence)
        step = self.told(state, logits, tokens, why, session, more)
        chosen = why > STAYS
        back = self.revise(state, tokens, confidence)
        state.ids = torch.where(chosen, tokens, state.ids.masked_fill(back, state.mask))
        state.round += 1
        state.rounds += 1
        return step

    def open(self, state: State, logits: Tensor) -> None:
        """Begin the block at the first masked place."""
        start = int(state.masked.nonzero()[0, 0])
        state.block = (start, start)
        state.block = (start, min(start + max(1, self.size(state, logits)), state.last))
        state.rounds = 0

    def told(self, state: State, logits: Tensor, tokens: Tensor, why: Tensor, session: Session, more) -> Step:
        """The round as a step: what became final and where, and what was believed at every masked place.

        "confidence" is the probability of the place's token, whatever the method ranks places by.
        """
        masked = state.masked.nonzero()[:, 0]
        laws = logits[masked].softmax(-1)
        best = logits[masked].topk(2, -1).values
        sure = laws.gather(-1, tokens[masked, None])[:, 0]
        figures = {"confidence": sure, "entropy": entropy(laws), "gap": best[:, 0] - best[:, 1]}
        chosen = (why > STAYS).nonzero()[:, 0]
        emitted = tokens[chosen].tolist()
        own = self.noted(state)
        notes = {
            "places": (masked - state.first).tolist(),
            **{name: [round(value, SHOWN) for value in row.tolist()] for name, row in figures.items()},
            "tokens": [tokens[masked].tolist(), *own.pop("tokens", [])],
            "block": [place - state.first for place in state.block],
            "end": state.end,
            "reasons": [self.reasons[number] for number in why[chosen].tolist()],
            **more,
            **own,
        }
        return session.step(logits[chosen], emitted, at=(chosen - state.first).tolist(), notes=notes)


def guesses(state: State, logits: Tensor, law: Law, rng: torch.Generator) -> Tensor:
    """A token for every masked place of ids [L]: the likeliest, or one drawn from `law`; elsewhere what stands there."""
    tokens, masked = state.ids.clone(), state.masked
    if law.greedy:
        tokens[masked] = logits[masked].argmax(-1)
    else:
        drawn = draws(law(logits[masked].double()), list(range(int(masked.sum()))), rng)
        tokens[masked] = torch.tensor(drawn, device=tokens.device)
    return tokens


def surest(state: State, confidence: Tensor, count: int) -> Tensor:
    """The `count` most confident active places: bool [L]."""
    chosen = torch.zeros_like(state.masked)
    chosen[ranked(confidence, state.active)[:count]] = True
    return chosen


def above(state: State, confidence: Tensor, tau: float) -> Tensor:
    """Fast-dLLM's threshold rule: 1 where an active place's confidence reaches `tau`, 2 at the best one if none does [L]."""
    why = (state.active & (confidence >= tau)).long()
    if not why.any():
        why[surest(state, confidence, 1)] = 2
    return why


def predictor_of(session: Session) -> MaskPredictor:
    """The masked-diffusion model that goes with the session's tokenizer. Raises `ModelError` when there is none."""
    if "mdm" not in session.memory:
        session.memory["mdm"] = shipped(session.runner)
    return session.memory["mdm"]
