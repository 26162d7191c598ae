"""A stop head for models that none was trained for: random, so that chains stop here and there, whatever is written."""

from __future__ import annotations

import pytest
import torch

from labkit import parts
from labkit.models import SHIPPED
from labkit.speculative import stopping


def random_head(width: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Judgements that vary a lot from state to state."""
    rng = torch.Generator().manual_seed(seed)
    head = {"blocks": torch.randn(2, width, width, generator=rng) / width**0.5, "shifts": torch.zeros(2, width)}
    head["out"] = torch.randn(2, width + 1, generator=rng) / width**0.5
    return head


@pytest.fixture(autouse=True, scope="session")
def a_head_for_every_draft():
    """`labkit.parts` gives a random stop head where the real one does not fit; the shipped pair keeps its own."""
    trained = parts.load

    def load(name, runner, *more):
        if name != stopping.PART or getattr(runner, "name", "") in SHIPPED:
            return trained(name, runner, *more)
        ids = torch.zeros(1, dtype=torch.long)
        width = runner.forward(ids, ids, None, runner.new_cache(), 0, True)[1].shape[-1]
        return {f"{kind}.{key}": of for kind in stopping.HEADS for key, of in random_head(width).items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "load", load)
        yield
