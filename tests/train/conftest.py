"""A small corpus of random ids, so that no test reads the installed packages."""

from pathlib import Path

import numpy as np
import pytest

from labkit.train.tokenizer import END_OF_TEXT, load_tokenizer
from labkit.train.tokens import TokenSet

MODELS = Path(__file__).resolve().parents[2] / "data" / "models"


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer(MODELS / "target")


@pytest.fixture(scope="session")
def token_set() -> TokenSet:
    rng = np.random.default_rng(0)
    ids = [rng.integers(64, 4096, size, dtype=np.uint16) for size in (9000, 7000, 5000)]
    train, needles, held_out = ids
    needles[::1500] = END_OF_TEXT  # documents long enough to be asked about
    asked = (np.arange(len(needles)) % 500 == 400).astype(np.uint8)
    manifest = {"fingerprint": "random", "files": {"held_out": 1}}
    return TokenSet(train, needles, asked, held_out, held_out_needles=[], manifest=manifest)
