"""A small corpus of random ids, so that no test reads the installed packages."""

from pathlib import Path

import numpy as np
import pytest

from labkit.train.tokenizer import load_tokenizer
from labkit.train.tokens import TokenSet

MODELS = Path(__file__).resolve().parents[2] / "data" / "models"


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer(MODELS / "target")


@pytest.fixture(scope="session")
def token_set() -> TokenSet:
    rng = np.random.default_rng(0)
    ids = [rng.integers(64, 4096, size, dtype=np.uint16) for size in (9000, 7000, 5000)]
    return TokenSet(*ids, held_out_needles=[], manifest={"fingerprint": "random", "files": {"held_out": 1}})
