"""`labkit bench tensorbleu`: BLEU of a batch in tensors (P046), beside NLTK and sacrebleu, which go sentence by sentence.

Candidates are pieces of held-out code, references the same with a third of the tokens drawn anew. All score every batch in turn,
in one run; what is printed are medians, and the median of the rounds' ratios. They must agree, and the bench says how well.
Freed memory is kept for the next use, as in training, where such scores are wanted: without that, pages are asked for anew in
every round, and tensors lose a quarter of their lead. Never run on a GPU.
"""

from __future__ import annotations

import json
import logging
import statistics
import time
from typing import Annotated, Any, Callable

import torch
import typer

from labkit.bench import contenders as common
from labkit.errors import KnobError
from labkit.models import device_of, folder_of
from labkit.prompts import heldout
from labkit.tokenization.tensor_bleu import sentence_bleu
from labkit.train.device import keep_freed_memory

CHANGED = 0.3  # of a reference's tokens
SMOOTHING = "floor"  # one that all three have
COLUMNS = {"ms": "ms a batch", "sentences_per_second": "sentences/s", "vs_nltk": "x NLTK"}


def batch_of(sentences: int, length: int, references: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Candidates [B, L] and references [B, R, L], token ids of held-out code."""
    from tokenizers import Tokenizer

    tokenizer, rng = Tokenizer.from_file(str(folder_of("lab-target") / "tokenizer.json")), torch.Generator().manual_seed(seed)
    ids = torch.tensor([token for text in heldout(120) for token in tokenizer.encode(text).ids])
    starts = torch.randint(len(ids) - length, (sentences, 1), generator=rng)
    candidates = ids[starts + torch.arange(length)]
    others = ids[torch.randint(len(ids), (sentences, references, length), generator=rng)]
    kept = torch.rand(sentences, references, length, generator=rng) >= CHANGED
    return candidates, torch.where(kept, candidates[:, None], others)


def scorers(candidates: torch.Tensor, references: torch.Tensor, device: str) -> dict[str, Callable[[], list[float]]]:
    """Who scores the batch, each with its own kind of input at hand. Raises `KnobError` where a library is not installed."""
    try:
        from nltk.translate.bleu_score import SmoothingFunction
        from nltk.translate.bleu_score import sentence_bleu as nltk
        from sacrebleu.metrics import BLEU
    except ImportError as missing:
        raise KnobError(f"This bench compares with {missing.name}: install the extra `test`, which has it.") from None
    logging.getLogger("sacrebleu").setLevel(logging.ERROR)
    judge, smooth = BLEU(tokenize="none", smooth_method=SMOOTHING), SmoothingFunction(epsilon=0.1).method1
    rows, inner = candidates.tolist(), references.tolist()
    words = [(" ".join(map(str, row)), [" ".join(map(str, other)) for other in others]) for row, others in zip(rows, inner)]
    candidates, references = candidates.to(device), references.to(device)
    return {
        "TensorBLEU": lambda: sentence_bleu(candidates, references, smoothing=SMOOTHING).tolist(),
        "NLTK": lambda: [nltk(others, row, smoothing_function=smooth) for row, others in zip(rows, inner)],
        "sacrebleu": lambda: [judge.sentence_score(row, others).score / 100 for row, others in words],
    }


def bench(sentences: int = 512, length: int = 64, references: int = 1, repeats: int = 9, device: str = "") -> dict[str, Any]:
    """Time the three on one batch; plain data, one row each. The first round warms up and is thrown away."""
    place = device_of(device)
    keep_freed_memory()
    playing = scorers(*batch_of(sentences, length, references), str(place))
    spent: dict[str, list[float]] = {name: [] for name in playing}
    scores = {}
    for turn in range(repeats + 1):
        for name, run in playing.items():
            began = time.perf_counter()
            scores[name] = run()
            spent[name] += [time.perf_counter() - began] if turn else []
    rows = []
    for name, times in spent.items():
        row = {"name": name, "ms": 1e3 * statistics.median(times), "sentences_per_second": sentences / statistics.median(times)}
        row["vs_nltk"] = statistics.median(theirs / mine for mine, theirs in zip(times, spent["NLTK"]))
        row["apart"] = max(abs(one - two) for one, two in zip(scores[name], scores["TensorBLEU"]))
        rows.append(row)
    about = {"sentences": sentences, "length": length, "references": references, "rounds": repeats, "smoothing": SMOOTHING}
    return {**about, "device": str(place), "threads": torch.get_num_threads(), "rows": rows}


app = typer.Typer(add_completion=False)


@app.command()
def main(
    batch: Annotated[int, typer.Option(min=1, help="sentences")] = 512,
    length: Annotated[int, typer.Option(min=4, max=2048, help="tokens a sentence")] = 64,
    references: Annotated[int, typer.Option(min=1, max=8, help="for each sentence")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="rounds")] = 9,
    device: common.Device = "", threads: common.Threads = 0, as_json: common.Json = False,
) -> None:  # fmt: skip
    """Time BLEU of a batch against NLTK and sacrebleu.

    Example: labkit bench tensorbleu --batch 512 --threads 1 --json
    """
    if threads:
        torch.set_num_threads(threads)
    result = bench(batch, length, references, repeats, device)
    if as_json:
        return print(json.dumps(result, indent=1))
    console = common.paper()
    sizes = f"{batch} sentences of {length} tokens, {references} reference{'s' * (references > 1)} each"
    where = f"{result['device']}, {result['threads']} threads; medians of {repeats} rounds, in turn"
    console.print(f"{sizes}; {where}", soft_wrap=True)
    console.print(common.table("sentence BLEU", COLUMNS, result["rows"]))
    console.print(f"Two scores of a sentence differ by at most {max(row['apart'] for row in result['rows']):.0e}.")
