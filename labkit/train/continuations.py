"""Text in the target's own words: windows of a corpus, continued by sampling, kept as shards so that a stop costs little."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from labkit.train.device import fast_dtype
from labkit.train.tokenizer import PAD
from labkit.train.tokens import Windows

PROMPT, NEW = 64, 192  # tokens: read from the corpus, written by the model
ROWS = 64  # windows a shard


@torch.inference_mode()
def continuation(model, prompts: Tensor, seed: int) -> Tensor:  # int64 [rows, PROMPT] -> [rows, PROMPT + NEW]
    """`prompts`, each continued by NEW tokens drawn from `model` at temperature 1; an end of text does not end it."""
    model.generation_config.eos_token_id = None
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        return model.generate(
            prompts, attention_mask=torch.ones_like(prompts), do_sample=True, top_k=0, max_new_tokens=NEW, pad_token_id=PAD
        )


def continuations(runner, corpus: np.ndarray, shards: int, seed: int, folder: Path, report: Callable[[str], None]) -> Tensor:
    """`shards` times ROWS windows of `corpus` continued by the runner's model: int64 [shards * ROWS, PROMPT + NEW].

    Shards that lie in `folder` are read, the others are made, each with a seed of its own. Sampled in the device's fast
    dtype: that is what the text is made of, not what is measured on it.
    """
    windows, model = Windows(corpus, PROMPT, seed), None
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number in range(shards):
        file = folder / f"text-{number:03d}.safetensors"
        if not file.is_file():
            if model is None:
                model = runner.fresh().to(fast_dtype(runner.device))
            prompts = torch.from_numpy(windows.batch(number * ROWS, ROWS)[:, :PROMPT]).to(runner.device)
            made = continuation(model, prompts, seed * 1_000_003 + number)
            save_file({"ids": made.to("cpu", torch.int32)}, file.with_suffix(".new"))
            file.with_suffix(".new").replace(file)
            report(f"target's text: {number + 1} of {shards} shards, {ROWS * NEW * (number + 1) / 1e6:.2f} M tokens")
        found.append(load_file(file)["ids"].long())
    return torch.cat(found)
