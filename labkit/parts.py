"""Small trained parts that go with a model: a head, an adapter, a table. Each fits one set of weights, or one tokenizer, and
says which; a small model of its own fits none."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from labkit.errors import ModelError
from labkit.models import ADDED, folder_of
from labkit.paths import DATA

FOLDER = DATA / "models" / "parts"
WEIGHTS, TOKENIZER = "*.safetensors", "tokenizer.json"  # the files of a model that a part may be bound to
ALONE = ""  # the model of a part that is a model of its own


@cache
def fingerprint(model: str, of: str = WEIGHTS) -> str:
    """Sixteen hex digits of the weights, or the tokenizer, of the model `model` (name or folder)."""
    files = sorted(Path(folder_of(model)).glob(of))
    if model in ADDED and of == WEIGHTS:
        files.append(FOLDER / f"{ADDED[model][1]}.safetensors")
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()[:16]


def save(name: str, tensors: dict[str, Tensor], model: str, figures: dict, folder: Path = FOLDER, of: str = WEIGHTS) -> Path:
    """Write the part `name`, trained for `model` (`of`: its WEIGHTS or its TOKENIZER; or ALONE), with its figures; its file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.safetensors"
    about = {"model": fingerprint(model, of) if model else ALONE, "of": of, "figures": json.dumps(figures)}
    save_file({key: tensor.contiguous().cpu() for key, tensor in tensors.items()}, file, about)
    (folder / f"{name}.json").write_text(json.dumps({"model": model, **figures}, indent=1) + "\n", encoding="utf-8")
    return file


def figures(name: str, folder: Path = FOLDER) -> dict:
    """What was written down of the part `name`. Raises `ModelError` when there is no such part."""
    file = folder / f"{name}.json"
    if not file.is_file():
        raise ModelError(f"The trained part {name!r} is not here: make it with `labkit train {name}`.")
    return json.loads(file.read_text(encoding="utf-8"))


def load(name: str, runner, folder: Path = FOLDER) -> dict[str, Tensor]:
    """The tensors of the part `name`, on the runner's device, in float32 where they are floating.

    Raises `ModelError` when there is no such part, or when it was trained for other weights (or another tokenizer) than the
    runner's.
    """
    return _read(name, getattr(runner, "name", None), runner.device, folder)


def load_alone(name: str, device: torch.device, folder: Path = FOLDER, trainer: str = "") -> dict[str, Tensor]:
    """The tensors of the part `name` that is a model of its own, as `load` gives them. Raises `ModelError` as it does.

    `trainer`: the command that makes it, where that has another name.
    """
    return _read(name, ALONE, device, folder, trainer)


def _read(name: str, own: str | None, device: torch.device, folder: Path, trainer: str = "") -> dict[str, Tensor]:
    file = folder / f"{name}.safetensors"
    if not file.is_file():
        raise ModelError(f"The trained part {name!r} is not here: make it with `labkit train {trainer or name}`.")
    with safe_open(file, "pt") as part:
        wanted = ALONE if own == ALONE else own and fingerprint(own, part.metadata().get("of", WEIGHTS))
        if part.metadata().get("model") != wanted:
            model = figures(name, folder)["model"] or "no other model"
            raise ModelError(
                f"The trained part {name!r} belongs to {model} and {own or 'this model'!r} is in use: choose {model}, "
                f"or make a part of its own with `labkit train {name}`."
            )
        tensors = {key: part.get_tensor(key) for key in part.keys()}
    return {key: tensor.to(device, torch.float32 if tensor.is_floating_point() else None) for key, tensor in tensors.items()}


@torch.no_grad()
def merge(model, base: str, name: str, folder: Path = FOLDER) -> None:
    """Put the part `name` into a transformers model loaded from `base`: plain weights come out.

    A weight W with tensors "W.a" [rank, in] and "W.b" [out, rank] becomes W + B A; one with a tensor "W" is replaced.
    Raises `ModelError` as `load` does.
    """
    tensors = _read(name, base, model.device, folder)
    for key, weight in model.named_parameters():
        if f"{key}.a" in tensors:
            wide = torch.promote_types(weight.dtype, torch.float32)
            weight.copy_(weight.to(wide) + tensors[f"{key}.b"].to(wide) @ tensors[f"{key}.a"].to(wide))
        elif key in tensors:
            weight.copy_(tensors[key])
