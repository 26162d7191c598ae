"""What all tests share: the shipped pair, small random ones, held-out prompts; quick tests first, browsers last."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # busy cores make OpenMP's threads wait for each other

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiny_models
import torch
from hypothesis import HealthCheck, settings

from labkit.models import load, load_model
from labkit.paths import DATA
from labkit.run import run
from labkit.trace import Request, Trace

LAST = ("notebooks", "load", "browser")  # folders under tests/, slowest at the end
TAUGHT = ("adadec", "del", "specdec++")  # methods with parts learnt for the shipped pair, or knobs that count its layers
LENGTHS = (16, 32, 48)  # prompts are cut to these, so that a batch needs no padding

torch.set_num_threads(1)
# a busy machine is no failure: nothing is judged by its time
settings.register_profile("lab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lab")


_run = asyncio.run


def _run_anywhere(main, **options):
    """`asyncio.run`, in another thread where the browser of an earlier test keeps a loop in this one."""
    try:
        asyncio.get_running_loop()
        here = False
    except RuntimeError:
        here = True
    if here:
        return _run(main, **options)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_run, main, **options).result()


asyncio.run = _run_anywhere


def pytest_collection_modifyitems(items):
    """Order by folder; within a folder the order stays."""
    root = Path(__file__).parent

    def place(item):
        folder = item.path.relative_to(root).parts[0] if item.path.is_relative_to(root) else ""
        return LAST.index(folder) if folder in LAST else -1

    items.sort(key=place)


@pytest.fixture(scope="session")
def shipped32():
    """The shipped pair in float32."""
    return load("lab-target", "lab-draft", "cpu", "float32")


@pytest.fixture(scope="session")
def shipped64():
    """The shipped pair in float64, where argmaxes do not hang on rounding."""
    return load("lab-target", "lab-draft", "cpu", "float64")


@pytest.fixture(scope="session")
def quick64(tmp_path_factory):
    """The shipped draft as a target and a shaken copy as its draft, in float64: text and refusals like the pair's."""
    shaken = tiny_models.shaken(load_model("lab-draft", torch.device("cpu"), torch.float64), 0.2)
    return load("lab-draft", str(tiny_models.save(shaken, tmp_path_factory.mktemp("quick"))), "cpu", "float64")


@pytest.fixture
def fitting(method, shipped64, quick64):
    """What a method (a parameter of the test) runs on: the quick pair, unless it was taught on the shipped one."""
    return shipped64 if method in TAUGHT else quick64


@pytest.fixture(scope="session", params=tiny_models.STYLES)
def tiny_pair(request, tmp_path_factory):
    """A small random pair of every style, saved and loaded as a person's own model would be, in float64."""
    folder = tmp_path_factory.mktemp("tiny")
    model = tiny_models.tiny(request.param)
    target = tiny_models.save(model, folder / "target")
    draft = tiny_models.save(tiny_models.shaken(model, 0.02), folder / "draft")
    return load(str(target), str(draft), "cpu", "float64")


@pytest.fixture(scope="session")
def prompts(shipped32) -> list[list[int]]:
    """Held-out prompts as tokens, each cut to one of a few lengths."""
    texts = [item["text"] for item in json.loads((DATA / "prompts" / "heldout.json").read_text())]
    ids = [shipped32.vocabulary.encode(text) for text in texts]
    return [
        prompt[: max(length for length in LENGTHS if length <= len(prompt))]
        for prompt in ids
        if len(prompt) >= LENGTHS[0]
    ]


@pytest.fixture(scope="session")
def greedy_text():
    """`greedy_text(pair, prompts, tokens)`: `generate`'s text at temperature 0, in float64; computed once."""
    known: dict[tuple, list[int]] = {}

    def write(pair, prompts: list[list[int]], tokens: int = 64) -> list[list[int]]:
        def key(prompt):
            return pair.target_name, tokens, tuple(prompt)

        missing = [prompt for prompt in prompts if key(prompt) not in known]
        if missing:
            model = load_model(pair.target_name, torch.device("cpu"), torch.float64)
            for length in {len(prompt) for prompt in missing}:
                batch = [prompt for prompt in missing if len(prompt) == length]
                out = model.generate(
                    torch.tensor(batch),
                    attention_mask=torch.ones(len(batch), length, dtype=torch.long),
                    max_new_tokens=tokens,
                    do_sample=False,
                )
                for prompt, row in zip(batch, out[:, length:].tolist()):
                    stops = [place for place, token in enumerate(row) if token in pair.ends]
                    known[key(prompt)] = row[: stops[0] + 1] if stops else row
        return [known[key(prompt)] for prompt in prompts]

    return write


@pytest.fixture(scope="session")
def traced():
    """`traced(pair, method, **request)`: a whole run as a trace."""

    def trace(pair, method: str, **more) -> Trace:
        events = run(pair, Request(method=method, **more))
        whole = Trace(next(events))
        for event in events:
            whole.add(event)
        return whole

    return trace


@pytest.fixture(scope="session")
def once(traced):
    """As `traced`, for runs that several tests look at and none changes: each is made once."""
    known: dict[tuple, Trace] = {}

    def trace(pair, method: str, **more) -> Trace:
        key = pair.target_name, pair.draft_name, str(pair.target.dtype), pair.target.context, method, repr(more)
        if key not in known:
            known[key] = traced(pair, method, **more)
        return known[key]

    return trace
