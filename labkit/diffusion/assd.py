"""P006 ASSD: a model that can read any subset of places drafts many at once, then checks them itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import Iterator

import torch
from torch import Tensor

from labkit.diffusion.asarm import WINDOW, AsArm, arm, hidden
from labkit.errors import PromptError
from labkit.knobs import knob
from labkit.law import Law, draw
from labkit.lm import Session
from labkit.methods import Method
from labkit.speculative import verify
from labkit.speculative.ground import chain, kept_tests, measure
from labkit.trace import Step

SELF, BIGRAM, NOBODY = "itself", "bigrams of the text", "nobody"
MASK = "<|mask|>"  # in a prompt: a place to fill
RISING, RANDOM = "left to right", "random"
SPAN = 64  # places filled at once at most; what the window has left is for the text before them
SHOWN = 16  # places whose ranks a step's notes name


class Canvas:
    """A text with places to fill. Place i holds `ids[i]`; its rank is 0 where it is given, else its turn: 1, 2, ...

    `known`: the places of ranks up to it are decided. What stands at later ones is a draft, or nothing.
    """

    def __init__(self, session: Session, model: AsArm, ids: list[int], places: list[int]):
        """`ids` [N], anything at the places to fill; `places`: these, in the order of filling."""
        self.session, self.model, device = session, model, session.runner.device
        self.ids = torch.tensor(ids, device=device)
        self.places = torch.tensor(places, dtype=torch.long, device=device)
        self.ranks = torch.zeros_like(self.ids)
        self.ranks[self.places] = torch.arange(1, len(places) + 1, device=device)
        self.known = 0
        self.barred = torch.zeros(model.mask, dtype=session.runner.dtype, device=device)
        self.barred[sorted(end for end in session.ends if end < model.mask)] = float("-inf")

    @property
    def left(self) -> int:
        return len(self.places) - self.known

    def ask(self, ranks: Tensor, count: int) -> Tensor:
        """One forward: logits [count, V] at the next `count` places, by who sees whom under `ranks` [N].

        Content that no asked query sees is not fed. A number of places is to be filled, so no end of text is allowed there.
        """
        asked = self.places[self.known : self.known + count]
        seen = (ranks < ranks[asked].max()).nonzero()[:, 0]
        rows, ledger = len(seen) + count, self.session.ledger
        with ledger.forward(self.session.runner, rows, self.model.shape.layers, len(self.ids)):
            logits = self.model(self.ids[seen][None], seen[None], ranks[seen][None], asked[None], ranks[asked][None])[0]
        return logits + self.barred

    def draft(self, count: int) -> Tensor:
        """Logits [count, V] of the next places, each as if none of the others were there: nobody sees what is not decided."""
        return self.ask(hidden(self.ranks, self.known), count)

    def write(self, tokens: list[int]) -> Tensor:
        """Write `tokens` at the next places; returns these."""
        where = self.places[self.known : self.known + len(tokens)]
        self.ids[where] = torch.tensor(tokens, dtype=torch.long, device=self.ids.device)
        return where

    def check(self, tokens: list[int]) -> Tensor:
        """Write a draft and ask again: each row of the logits [k, V] sees the drafted tokens of lower rank."""
        self.write(tokens)
        return self.ask(self.ranks, len(tokens))

    def keep(self, tokens: list[int]) -> list[int]:
        """Decide the next places; returns them."""
        where = self.write(tokens)
        self.known += len(tokens)
        return where.tolist()

    def decided(self) -> list[int | None]:
        """The text, None where nothing is decided."""
        return [token if rank <= self.known else None for token, rank in zip(self.ids.tolist(), self.ranks.tolist())]


def bigrams(text: list[int | None], like: Tensor):
    """How often a token followed another in `text`, as a function from a token (None = unknown) to a law, made as `like` [V].

    A token that nothing followed yet, or an unknown one, gives the frequencies of single tokens; an empty text a flat law.
    """
    follows: dict[int | None, Counter] = defaultdict(Counter)
    for before, token in pairwise([None, *text]):
        if token is not None:
            for key in {None, before}:
                follows[key][token] += 1

    def law(before: int | None) -> Tensor:
        counts = follows.get(before) or follows.get(None)
        if not counts:
            return torch.full_like(like, 1 / len(like))
        found = torch.zeros_like(like)
        found[list(counts)] = found.new_tensor(list(counts.values()))
        return found / found.sum()

    return law


@dataclass
class Assd(Method):
    """One model guesses k places at once, then, under another mask, checks the guesses and redraws the first wrong one (P006).

    Draft pass: the next k places, none seeing another: laws q. Oracle pass: the same network, each place seeing the drafts of
    lower rank: laws p. In the order of ranks a draft is kept with chance min(1, p/q); the first one refused is redrawn from
    norm(max(p - q, 0)) and ends the round. No bonus token. The first place sees the same in both passes, so p = q and it is
    always kept; the second is kept or redrawn: a round of two calls gives two tokens or more, and calls never outnumber tokens.
    The last place left needs no check. What comes out has exactly the law of filling one place a call, which is this model's
    own (3.4 M, trained from scratch), not the target's; the prompt's last tokens, up to a window of 128, are all it sees.
    Bigrams: drafts from counts of the text so far, one call a round. Every place asked for is filled, 64 at once at most, so no
    end of text is drawn (ours). Gaps: every `<|mask|>` in the prompt is a place to fill too, all gaps and the end together; they
    come first in the order, and drafts of one round may stand in several. Left out: an order of one's own.
    """

    name, title, paper, lossless = "assd", "ASSD any-subset", "P006", False
    charts = ("assd_rounds", "assd_masks")
    k: int = knob(10, 2, 16, unit="places", label="Drafted places k", help="guessed in one call; 2 gains nothing")
    drafter: str = knob(SELF, choices=(SELF, BIGRAM, NOBODY), label="Who drafts", help="nobody: one place a call")
    order: str = knob(RISING, choices=(RISING, RANDOM), label="Order", help="it was trained on rising ranks")

    def steps(self, session, rng):
        model, room, first = arm(session), session.room or SPAN, 0
        text, open_places = list(session.ids), gaps(session)
        while first < room:
            count = min(SPAN, room - first)
            given = text[-(WINDOW - count) :]
            unseen = len(text) - len(given)
            if open_places and open_places[0] < unseen:
                raise PromptError(
                    f"A gap stands {len(text) - open_places[0]} tokens before the end of the prompt, and the model sees "
                    f"{len(given)} of it: shorten the text behind the gap, or ask for fewer new tokens."
                )
            places = [*(place - unseen for place in open_places), *range(len(given), len(given) + count)]
            if self.order == RANDOM:
                places = [places[i] for i in torch.randperm(len(places), generator=rng).tolist()]
            canvas = Canvas(session, model, given + [model.mask] * count, places)
            yield from self.fill(canvas, rng, first - len(given))
            filled = canvas.ids.tolist()
            session.push(*filled[len(given) :])
            text, open_places, first = text[:unseen] + filled, [], first + count

    def fill(self, canvas: Canvas, rng: torch.Generator, shift: int = 0) -> Iterator[Step]:
        """Fill the canvas, a step a round. `shift` is added to its places in `Step.at`."""
        while canvas.left:
            count, known, law = min(self.k, canvas.left), canvas.known, canvas.session.law
            if self.drafter == NOBODY or canvas.left == 1:
                rows = canvas.draft(1)
                tokens, sources, more, gap, count = [pick(law, rows[0], rng)], ["target"], {}, None, 1
            else:
                tokens, sources, rows, gap, more = self.round(canvas, count, rng)
            window = self.shown(canvas, known, count, shift)
            at = [place + shift for place in canvas.keep(tokens)]
            notes = {"known": known, "asked": count, "drafter": self.drafter, "gap": gap, "window": window}
            yield canvas.session.step(rows, tokens, at=at, sources=sources, notes=notes, **more)

    def round(self, canvas: Canvas, count: int, rng: torch.Generator):
        """Draft, check, accept. Returns the tokens, their sources, p's logits behind them, max |p - q| at the first place
        (None for bigrams) and the tree with its tests."""
        law, first = canvas.session.law, None
        if self.drafter == SELF:
            first = canvas.draft(count)
            tokens = [pick(law, row, rng) for row in first]
            q = first.softmax(-1) if law.greedy else law(first)
        else:
            tokens, q = self.by_bigrams(canvas, count, law, rng)
        rows, gap = canvas.check(tokens), None
        if first is not None:
            gap = float((rows[0].softmax(-1) - first[0].softmax(-1)).abs().max())
            rows = torch.cat([first[:1], rows[1:]])  # the same law by another sum: its rounding must refuse nothing
        tree = chain(tokens, law)
        p = law(rows)
        if law.greedy:
            outcome = verify.greedy(tree, rows.argmax(-1).tolist())
        else:
            outcome = verify.residual_chain(tree, p, q, rng)
        verify.write(tree, outcome)
        measure(tree, rows if law.greedy else p, law.greedy, q, outcome)
        tests = kept_tests(tree, p, q, outcome) if "tests" in canvas.session.keep else []
        emitted = [tokens[node] for node in outcome.path] + ([] if outcome.added is None else [outcome.added])
        sources = ["draft"] * len(outcome.path) + ["target"] * (outcome.added is not None)
        return emitted, sources, rows[: len(emitted)], gap, {"tree": tree, "tests": tests}

    def by_bigrams(self, canvas: Canvas, count: int, law: Law, rng: torch.Generator) -> tuple[list[int], Tensor]:
        """Drafts from the counts of everything decided, each behind the token to its left; the laws they were drawn from."""
        text = canvas.decided()
        behind, tokens, laws = bigrams(text, canvas.barred), [], []
        for place in canvas.places[canvas.known : canvas.known + count].tolist():
            laws.append(behind(text[place - 1] if place else None))
            text[place] = int(laws[-1].argmax()) if law.greedy else draw(laws[-1], rng)
            tokens.append(text[place])
        return tokens, torch.stack(laws)

    def shown(self, canvas: Canvas, known: int, count: int, shift: int) -> dict:
        """The places around the round, for the masks: where they stand behind the prompt, and their ranks."""
        first = int(canvas.places[known]) - SHOWN // 4
        first = max(0, min(first, len(canvas.ids) - SHOWN))
        ranks = canvas.ranks[first : first + SHOWN].tolist()
        return {"places": list(range(first + shift, first + shift + len(ranks))), "ranks": ranks}


def gaps(session: Session) -> list[int]:
    """The places of the prompt that are to be filled: where it says `<|mask|>`. None for a tokenizer without that token."""
    mark = session.vocabulary.encode(MASK)
    return [place for place, token in enumerate(session.ids) if [token] == mark]


def pick(law: Law, logits: Tensor, rng: torch.Generator) -> int:
    """A token from the law of `logits` [V]; the favourite at temperature 0."""
    return int(logits.argmax()) if law.greedy else draw(law(logits), rng)
