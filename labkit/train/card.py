"""The model card of a pair: what the weights are, what text they come from, what they measure, what they can't do."""

from pathlib import Path

from labkit.train.release import read_json, weights_digest

_TOP = """\
# The shipped pair

Two small Llama-style language models of Python code that share a tokenizer (byte-level BPE, 4,096 entries, frozen):
`target/`, and `draft/`, which guesses what the target will say. They exist so that every method of the lab runs at
once, offline, on a laptop's CPU. Weights are safetensors in bfloat16; load them in float32.

| | target | draft |
|---|---|---|
| shape | 8 layers, width 256, 4 query / 2 key-value heads of 64, SwiGLU 704, tied embeddings | \
2 layers, width 128, 2 / 1 heads of 64, SwiGLU 352, tied |
| parameters | 6.95 M | 0.90 M |
| context | 2,048 tokens | 2,048 tokens |
"""

_LIMITS = """\
## Limits

The samples look like Python and say little: names, indentation, docstrings and idioms are right, the meaning drifts
after a line or two. Greedy text repeats itself, which flatters methods that look for repetition. Nothing but Python
source was learned, so prose in other languages comes out as noise. Don't use the output as code. A model that has seen
so little text memorises little, but phrases of often repeated files (licence headers, import blocks) do come back.
"""

_REBUILD = """\
## Rebuild

```
labkit train pair --minutes 240                                  # on a CPU, from random weights
labkit train pair --tokens 500000000 --device cuda    # on a GPU
labkit train target --tokens 20000000 --init data/models/target --rate 0.0012     # continue the shipped weights
labkit train figures                        # measure the pair again and rewrite this card
```

The text is the Python standard library and this project's dependencies as they are installed, so other versions give a
slightly different corpus. The same corpus, seed, thread count and machine give the same weights.
"""


def write_card(folder: Path) -> None:
    """Write `folder`/README.md from the `training.json` and `figures.json` of `folder`/target and `folder`/draft.

    A part in `folder`/parts brings its own words, as "card" in its JSON.
    Raises ValueError when one of the two holds no weights.
    """
    folder = Path(folder)
    roles = {role: folder / role for role in ("target", "draft")}
    digests = {role: weights_digest(place) for role, place in roles.items()}
    runs = {role: read_json(place, "training.json").get("runs", []) for role, place in roles.items()}
    found = {role: read_json(place, "figures.json") for role, place in roles.items()}
    parts = [_TOP + _row("SHA-256 of the weights", *(f"`{digests[role][:16]}…`" for role in roles))]
    parts.append("## How they were trained\n\n" + "\n".join(_history(role, runs[role], digests) for role in roles))
    if all(found.values()):
        parts.append(_measures(found["target"], found["draft"], digests["target"]))
    parts.append(_text([*runs["target"], *runs["draft"]]))
    parts += [_trained_parts(folder / "parts"), *map(_part, _with_more(folder / "parts")), _REBUILD, _LIMITS]
    (folder / "README.md").write_text("\n".join(parts), encoding="utf-8")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _history(role: str, runs: list[dict], digests: dict[str, str]) -> str:
    """The runs that led to one model, in order."""
    lines = [f"**{role.capitalize()}** ({sum(run['tokens'] for run in runs) / 1e6:.1f} M tokens in all):\n"]
    for number, run in enumerate(runs, start=1):
        if "note" in run:
            lines.append(f"{number}. {run['note']}")
            continue
        plan = run["plan"]
        text = (
            f"{number}. {run['tokens'] / 1e6:.1f} M tokens in {run['minutes']:.0f} minutes ({run['device']}, "
            f"{run['dtype']}, PyTorch {run['torch']}): Muon + AdamW, peak rate {plan['rate']:g}, batches of "
            f"{plan['batch']:,} tokens, seed {plan['seed']}; windows of 512 tokens up to "
            f"{plan['decay_from'] / 1e6:.1f} M tokens, then of 2,048, {_needles_in(plan)}, while the rate falls to zero."
        )
        if teacher := run.get("teacher"):
            which = "this target" if teacher["sha256"] == digests["target"] else "an earlier target"
            text += f" It learned {teacher['share']:.0%} from {which}'s next-token distributions, the rest from text."
        lines.append(text)
    return "\n".join(lines) + "\n"


def _needles_in(plan: dict) -> str:
    every = plan.get("needles_every")  # runs before it was a choice drew their windows anywhere in the needles
    return "every third batch needles" if every is None else f"one batch in {every} of long needles, their values weighted"


def _measures(target: dict, draft: dict, digest: str) -> str:
    """The figures as tables."""
    text = f"## What they measure\n\nOn {target['held_out_files']} held-out files, float32, the whole distribution.\n\n"
    text += _row("", "target", "draft") + "|---|---|---|\n"
    for length in target["loss"]:
        losses = [of["loss"][length] for of in (target, draft)]
        cells = [f"{loss['nats_per_token']:.3f} nats/token ({loss['bits_per_byte']:.3f} bits/byte)" for loss in losses]
        text += _row(f"loss, windows of {int(length):,}", *cells)
    for name, of_target in target["needles"].items():
        cells = [f"{of['accuracy']:.2f}" if of["cases"] else "-" for of in (of_target, draft["needles"][name])]
        text += _row(f"needles given back, {name} tokens later ({of_target['cases']} cases)", *cells)
    pair = draft["with_target"]
    if pair["sha256"] != digest:
        return text + "\nThe pair was not measured together: run `labkit train figures`.\n"
    alphas = ", ".join(f"{pair[f'alpha_{t}']:.3f} at temperature {t}" for t in (1.0, 0.7))
    return text + (
        f"\nTogether: acceptance rate alpha (mean of the sum of min(p, q)) {alphas}; the same first choice at "
        f"{pair['argmax']:.1%} of positions.\n"
    )


def _trained_parts(folder: Path) -> str:
    """What goes with the pair (`labkit.parts`), by the "summary" in each part's figures."""
    text = "## Trained parts\n\nEach fits the weights named; `labkit train NAME` makes it, its `.json` holds its figures.\n\n"
    text += _row("part", "for", "size", "what it is and measured") + "|---|---|---|---|\n"
    for file in sorted(folder.glob("*.json")):
        figures, weights = read_json(folder, file.name), file.with_suffix(".safetensors")
        model = figures["model"] or "itself"
        text += _row(file.stem, model, f"{weights.stat().st_size / 1000:.0f} kB", figures.get("summary", ""))
    return text


def _with_more(folder: Path) -> list[Path]:
    """The parts whose figures hold a "card", a text that does not fit into a row."""
    return [file for file in sorted(folder.glob("*.json")) if "card" in read_json(folder, file.name)]


def _part(file: Path) -> str:
    """What the trainer of a part says about it."""
    return f"## Trained part `{file.stem}`\n\n{read_json(file.parent, file.name).get('card', '')}"


def _text(runs: list[dict]) -> str:
    """Where the text comes from, with every source's version and licence."""
    corpora = [run["corpus"] for run in runs if "corpus" in run]
    rules = (
        "## The text\n\nPython source that every install has: the standard library and dependencies of this project "
        "whose licence is permissive. Each file once, by content hash; tables of data and very short or long files "
        "left out; one file in a hundred held out, chosen by the hash of its content; 30 % of documents in "
        'fill-in-the-middle form; 6 % of tokens "assign early, use late" needles made over that code.\n'
    )
    if not corpora:
        return rules
    last = corpora[-1]
    rules += (
        f"\nThe last run's corpus (`{last['fingerprint']}`): {last['files']['train']:,} files, "
        f"{last['characters']['train'] / 1e6:.0f} M characters, {last['tokens']['train'] / 1e6:.1f} M tokens.\n\n"
    )
    table = _row("source", "version", "licence, as its metadata states it") + "|---|---|---|\n"
    for name, source in sorted(last["sources"].items()):
        stated = source["licence"].replace("License :: OSI Approved :: ", "")
        table += _row(name, source["version"], stated if len(stated) < 120 else stated[:117] + "…")
    return rules + table
