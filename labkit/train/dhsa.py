"""The boundary predictor of DHSA (P056): where does the attention that later tokens pay change from one side to the other?

Labels come from the target's own dense attention over windows of text: `labkit.attention.dhsa_chunks.ratios` above 1.1, in every
layer. The target stays as it is. A step is `EXAMPLES` gaps of one window, drawn from all layers; every window serves four steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit import parts
from labkit.attention.dhsa_chunks import PART, RATIO, WINDOW, Labels, Predictor, best_gaps, predictor
from labkit.attention.ground import turned
from labkit.models import SHIPPED, load
from labkit.train.checkpoint import load_checkpoint, read_state, save_checkpoint
from labkit.train.device import keep_freed_memory
from labkit.train.tokenizer import load_tokenizer
from labkit.train.tokens import Windows, cache_folder, load_tokens

LENGTH, EXAMPLES, SERVES = 512, 512, 4  # tokens a window, gaps a step, steps a window: ours
RATE, WARMUP, SAVE_EVERY = 2e-3, 50, 200  # ours
HELD_OUT, CHUNKS, APART = 24, 32, 8  # windows to measure on, and the policy's own chunks and distance


class Examples(Labels):
    """Keeps the keys too: by layer those of all heads side by side, turned back to position 0, [N, kv_heads * size]."""

    def begin(self, spec):
        super().begin(spec)
        self.keys = []

    def observe(self, layer, query, probs, selection):
        super().observe(layer, query, probs, selection)
        slots = self.slots[layer]
        keys = turned(slots.keys, self.spec.turns[slots.positions[0].long(), 0], back=True)
        self.keys.append(keys.transpose(0, 1).flatten(1).float())


@torch.inference_mode()
def labelled(runner, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Of a text [N]: keys [layers, N, width] and ratios [layers, N]; -inf where a gap has no label."""
    policy, ids = Examples(), ids.to(runner.device)
    places = torch.arange(len(ids), device=ids.device)
    runner.forward(ids, places, None, runner.policy_cache(policy), len(ids) - 1, False)
    return torch.stack(policy.keys), torch.stack(policy.ratios)


def windows_of(keys: Tensor, layer: Tensor, gap: Tensor) -> Tensor:
    """The keys around some gaps: [n, 2 * WINDOW, width] of keys [layers, N, width]."""
    places = gap[:, None] + torch.arange(1 - WINDOW, WINDOW + 1, device=gap.device)
    return keys[layer[:, None], places]


def fit(runner, tokens, steps: int, seed: int, place: Path, report: Callable[[str], None]) -> Predictor:
    """`steps` steps of binary cross entropy; goes on from the checkpoint in `place` if there is one."""
    torch.manual_seed(seed)
    width = runner.kv_heads * runner.size
    model = Predictor(width, runner.depth).to(runner.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    done, smooth, number = 0, 0.0, -1
    if place.is_dir():
        load_checkpoint(place, model, {"adamw": optimizer})
        done, smooth = read_state(place)["step"], read_state(place)["loss"]
    source = Windows(tokens, LENGTH, seed)
    for step in range(done, steps):
        if step // SERVES != number:
            number = step // SERVES
            keys, found = labelled(runner, torch.from_numpy(source.batch(number, 1)[0, :LENGTH]))
            layer, gap = (found > float("-inf")).nonzero(as_tuple=True)
        rng = torch.Generator().manual_seed(seed * 1_000_003 + step)
        drawn = torch.randperm(len(gap), generator=rng)[:EXAMPLES].to(gap.device)
        at, where = layer[drawn], gap[drawn]
        loss = F.binary_cross_entropy_with_logits(
            model(windows_of(keys, at, where).clone(), at), (found[at, where] > RATIO).float()
        )
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARMUP) * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        smooth = loss.item() if step == 0 else 0.98 * smooth + 0.02 * loss.item()
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            save_checkpoint(place, model, {"adamw": optimizer}, {"step": step + 1, "loss": smooth})
            report(f"step {step + 1} of {steps}, loss {smooth:.4f} nats")
    return model.eval()


@torch.inference_mode()
def measure(runner, model: Predictor, tokens, seed: int) -> dict:
    """On held-out windows: nats a gap beside the best constant's, how often a boundary outranks a gap that is none (AUC), and the
    mean ln ratio of the gaps chosen by the predictor, by the labels, and of all."""
    logits, found, chosen = [], [], {"predictor": [], "labels": [], "all": []}
    for number in range(HELD_OUT):
        keys, ratio = labelled(runner, torch.from_numpy(Windows(tokens, LENGTH, seed).batch(number, 1)[0, :LENGTH]))
        gaps = (ratio[0] > float("-inf")).nonzero()[:, 0]
        said = [model(windows_of(keys, torch.full_like(gaps, layer), gaps), layer) for layer in range(runner.depth)]
        for layer, row in enumerate(said):
            truth = ratio[layer, gaps]
            chosen["all"].append(truth.log().mean().item())
            for name, scores, floor in (("predictor", row, 0.0), ("labels", truth, RATIO)):
                picked = best_gaps(scores, CHUNKS - 1, APART, floor)
                chosen[name].append(truth[picked].log().mean().item())
        logits.append(torch.stack(said))
        found.append(ratio[:, gaps])
    logits, truth = torch.cat(logits, 1), torch.cat(found, 1) > RATIO
    rate = truth.float().mean()
    return {
        "gaps": truth.numel(),
        "boundaries": rate.item(),
        "loss": F.binary_cross_entropy_with_logits(logits, truth.float()).item(),
        "loss_of_a_constant": -(rate * rate.log() + (1 - rate) * (1 - rate).log()).item(),
        "auc": auc(logits.flatten(), truth.flatten()),
        "auc_by_layer": [auc(*pair) for pair in zip(logits, truth)],
        "boundaries_by_layer": truth.float().mean(1).tolist(),
        "mean_log_ratio": {name: sum(rows) / len(rows) for name, rows in chosen.items()},
    }


def auc(scores: Tensor, truth: Tensor) -> float:
    """The chance that a true one has a higher score than one that is not true."""
    places = torch.empty(len(scores), dtype=torch.float64)
    places[scores.argsort()] = torch.arange(1, len(scores) + 1, dtype=torch.float64)
    yes = int(truth.sum())
    return float((places[truth].sum() - yes * (yes + 1) / 2) / (yes * (len(truth) - yes)))


def train_dhsa(
    steps: int = 2000,
    *,
    device: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    folder: Path = parts.FOLDER,
    report: Callable[[str], None] = print,
) -> Path:
    """Train the predictor for the shipped target, measure it on held-out text and write the part; returns its file.

    A run with the same settings goes on from its checkpoint. Raises ValueError for a number of steps below 1.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}: give a number above 0")
    if threads is not None:
        torch.set_num_threads(threads)
    target = load("lab-target", "none", device, "float32").target
    if target.device.type == "cpu":
        keep_freed_memory()
    corpus = load_tokens(load_tokenizer(SHIPPED["lab-target"]), seed)
    print_of = [parts.fingerprint("lab-target"), corpus.manifest["fingerprint"], str(steps), str(seed)]
    model = fit(target, corpus.train, steps, seed, cache_folder() / "dhsa" / "-".join(print_of), report)
    tensors = {name: tensor.detach().bfloat16() for name, tensor in model.state_dict().items()}
    shipped = predictor({name: tensor.float() for name, tensor in tensors.items()})  # measured as it will be loaded
    figures = {
        "weights": sum(tensor.numel() for tensor in tensors.values()),
        "steps": steps,
        "windows": -(-steps // SERVES),
        "ratio": RATIO,
        "seed": seed,
        "corpus": corpus.manifest["fingerprint"],
        "torch": torch.__version__,
        "held_out": measure(target, shipped, corpus.held_out, seed),
    }
    figures["summary"] = summary(figures)
    report(figures["summary"])
    return parts.save(PART, tensors, "lab-target", figures, folder)


def summary(figures: dict) -> str:
    """The part's row in the model card."""
    held = figures["held_out"]
    means = {name: math.exp(mean) for name, mean in held["mean_log_ratio"].items()}
    return (
        f"Predicts where DHSA (P056) cuts a text, from the keys around a gap: {figures['weights'] / 1000:.0f} thousand "
        f"weights, {figures['steps']:,} steps. On held-out text {held['boundaries']:.0%} of the gaps are boundaries; "
        f"{held['loss']:.3f} nats a gap (a constant {held['loss_of_a_constant']:.3f}), AUC {held['auc']:.2f}. The ratio is "
        f"{means['all']:.2f} at a typical gap, {means['predictor']:.2f} at the gaps it cuts, {means['labels']:.2f} at those "
        "that the labels would."
    )
