"""A model folder: weights in bfloat16, config, tokenizer, and three files that say where they come from.

`training.json` (every run that led to the weights), `loss.csv` (the last run's curve), `figures.json` (what it
measures).
"""

import hashlib
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from labkit.train import figures
from labkit.train.device import keep_freed_memory
from labkit.train.tokenizer import load_tokenizer, save_tokenizer
from labkit.train.tokens import TokenSet


def weights_digest(folder: Path) -> str:
    """The SHA-256 (hexadecimal) of a folder's weights. Raises ValueError when it holds none."""
    file = Path(folder) / "model.safetensors"
    if not file.is_file():
        raise ValueError(f"no model.safetensors in {folder}: name a folder with a trained model")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def read_json(folder: Path, name: str) -> dict:
    """The JSON file `name` in `folder`; empty when it isn't there."""
    file = Path(folder) / name
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def write_json(folder: Path, name: str, content: dict) -> None:
    """Write `content` as the JSON file `name` in `folder`."""
    (Path(folder) / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_model(
    model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path, training: dict, curve: Path | None = None
) -> None:
    """Write a model folder; figures of an earlier model that lay there are removed."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().to("cpu", torch.bfloat16) for name, tensor in model.named_parameters()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.architectures = ["LlamaForCausalLM"]
    model.config.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    write_json(folder, "training.json", training)
    (folder / "figures.json").unlink(missing_ok=True)
    if curve is not None:
        shutil.copyfile(curve, folder / "loss.csv")


def load_model(folder: Path, device: str = "cpu") -> LlamaForCausalLM:
    """The model in `folder`, in float32, ready to be measured or to teach. Raises ValueError when it holds none."""
    weights_digest(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.to(device).eval()


def measure(target: Path, draft: Path, tokens: TokenSet, report=print) -> None:
    """Measure the pair on `tokens`' held-out part and write `figures.json` into both folders.

    Raises ValueError when a folder holds no model or the two don't share a tokenizer.
    """
    tokenizer = load_tokenizer(target)
    if load_tokenizer(draft).get_vocab() != tokenizer.get_vocab():
        raise ValueError(f"{target} and {draft} have different tokenizers: measure a pair that shares one")
    keep_freed_memory()
    sizes = figures.token_bytes(tokenizer)
    models = {"target": load_model(target), "draft": load_model(draft)}
    found: dict[str, dict] = {}
    for role, model in models.items():
        found[role] = {"corpus": tokens.manifest["fingerprint"], "held_out_files": tokens.manifest["files"]["held_out"]}
        found[role]["loss"] = {
            str(length): figures.held_out_loss(model, figures.spread_windows(tokens.held_out, length, count), sizes)
            for length, count in figures.LOSS_WINDOWS.items()
        }
        found[role]["needles"] = figures.needle_accuracy(model, tokenizer, tokens.held_out_needles)
        report(f"{role}: {found[role]['loss']['1024']['nats_per_token']:.3f} nats/token on held-out text")
    windows = figures.spread_windows(tokens.held_out, figures.ALPHA_WINDOW, figures.ALPHA_WINDOWS)
    pair = figures.agreement(models["target"], models["draft"], windows)
    report(f"pair: alpha {pair['alpha_1.0']:.3f} at temperature 1, argmax agreement {pair['argmax']:.3f}")
    found["draft"]["with_target"] = {"sha256": weights_digest(target)} | pair
    write_json(target, "figures.json", found["target"])
    write_json(draft, "figures.json", found["draft"])
