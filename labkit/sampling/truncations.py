"""What the samplers keep, law by law, and what texts come of it: the study behind Top-H's claim."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean
from typing import Callable, Iterator

import torch
from torch import Tensor

from labkit.knobs import knob
from labkit.law import Law, draws, entropy
from labkit.lm import Session
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.sampling.eta import Eta
from labkit.sampling.min_p import MinP
from labkit.sampling.top_h import RELEASED, TopH
from labkit.sampling.top_k import TopK
from labkit.sampling.top_p import TopP
from labkit.sampling.typical import Typical
from labkit.trace import Step, Tree

TEMPERATURES = (1.0, 1.5, 2.0)  # of the written texts
EDGES = (0.1, 0.4, 0.8, 1.2, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)  # nats; the first six are the strip's classes
PLACES = 160  # of a text, at most: a step must stay short
GRAM = 3  # tokens
K, MASS, EPSILON, CAP = 40, 0.9, 0.002, 100  # of the samplers that have no knob here: usual values


@dataclass
class Truncations(Study):
    """How many tokens does each sampler keep, what mass does it lose, and what do texts written with it come to?

    Source: P148 (Top-H) and the samplers it is compared with. Two things, text by text over held-out code. At every place of
    the text: how many tokens each sampler keeps of the law at the chosen temperature and what mass it cuts, by the entropy of
    the raw law (mean mass; geometric mean of sizes, since a few are huge). Behind the text: `samples` texts each with no cut,
    top-p, min-p and Top-H at temperatures 1, 1.5 and 2; their loss under the model at temperature 1 (nats a token: how odd they
    are) and the share of their runs of three tokens that are different (how varied they are).

    The paper judges creative writing and exams by large models, which this model cannot do; loss against variety stands in. What
    shows with the shipped model (80 texts, 4 samples of 24 tokens): top-p loses far more at equal variety, at any temperature;
    beside min-p at temperature 2 (variety 0.961, 2.58 nats a token) Top-H's line is at 2.43, but beside min-p at 1.5 (0.896,
    1.65) it is at 1.84: Top-H gains where it is hot, not where it is warm. An end of text does not end a sample here.
    """

    name, title, paper = "truncations", "What samplers keep", "P148"
    charts = ("kept_sizes", "loss_and_variety")
    alpha: float = knob(0.4, 0.05, 1.0, step=0.05, label="Top-H", help="share of the entropy kept")
    top_p: float = knob(0.9, 0.05, 1.0, step=0.05, label="Top-p", help="mass kept")
    min_p: float = knob(0.1, 0.0, 0.5, step=0.01, label="Min-p", help="share of the best one")
    texts: int = knob(12, 1, 120, unit="texts", help="held-out, four steps each")
    samples: int = knob(3, 2, 6, label="Samples", help="texts a sampler and temperature")
    tokens: int = knob(24, 8, 64, unit="tokens", label="Length", help="of a sample")

    def cuts(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """The samplers by the names that the charts show."""
        return {
            f"Top-k {K}": TopK(K),
            f"Top-p {self.top_p:g}": TopP(self.top_p),
            f"Min-p {self.min_p:g}": MinP(self.min_p),
            f"Eta {EPSILON:g}": Eta(EPSILON),
            f"Typical {MASS:g}": Typical(MASS),
            f"Top-H {self.alpha:g}": TopH(self.alpha),
            f"Top-H {self.alpha:g}, released": TopH(self.alpha, RELEASED, CAP),
        }

    def writers(self) -> dict[str, tuple[Callable[[Tensor], Tensor], ...]]:
        """What the texts are written with."""
        return {
            "no cut": (),
            f"Top-p {self.top_p:g}": (TopP(self.top_p),),
            f"Min-p {self.min_p:g}": (MinP(self.min_p),),
            f"Top-H {self.alpha:g}": (TopH(self.alpha),),
        }

    def steps(self, session: Session, rng: torch.Generator) -> Iterator[Step]:
        kept, temperature = Kept(self.cuts()), session.law.temperature
        written = {(name, heat): [] for name in self.writers() for heat in TEMPERATURES}
        of = self.texts * (1 + len(TEMPERATURES))

        def frame(done: int) -> Step:
            texts = [
                {"name": name, "temperature": heat, "texts": len(some), "loss": mean(one[0] for one in some)}
                | {"variety": mean(one[1] for one in some)}
                for (name, heat), some in written.items()
                if some
            ]
            notes = {"done": done, "of": of, "temperature": temperature, "length": self.tokens, "gram": GRAM}
            return Step(emitted=[], notes={**notes, **kept.notes(), "written": texts})

        done = 0
        for text in heldout(self.texts):
            ids = session.vocabulary.encode(text)[: min(PLACES, session.runner.context - self.tokens)]
            logits = session.open(ids).prompt_logits()  # [S, V]
            kept.add(Law(temperature)(logits), entropy(logits.softmax(-1)))
            yield frame(done := done + 1)
            for heat in TEMPERATURES:
                laws = {name: Law(heat, cut) for name, cut in self.writers().items()}
                for name, pair in zip(laws, write(session.open(ids), list(laws.values()), self.samples, self.tokens, rng)):
                    written[name, heat].append(pair)
                yield frame(done := done + 1)


class Kept:
    """Sums over laws, by the classes of their raw entropy: how many tokens each cut keeps, and the mass it loses."""

    def __init__(self, cuts: dict[str, Callable[[Tensor], Tensor]]):
        self.cuts = cuts
        self.counts, self.nats = torch.zeros(2, len(EDGES) + 1, dtype=torch.float64)
        self.logs, self.lost = torch.zeros(2, len(cuts), len(EDGES) + 1, dtype=torch.float64)

    def add(self, laws: Tensor, nats: Tensor) -> None:
        """Count in `laws` [S, V] after the temperature, whose raw entropies are `nats` [S]."""
        nats = nats.double().cpu()
        classes = torch.bucketize(nats, torch.tensor(EDGES), right=True)
        self.counts.index_add_(0, classes, torch.ones_like(nats))
        self.nats.index_add_(0, classes, nats)
        for row, cut in enumerate(self.cuts.values()):
            stays = cut(laws.log()).isfinite() & (laws > 0)
            self.logs[row].index_add_(0, classes, stays.sum(-1).double().log().cpu())
            self.lost[row].index_add_(0, classes, (1 - (laws * stays).sum(-1)).clamp_(min=0).double().cpu())

    def notes(self) -> dict:
        """By class that was seen: mean entropy and how many laws; of each cut the geometric mean of sizes, the mean mass lost."""
        seen = self.counts > 0
        each = self.counts[seen]
        samplers = [
            {"name": name, "kept": (logs[seen] / each).exp().tolist(), "lost": (lost[seen] / each).tolist()}
            for name, logs, lost in zip(self.cuts, self.logs, self.lost)
        ]
        return {"entropy": (self.nats[seen] / each).tolist(), "counts": each.int().tolist(), "samplers": samplers}


def write(session: Session, laws: list[Law], samples: int, length: int, rng: torch.Generator) -> list[tuple[float, float]]:
    """`samples` texts of `length` tokens by each of `laws` behind the context: (loss in nats a token at temperature 1, variety).

    All are branches of one tree, which grows by one token a branch and forward.
    """
    tree, spent = Tree([], []), torch.zeros(len(laws), dtype=torch.float64)
    rows = session.logits.expand(len(laws), samples, -1)  # [laws, samples, V]
    nodes, texts = [-1] * (len(laws) * samples), []
    for place in range(length):
        tokens = [token for law, some in zip(laws, rows) for token in draws(law(some), list(range(samples)), rng)]
        chosen = torch.tensor(tokens, device=rows.device).view(len(laws), samples, 1)
        spent -= rows.log_softmax(-1).gather(-1, chosen).mean((1, 2)).double().cpu()
        texts.append(tokens)
        if place + 1 < length:
            tree.tokens += tokens
            tree.parents += nodes
            nodes = list(range(len(tree.tokens) - len(nodes), len(tree.tokens)))
            rows = session.grow(tree, nodes).logits.view(len(laws), samples, -1)
    texts = [list(text) for text in zip(*texts)]
    groups = [texts[at : at + samples] for at in range(0, len(texts), samples)]
    return [(loss / length, variety(group)) for loss, group in zip(spent.tolist(), groups)]


def variety(texts: list[list[int]], gram: int = GRAM) -> float:
    """The share of different runs of `gram` tokens among all runs of `texts`; 0 where none is long enough."""
    runs = [tuple(text[at : at + gram]) for text in texts for at in range(len(text) - gram + 1)]
    return len(set(runs)) / len(runs) if runs else 0.0
