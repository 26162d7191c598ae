"""Held-out prompts: beginnings of files that the shipped models were not trained on."""

from __future__ import annotations

import json

from labkit.errors import LabError
from labkit.paths import DATA


def heldout(count: int) -> list[str]:
    """The first `count` held-out prompts. Raises `LabError` when there are not so many."""
    prompts = json.loads((DATA / "prompts" / "heldout.json").read_text())
    if not 1 <= count <= len(prompts):
        raise LabError(f"{count} prompts are asked for: choose 1 to {len(prompts)}.")
    return [prompt["text"] for prompt in prompts[:count]]


def topics() -> dict[str, list[str]]:
    """Two narrow topics, each a list of places in one held-out file, in an order that stays: what streams are made of."""
    found = json.loads((DATA / "prompts" / "topics.json").read_text())
    return {name: topic["prompts"] for name, topic in found.items()}


def attributes() -> list[dict[str, str]]:
    """Places behind a dot in held-out files: "before" it, "after" the function it stands in, the "name" that was written."""
    return json.loads((DATA / "prompts" / "attributes.json").read_text())


def extraction(part: str = "questions") -> list[dict[str, str]]:
    """Questions about held-out code, or the "examples" for their prompts: "kind", "document", "asks", "answer", "source"."""
    return json.loads((DATA / "prompts" / "extraction.json").read_text())[part]


def needles() -> list[dict]:
    """Values assigned early and asked for late in held-out code: "text" up to the question, "answer", "distance" in tokens."""
    return json.loads((DATA / "prompts" / "needles.json").read_text())
