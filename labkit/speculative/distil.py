"""Teaching a draft what its target says: divergences, AdaSPEC's choice of tokens, and a private copy that learns (P008, P038)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.errors import ModelError
from labkit.lm import Session
from labkit.models import make_runner

FORWARD, REVERSE, MIXED, VARIATION = "forward KL", "reverse KL", "0.9 forward + 0.1 reverse KL", "total variation"


def divergence(log_p: Tensor, log_q: Tensor, kind: str = FORWARD) -> Tensor:
    """How far the draft's laws are from the target's, one number a place, in nats (total variation: 0 to 1).

    `log_p`, `log_q` [N, V]: log-probs of target and draft; the result [N]. Forward KL has the gradient of the soft
    cross-entropy; the mix is what the release of P038 calls JSD.
    """
    if kind == VARIATION:
        return (log_p.exp() - log_q.exp()).abs().sum(-1) / 2
    forward = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
    if kind == FORWARD:
        return forward
    reverse = F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(-1)
    return reverse if kind == REVERSE else 0.9 * forward + 0.1 * reverse


def choose(draft: Tensor, reference: Tensor, share: float) -> Tensor:
    """AdaSPEC's choice: the `share` of the tokens where the draft lags most behind the reference, as booleans [N].

    `draft`, `reference` [N]: the two models' losses on every token. Tokens with draft - reference at or above its
    (1 - share) quantile are kept, so ties may keep a few more.
    """
    lag = draft.detach() - reference
    return lag >= lag.quantile(1 - share)


def chosen_loss(draft: Tensor, reference: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The mean of the draft's losses [N] over the tokens that `choose` keeps, and which those are, [N]."""
    kept = choose(draft, reference, share)
    return draft[kept].mean(), kept


class Lesson(NamedTuple):
    """What the target said at one place of a text."""

    place: int  # index of the last token it had read: its law is of token place + 1
    logits: Tensor  # [V], the target's
    wrong: bool  # the draft's token was refused there and replaced
    tested: bool = True  # False: the draft had said nothing there


def losses(model, texts: list[list[int]], lessons: list[list[Lesson]], kind: str = FORWARD) -> Tensor:
    """The divergence at every lesson, [n], in the order given; `lessons[i]` are of `texts[i]`. One forward of `model`."""
    longest, device = max(map(len, texts)), model.device
    # padded on the right, where nobody looks: no mask
    ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts], device=device)
    rows = [row for row, some in enumerate(lessons) for _ in some]
    places = [lesson.place for some in lessons for lesson in some]
    log_q = model(input_ids=ids, use_cache=False).logits[rows, places].log_softmax(-1)
    log_p = torch.stack([lesson.logits for some in lessons for lesson in some]).to(log_q.dtype).log_softmax(-1)
    return divergence(log_p, log_q, kind)


def fresh(runner):
    """The module of `runner` loaded again, ready to be trained. Raises `ModelError` when that cannot be done."""
    if not hasattr(runner, "fresh"):
        raise ModelError(
            "This draft's weights cannot be loaded a second time to be trained: choose a draft by its name."
        )
    with torch.inference_mode(False):
        return runner.fresh().requires_grad_(True)


class Learner:
    """A private copy of a draft that learns: the shared runner and its weights are never touched.

    `runner` is the copy as it is now, made anew after every update. Raises `ModelError` when the draft's weights cannot be
    loaded again.
    """

    def __init__(self, runner, rate: float):
        self.model = fresh(runner)
        with torch.inference_mode(False):
            self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=0.0)
        self.runner = make_runner(self.model)

    def learn(self, texts: list[list[int]], lessons: list[list[Lesson]], kind: str = FORWARD, steps: int = 1) -> float:
        """Take gradient steps on the lessons; returns the mean divergence before them, in nats a place."""
        first = 0.0
        for step in range(steps):
            with torch.inference_mode(False), torch.enable_grad():
                loss = losses(self.model, texts, lessons, kind).mean()
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
            first = loss.item() if step == 0 else first
        self.runner = make_runner(self.model)
        return first

    def session(self, session: Session, ids: list[int]) -> Session:
        """A draft session of the present copy behind `ids`, counted into the ledger of the draft session `session`.

        It reads the whole text again with its next forward: keys and values of the earlier weights are of no use to it.
        """
        fresh = Session(self.runner, ids, session.law)
        fresh.ledger = session.ledger
        return fresh
