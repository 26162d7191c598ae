"""Checkpoints that continue exactly: weights and both optimizers' state as safetensors, the rest as JSON. No pickle.

Nothing random is left once the weights are drawn: the order of the windows is a function of the seed and of a position,
and both are in the state.
"""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

FILES = ("model.safetensors", "optimizers.safetensors", "state.json")


def save_checkpoint(folder: Path, model: nn.Module, optimizers: dict[str, Optimizer], state: dict) -> None:
    """Write a checkpoint, whole or not at all: into a folder beside it that then takes its place."""
    folder = Path(folder)
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file(_weights(model), fresh / FILES[0], metadata={"format": "pt"})
    save_file(_optimizer_tensors(model, optimizers), fresh / FILES[1])
    (fresh / FILES[2]).write_text(json.dumps(state, indent=1), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(fresh, folder)


def read_state(folder: Path) -> dict:
    """A checkpoint's state (plan, tokens seen, positions, corpus). Raises ValueError when the folder holds none."""
    missing = [name for name in FILES if not (Path(folder) / name).is_file()]
    if missing:
        raise ValueError(f"{folder} is no checkpoint ({', '.join(missing)} missing): name a folder that training saved")
    return json.loads((Path(folder) / FILES[2]).read_text(encoding="utf-8"))


def load_checkpoint(folder: Path, model: nn.Module, optimizers: dict[str, Optimizer]) -> None:
    """Put a checkpoint's weights and optimizer state in place.

    Raises ValueError when the checkpoint is of a model of another shape.
    """
    load_weights(folder, model)
    stored = load_file(Path(folder) / FILES[1])
    names = {parameter: name for name, parameter in model.named_parameters()}
    for kind, optimizer in optimizers.items():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                prefix = f"{kind}/{names[parameter]}/"
                found = {key[len(prefix) :]: value for key, value in stored.items() if key.startswith(prefix)}
                # A step counter stays on the CPU, where the optimizer keeps it.
                optimizer.state[parameter] = {
                    key: value if value.ndim == 0 else value.to(parameter.device) for key, value in found.items()
                }


def load_weights(folder: Path, model: nn.Module) -> None:
    """Copy the weights in `folder` (any float dtype) into `model`. Raises ValueError when names or shapes differ."""
    file = Path(folder) / FILES[0]
    if not file.is_file():
        raise ValueError(f"no {FILES[0]} in {folder}: name a folder with a trained model")
    stored = load_file(file)
    ours = _weights(model)
    wrong = [name for name in stored.keys() | ours.keys() if _shape(stored, name) != _shape(ours, name)]
    if wrong:
        name = min(wrong)
        raise ValueError(
            f"{folder} holds another model: {name} is {_shape(stored, name)} there and {_shape(ours, name)} here; "
            "name a checkpoint of the same model"
        )
    with torch.no_grad():
        for name, tensor in ours.items():
            tensor.copy_(stored[name])


def _shape(tensors: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter once (tied ones by their first name), as views: writing to them writes to the model."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def _optimizer_tensors(model: nn.Module, optimizers: dict[str, Optimizer]) -> dict[str, Tensor]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{kind}/{names[parameter]}/{key}": value.contiguous()
        for kind, optimizer in optimizers.items()
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }
