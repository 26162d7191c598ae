"""Training the shipped models from text that every install has. The lab needs only `corpus` of it, for studies that train.

`train` is the entry point; `labkit train` is its command line.
"""

from pathlib import Path


def train(what: str = "pair", out: Path | str = "data/models", **choices) -> Path:
    """Train "pair", "target" or "draft" and write the model folder(s) under `out`; returns where.

    `choices` are those of `labkit.train.runs.train_model`: `tokens` or `minutes` as a budget, `device` ("cpu", "cuda"),
    `threads`, `seed`, `rate`, `decay`, `needles_every`, `init`, `resume`, `teacher`, `tokenizer`, `report`. Raises
    ValueError for a bad choice.
    """
    from labkit.train import runs

    if what == "pair":
        for name in ("init", "resume", "teacher"):
            if choices.pop(name, None) is not None:
                raise ValueError(f"{name} is for one model: train 'target' and 'draft' one by one")
        return runs.train_pair(Path(out), **choices)
    if what not in ("target", "draft"):
        raise ValueError(f"can't train {what!r}: choose 'pair', 'target' or 'draft'")
    return runs.train_model(what, Path(out), **choices)
