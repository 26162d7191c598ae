"""The stop head of SpecDec++ (P013): will the target accept a drafted token, judging by the draft's state where it was read?

The paper's recipe: X is the target's own continuation of training text, Y_i the draft's sample at each of its places, and
min(1, p(Y_i) / q(Y_i)) the soft label, all at temperature 1. The draft then reads Z, which is X_i with probability 0.15 and else
Y_i, so that it stands in drafted context; the head sees its last hidden state at every Y_i. The draft stays frozen.
"""

import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from labkit import parts
from labkit.lm import Session
from labkit.methods import build_law
from labkit.models import SHIPPED, load
from labkit.prompts import heldout
from labkit.speculative.specdecpp import SpecDecPlusPlus
from labkit.speculative.stopping import HEADS, PART, RiskStop, judge, judgements, reliability
from labkit.train.continuations import NEW, PROMPT, ROWS, continuations
from labkit.train.device import keep_freed_memory
from labkit.train.tokenizer import load_tokenizer
from labkit.train.tokens import cache_folder, load_tokens

MIXING = 0.15  # share of places where the draft reads the target's token: the paper's
EPOCHS, BATCH, RATE, WARMUP = 3, 512, 1e-3, 0.03  # the paper's epochs, warm-up share and cosine; batch and rate are ours
HELD_OUT_SHARDS = 4
PROMPTS, ROUNDS, LONGEST = 60, 12, 8  # held-out prompts, rounds behind each, drafted tokens a round


def read(runner, ids: Tensor, first: int, hidden: bool = False):
    """One forward over `ids` [n] from their beginning: logits [n - first, V], and the hidden states when asked for."""
    ids = ids.to(runner.device)
    return runner.forward(ids, torch.arange(len(ids), device=ids.device), None, runner.new_cache(), first, hidden)


@torch.inference_mode()
def examples(target, draft, ids: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """From one text [PROMPT + NEW]: the draft's last hidden states [n, d] where it read its own samples, and their labels [n]."""
    p, q = (read(runner, ids[:-1], PROMPT - 1)[0].float().softmax(-1).cpu() for runner in (target, draft))
    drafted = torch.multinomial(q, 1, generator=rng)  # [NEW, 1]
    labels = (p.gather(1, drafted) / q.gather(1, drafted)).clamp(max=1)[:, 0]
    from_target = torch.rand(len(labels), generator=rng) < MIXING
    mixed = torch.where(from_target, ids[PROMPT:], drafted[:, 0])
    states = read(draft, torch.cat([ids[:PROMPT], mixed]), 0, hidden=True)[1][-1, PROMPT:].float().cpu()
    return states[~from_target], labels[~from_target]


def all_examples(target, draft, texts: Tensor, seed: int, folder: Path, report: Callable[[str], None]):
    """The examples of all `texts` [n, PROMPT + NEW]: states [m, d], labels [m]; a file for every shard of texts."""
    found = []
    for number, shard in enumerate(texts.split(ROWS)):
        file = folder / f"examples-{number:03d}.safetensors"
        if not file.is_file():
            rng = torch.Generator().manual_seed(seed * 1_000_003 + number)
            states, labels = map(torch.cat, zip(*(examples(target, draft, ids, rng) for ids in shard)))
            save_file({"states": states.half(), "labels": labels}, file.with_suffix(".new"))
            file.with_suffix(".new").replace(file)
            report(f"examples: {number + 1} of {-(-len(texts) // ROWS)} shards")
        found.append(load_file(file))
    return torch.cat([part["states"] for part in found]).float(), torch.cat([part["labels"] for part in found])


def fresh_head(width: int, depth: int, shared: bool, rng: torch.Generator) -> dict[str, Tensor]:
    """A head as PyTorch's linear layers begin; `shared`: all blocks are one, as in the release."""
    blocks = 1 if shared else depth

    def uniform(*shape: int) -> Tensor:
        return (torch.rand(*shape, generator=rng) * 2 - 1) / width**0.5

    return {"blocks": uniform(blocks, width, width), "shifts": uniform(blocks, width), "out": uniform(2, width + 1)}


def repeated(head: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """The head with a shared block written out `depth` times; any other head as it is."""
    return {name: of if name == "out" else of.expand(depth, *of.shape[1:]) for name, of in head.items()}


def weighted_loss(logits: Tensor, labels: Tensor, weight: float) -> Tensor:
    """Binary cross entropy against soft labels [n], refusals counted `weight` times, over the summed weights."""
    refused, accepted = logits.log_softmax(-1).unbind(-1)
    return -(labels * accepted + weight * (1 - labels) * refused).sum() / (labels + weight * (1 - labels)).sum()


def fit(states: Tensor, labels: Tensor, weight: float, depth: int, shared: bool, seed: int) -> dict[str, Tensor]:
    """A head trained on `states` [m, d] and `labels` [m]: AdamW, warm-up and cosine, EPOCHS times over."""
    rng = torch.Generator().manual_seed(seed)
    head = fresh_head(states.shape[1], depth, shared, rng)
    head = {name: tensor.to(states.device).requires_grad_() for name, tensor in head.items()}
    optimizer = torch.optim.AdamW(head.values(), lr=RATE, weight_decay=0.0)
    whole = max(len(states) // BATCH, 1) * BATCH
    total = EPOCHS * (whole // BATCH)
    scale = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / (WARMUP * total)) * (1 + math.cos(math.pi * step / total)) / 2
    )
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(states), generator=rng)[:whole].split(BATCH):
            rows = rows.to(states.device)
            loss = weighted_loss(judge(states[rows], repeated(head, depth)), labels[rows], weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scale.step()
    return {name: tensor.detach().clone() for name, tensor in repeated(head, depth).items()}


@torch.inference_mode()
def in_rounds(pair, head: dict[str, Tensor], seed: int) -> dict:
    """`reliability` where it counts: over the tested drafts of real rounds behind held-out prompts, at temperature 1."""
    method, law, said = SpecDecPlusPlus(longest=LONGEST), build_law(1.0, []), []
    method.start = lambda session: setattr(method, "stop", RiskStop(1.0, head))  # judges, never stops
    for number, text in enumerate(heldout(PROMPTS)):
        ids = pair.vocabulary.encode(text)
        session = Session(pair.target, ids, law, Session(pair.draft, ids, law))
        rng = torch.Generator().manual_seed(seed * 1_000_003 + number)
        for step in islice(method.steps(session, rng), ROUNDS):
            said += judgements(step)
    predicted, actual = torch.tensor(said, dtype=torch.float64).t()
    return reliability(predicted, actual)


def train_stop_head(
    *,
    tokens: int = 500_000,
    weight: float = 6.0,
    depth: int = 3,
    shared_blocks: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    folder: Path = parts.FOLDER,
    report: Callable[[str], None] = print,
) -> Path:
    """Train both heads for the shipped pair (refusals counted `weight` times, and once) and write the part; returns its file.

    `tokens` of the target's text, in shards that are kept: a run that was stopped goes on where it was. Raises ValueError for
    bad choices.
    """
    for name, value, low, high in (("tokens", tokens, ROWS * NEW, 10**9), ("weight", weight, 1, 12), ("depth", depth, 0, 4)):
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}: give a number from {low:,} to {high:,}")
    if threads is not None:
        torch.set_num_threads(threads)
    pair = load("lab-target", "lab-draft", device, "float32")
    if pair.target.device.type == "cpu":
        keep_freed_memory()
    corpus = load_tokens(load_tokenizer(SHIPPED["lab-target"]), seed)
    prints = [parts.fingerprint(name) for name in ("lab-target", "lab-draft")]
    place = cache_folder() / "stop-head" / "-".join([*prints, corpus.manifest["fingerprint"], str(seed)])
    data, sizes = {}, {"held-out": HELD_OUT_SHARDS, "train": tokens // (ROWS * NEW)}
    for part, text in (("held-out", corpus.held_out), ("train", corpus.train)):
        texts = continuations(pair.target, text, sizes[part], seed, place / part, report)
        made = all_examples(pair.target, pair.draft, texts, seed, place / part, report)
        data[part] = [tensor.to(pair.draft.device) for tensor in made]
    tensors, figures = {}, {}
    for kind, of in zip(HEADS, (weight, 1.0)):
        head = {name: tensor.bfloat16() for name, tensor in fit(*data["train"], of, depth, shared_blocks, seed).items()}
        tensors |= {f"{kind}.{name}": tensor for name, tensor in head.items()}
        head = {name: tensor.float() for name, tensor in head.items()}  # measured as it will be loaded
        figures[kind] = {"weight": of, **measure(pair, head, *data["held-out"], seed)}
        report(f"{kind}: {figures[kind]}")
    about = {
        "card": card(pair.draft_name, len(data["train"][1]), figures),
        "tokens": len(data["train"][1]),
        "depth": depth,
        "shared_blocks": shared_blocks,
        "seed": seed,
        "target": prints[0],
        "corpus": corpus.manifest["fingerprint"],
        "torch": torch.__version__,
        "heads": figures,
    }
    return parts.save(PART, tensors, "lab-draft", about, folder)


def card(draft: str, examples: int, figures: dict) -> str:
    """The part in the model card."""
    even, weighted = figures["even"], figures["weighted"]
    return (
        f"Two heads on `{draft}` for SpecDec++ (P013): will the target accept a drafted token, judging by the draft's last "
        f"hidden state where it is read? Trained on {examples:,} drafts behind the target's own continuations of training text, "
        f"at temperature 1; the draft stays as it is. On held-out files the even head has {even['loss']:.3f} nats a draft (the "
        f"best constant {even['loss_of_a_constant']:.3f}), and in real rounds it predicts {even['rounds']['predicted']:.3f} "
        f"where {even['rounds']['actual']:.3f} are accepted. The weighted head, for which a refusal counted "
        f"{weighted['weight']:g} times, predicts {weighted['rounds']['predicted']:.3f}.\n"
    )


def measure(pair, head: dict[str, Tensor], states: Tensor, labels: Tensor, seed: int) -> dict:
    """What a head is worth on held-out text: loss in nats beside that of a constant, and its reliability there and in rounds."""
    with torch.inference_mode():
        logits = judge(states, head)
        rate = labels.mean().expand(len(labels))
        constant = torch.stack([1 - rate, rate], -1).log()
        return {
            "loss": weighted_loss(logits, labels, 1.0).item(),
            "loss_of_a_constant": weighted_loss(constant, labels, 1.0).item(),
            "held_out": reliability(logits.softmax(-1)[:, 1], labels),
            "rounds": in_rounds(pair, head, seed),
        }
