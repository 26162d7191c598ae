"""Long traces, made by repeating the steps of a short one, and how quick a page is with one of them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from labkit.trace import Request, Trace, load

TOKENS = 100_000
SHORT = 500  # tokens that the shipped pair writes for it
KINDS = {"plain": "entropy", "token-recycling": "draft_trees"}  # what wrote it, and the page that opens it
STANDS = """() => {
  const { state, at, steps } = document.querySelector(".tl").dataset;
  return state === "done" && at === steps && document.querySelector(".tl-lane [data-id]");
}"""


def lengthen(short: Trace, tokens: int) -> Trace:
    """A trace of at least `tokens` new tokens; what a step filled in any order moves on by the length of the text.

    Raises `ValueError` when `short` has no new tokens.
    """
    size = len(short.ids)
    if not size:
        raise ValueError("A trace without new tokens cannot be lengthened.")
    rounds = -(-tokens // size)
    steps = list(short.steps)
    for turn in range(1, rounds):
        for step in short.steps:
            at = None if step.at is None else [place + turn * size for place in step.at]
            steps.append(msgspec.structs.replace(step, at=at, pieces={}))
    request: Request = msgspec.structs.replace(short.opening.request, max_new_tokens=rounds * size)
    return Trace(msgspec.structs.replace(short.opening, request=request), steps, short.closing)


def record(folder: Path, method: str, prompt: str) -> Path:
    """A packed trace of `TOKENS` tokens: what the shipped pair writes with `method`, repeated. Its path in `folder`."""
    short, long = folder / f"{method}.json", folder / f"{method}.json.gz"
    command = [sys.executable, "-m", "labkit.cli", "decode", "--method", method, "--prompt", prompt, "--trace", str(short)]
    settings = ["--max-new-tokens", str(SHORT), "--temperature", "0.8", "--seed", "1", "--json"]
    subprocess.run([*command, *settings], check=True, stdout=subprocess.DEVNULL)
    lengthen(load(short), TOKENS).save(long)
    return long


def open_file(tab: Any, file: Path) -> float:
    """Give the bench in `tab` a trace file by its menu; the seconds until its last token stands on the strip."""
    tab.wait_for_selector(".tl[data-engine='here']", timeout=60_000)
    tab.get_by_role("button", name="Take away…", exact=True).click()
    start = time.perf_counter()
    tab.locator(".tl input[type=file]").set_input_files(file)
    tab.wait_for_function(STANDS, timeout=120_000)
    spent = time.perf_counter() - start
    tab.keyboard.press("Escape")
    return spent


def write_csv(tab: Any) -> float:
    """The seconds until the tokens are a file."""
    tab.get_by_role("button", name="Take away…", exact=True).click()
    start = time.perf_counter()
    with tab.expect_download(timeout=120_000) as waiting:
        tab.get_by_role("button", name="Save the tokens as CSV", exact=True).click()
    waiting.value.path()
    return time.perf_counter() - start
