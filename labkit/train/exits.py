"""Early exits (P157): a low-rank change of the shipped target after which its early layers can speak.

LayerSkip's recipe: layers are dropped at random, deeper ones more often, and what each layer hands on must make sense to
the final norm and the LM head. Trained is a change of low rank beside every matrix of the blocks, and the norms' gains;
added to the target's weights they give a plain Llama, the model "lab-exits".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from transformers import LlamaForCausalLM

from labkit import parts
from labkit.models import ADDED, SHIPPED, load_model
from labkit.train import figures
from labkit.train.card import write_card
from labkit.train.plan import DECAY_SHARE, Plan
from labkit.train.pretrain import Trainer, pretrain
from labkit.train.runs import record, refuse_to_overwrite
from labkit.train.tokenizer import load_tokenizer
from labkit.train.tokens import TokenSet, cache_folder, load_tokens

MODEL = "lab-exits"
BASE, NAME = ADDED[MODEL]
RANK = 32  # 2.4 MB in bfloat16
BATCH = 4096  # tokens an optimizer step
DROPOUT = 0.1  # of the last layer; 0 of the first; LayerSkip's for continued training
ROTATION = 2  # every second exit is on duty in a step, in turn (LayerSkip's rotating curriculum)
# LayerSkip weighs an exit by its depth and teaches it the text. Ours weigh the same and learn mostly what the last layer
# says: with eight layers drafting pays where exits are cheap, and what is measured is agreement.
EXIT_SHARE = 0.5  # of the loss; the last layer has the rest, on the text
OWN_LAW = 0.9  # of an exit's loss: divergence from the last layer's law; the text has the rest
WINDOW, WINDOWS = 512, 48  # held-out tokens that agreement is measured on


class LowRank(nn.Module):
    """A weight W [out, in] becomes W + B A, with B [out, rank] at zero first and A [rank, in]."""

    def __init__(self, weight: Tensor):
        super().__init__()
        wide, deep = weight.shape
        self.a = nn.Parameter(torch.randn(RANK, deep) / math.sqrt(deep))
        self.b = nn.Parameter(torch.zeros(wide, RANK))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.b @ self.a


def trail(model: LlamaForCausalLM, ids: Tensor, kept: Tensor | None = None) -> list[Tensor]:
    """What every layer hands on, L times [B, T, d], for `ids` [B, T].

    `kept` [L, B] says which sequences pass through a layer (None = all); the others skip it.
    """
    body = model.model
    states = body.embed_tokens(ids)
    places = torch.arange(ids.shape[1], device=ids.device)[None]
    turns = body.rotary_emb(states, places)
    handed = []
    for number, layer in enumerate(body.layers):
        after = layer(states, attention_mask=None, position_ids=places, position_embeddings=turns)
        states = after if kept is None else torch.where(kept[number, :, None, None], after, states)
        handed.append(states)
    return handed


def speak(model: LlamaForCausalLM, states: Tensor) -> Tensor:
    """ln of the law [tokens, V] that final norm and LM head read in `states` [B, T, d]."""
    return model.lm_head(model.model.norm(states)).flatten(0, 1).float().log_softmax(-1)


class ExitTrainer(Trainer):
    """A run that teaches the target's layers to speak; the target's own weights stay as they are."""

    def __init__(self, plan: Plan, tokens: TokenSet, device: str = "cpu", target: Path = SHIPPED[BASE]):
        super().__init__("target", plan, tokens, device)
        self.role = NAME
        self.start_from(target, [])
        self.model.requires_grad_(False)
        for layer in self.model.model.layers:
            for module in list(layer.modules()):
                if isinstance(module, nn.Linear):
                    low_rank = LowRank(module.weight).to(self.device)
                    parametrize.register_parametrization(module, "weight", low_rank)
        for name, weight in self.model.named_parameters():
            weight.requires_grad_(weight.ndim == 1 or ".parametrizations.weight.0." in name)
        trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        adamw = torch.optim.AdamW(trained, lr=plan.rate, betas=(0.9, 0.95), weight_decay=0.0)
        self.optimizers = {"adamw": adamw}
        self.coins = torch.Generator()

    def step(self) -> None:
        self.coins.manual_seed(self.progress.plan.seed * 1_000_003 + self.progress.step)  # a resumed run drops the same layers
        super().step()

    def _loss(self, rows: Tensor, asked: Tensor) -> Tensor:  # [rows, window + 1] -> nats a token
        inputs, wanted = rows[:, :-1], rows[:, 1:].reshape(-1)
        layers = len(self.model.model.layers)
        chance = DROPOUT * (torch.exp2(torch.arange(layers) / (layers - 1)) - 1)  # LayerSkip's: 0 to DROPOUT
        kept = torch.rand(layers, len(rows), generator=self.coins) >= chance[:, None]
        with self._fast():
            handed = trail(self.model, inputs, kept.to(self.device))
            last = speak(self.model, handed[-1])
            duty = [speak(self.model, handed[n]) for n in range(layers - 1) if (n + self.progress.step) % ROTATION == 0]
        loss = (1 - EXIT_SHARE) * F.nll_loss(last, wanted)
        law = last.detach()
        for exit in duty:
            divergence = F.kl_div(exit, law, log_target=True, reduction="batchmean")  # forward KL, the full law
            loss = loss + EXIT_SHARE / len(duty) * (OWN_LAW * divergence + (1 - OWN_LAW) * F.nll_loss(exit, wanted))
        return loss

    def go_on_from(self, file: Path) -> None:
        """Begin with the part in `file`, whatever weights of the target it was made for. Raises ValueError when it fits none."""
        stored = load_file(file)
        ours = self._named()
        if stored.keys() != ours.keys() or any(stored[name].shape != weight.shape for name, weight in ours.items()):
            raise ValueError(f"{file} holds another change than one of rank {RANK} of this target: start a new run")
        with torch.no_grad():
            for name, weight in ours.items():
                weight.copy_(stored[name])

    def _named(self) -> dict[str, nn.Parameter]:
        """What is trained, by the name of the weight it changes."""
        named = self.model.named_parameters()
        return {name.replace("parametrizations.weight.0.", "weight."): weight for name, weight in named if weight.requires_grad}

    def tensors(self) -> dict[str, Tensor]:
        """What was trained, by the name of the weight it changes; see `labkit.parts.merge`."""
        return {name: weight.detach().to("cpu", torch.bfloat16) for name, weight in self._named().items()}


@torch.inference_mode()
def layer_figures(model: LlamaForCausalLM, windows: Tensor) -> dict[str, list[float]]:
    """How well each layer speaks, averaged over `windows` [count, length + 1]; one number a layer, the last one too.

    "loss": nats a token; "argmax": the share of positions where it has the last layer's first choice; "alpha": the sum of
    min(p, q) with the last layer's law, which is the chance that a token drawn from the layer is accepted.
    """
    sums = torch.zeros(3, model.config.num_hidden_layers, dtype=torch.float64)
    for window in windows:
        laws = [speak(model, states) for states in trail(model, window[None, :-1])]
        p, best = laws[-1].exp(), laws[-1].argmax(-1)
        for number, law in enumerate(laws):
            sums[0, number] += F.nll_loss(law, window[1:]).item()
            sums[1, number] += (law.argmax(-1) == best).float().mean().item()
            sums[2, number] += torch.minimum(law.exp(), p).sum(-1).mean().item()
    means = (sums / len(windows)).tolist()
    return dict(zip(("loss", "argmax", "alpha"), means))


def measure(tokens: TokenSet) -> dict[str, dict]:
    """The target before and after, on held-out text: loss, needles given back, and what each layer says."""
    tokenizer = load_tokenizer(SHIPPED[BASE])
    sizes = figures.token_bytes(tokenizer)
    windows = figures.spread_windows(tokens.held_out, WINDOW, WINDOWS)
    found = {}
    for when, name in (("before", BASE), ("after", MODEL)):
        model = load_model(name, torch.device("cpu"), torch.float32)
        losses = {
            str(length): figures.held_out_loss(model, figures.spread_windows(tokens.held_out, length, count), sizes)
            for length, count in figures.LOSS_WINDOWS.items()
        }
        needles = figures.needle_accuracy(model, tokenizer, tokens.held_out_needles)
        found[when] = {"loss": losses, "needles": needles, "layers": layer_figures(model, windows)}
    return found


def card(training: dict, found: dict[str, dict]) -> str:
    """What the model card says about the part: how it came about, and the target before and after."""
    layers = {when: found[when]["layers"] for when in found}
    numbers = [str(layer) for layer in range(1, len(layers["after"]["loss"]) + 1)]
    lines = [
        f"Makes the model `lab-exits` of the target: a change of rank {RANK} of every matrix in its blocks, and the norms' gains "
        f"({training['parameters'] / 1e6:.1f} M numbers), after which the final norm and the LM head can read every layer. "
        f"{_runs(training)} ({training['device']}, {training['dtype']}, PyTorch {training['torch']}), "
        f"LayerSkip's recipe: layers dropped up to {DROPOUT:.0%} of the time, deeper ones more often; every exit learns, "
        f"{OWN_LAW:.0%} from the last layer's law and the rest from the text; "
        f"the exits are {EXIT_SHARE:.0%} of the loss, the last layer on the text is the rest. On the held-out files:\n",
        f"| layer | {' | '.join(numbers)} |",
        "|---" * (len(numbers) + 1) + "|",
    ]
    names = {"argmax": "the last layer's first choice", "alpha": "alpha with the last layer", "loss": "nats/token"}
    for key, words in names.items():
        for when in found:
            lines.append(f"| {words}, {when} | {' | '.join(f'{value:.2f}' for value in layers[when][key])} |")
    paid = []
    for when in found:
        losses = " and ".join(f"{loss['nats_per_token']:.3f}" for loss in found[when]["loss"].values())
        needles = ", ".join(f"{of['accuracy']:.2f}" for of in found[when]["needles"].values() if of["cases"])
        paid.append(f"{when} {losses} nats/token and {needles} of the needles given back")
    windows = " and ".join(f"{int(length):,}" for length in found["after"]["loss"])
    lines.append(f"\nThe last layer's price: {'; '.join(paid)} (windows of {windows}; needles from near to far).\n")
    return "\n".join(lines)


def _runs(training: dict) -> str:
    """How long it was trained; earlier runs were beside earlier weights of the target."""
    runs = [*training.get("earlier", []), training]
    said = [f"{run['tokens'] / 1e6:.2g} M tokens in {run['minutes']:.0f} minutes" for run in runs]
    return ", then, beside these weights of the target, ".join(said)


def train_exits(
    tokens: int | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    rate: float = 3e-3,
    resume: Path | None = None,
    from_shipped: bool = False,
    report: Callable[[str], None] = print,
) -> Path:
    """Train the part "exits" on `tokens` tokens, measure it, and write both beside the models; returns its file.

    `resume`: a checkpoint to continue, with `tokens` to another budget. `from_shipped`: go on from the part that is there,
    made for earlier weights of the target; the rate falls from the start then. Raises ValueError for bad choices, and when
    an unfinished run would be overwritten.
    """
    if tokens is None and resume is None:
        raise ValueError("give a budget in tokens")
    if threads is not None:
        torch.set_num_threads(threads)
    corpus = load_tokens(load_tokenizer(SHIPPED[BASE]), seed)
    place = cache_folder() / NAME
    if resume is None:
        refuse_to_overwrite(place)
    decay = 1.0 if from_shipped else DECAY_SHARE
    trainer = ExitTrainer(Plan.of(tokens or 10**12, decay=decay, batch=BATCH, rate=rate, seed=seed), corpus, device)
    if resume is not None:
        trainer.resume(resume, tokens)
    elif from_shipped:
        before = parts.figures(NAME)["training"]
        trainer.progress.earlier_runs = [*before.pop("earlier", []), before]
        trainer.go_on_from(parts.FOLDER / f"{NAME}.safetensors")
    pretrain(trainer, place, report)
    made = trainer.tensors()
    training = record(trainer, None) | {"corpus": corpus.manifest["fingerprint"], "rank": RANK}
    training["earlier"] = trainer.progress.earlier_runs
    training["parameters"] = sum(tensor.numel() for tensor in made.values())
    parts.save(NAME, made, BASE, {})  # the model that is measured next is loaded from it
    found = measure(corpus)
    file = parts.save(NAME, made, BASE, {"training": training, **found, "card": card(training, found)})
    write_card(SHIPPED[BASE].parent)
    return file
