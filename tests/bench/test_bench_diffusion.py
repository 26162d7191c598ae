"""The bench of unmasking: who is above the threshold rule's line, and that its rows count what was decoded."""

from __future__ import annotations

import pytest

from labkit.bench.diffusion import COLUMNS, QUALITIES, above, bench
from labkit.models import load


def rows(*points: tuple[str, float, float]) -> dict:
    return {name: {"pace": pace, "right": right} for name, pace, right in points}


@pytest.mark.parametrize(
    ("pace", "right", "better"),
    [
        (1.5, 0.81, True), (1.5, 0.79, False), (2.0, 0.6, False), (2.0, 0.61, True), (3.0, 0.5, False), (3.0, 0.7, True),
        (0.5, 0.9, False),
    ],
)  # fmt: skip
def test_above_the_line(pace, right, better):
    """The rule at two bars: (1, 1.0) and (2, 0.6); between them 0.8 at 1.5; beyond its ends its last points count."""
    found = rows(("threshold", 1.0, 1.0), ("threshold 0.5", 2.0, 0.6), ("other", pace, right))
    assert above("other", found, "right", "pace") == better


def test_rows_hold_every_column_once():
    turns = []
    result = bench(load(draft="none"), texts=1, room=8, problems=2, tell=lambda done, of: turns.append((done, of)))
    assert turns[-1][0] <= turns[-1][1] and [done for done, _ in turns] == list(range(1, len(turns) + 1))
    by_name = {row.pop("name"): row for row in result["rows"]}
    assert set(by_name["threshold"]) == set(COLUMNS)
    assert by_name["1 a round"]["same"] == 1.0
    assert by_name["1 a round"]["infill_pace"] == pytest.approx(1) and by_name["4 a round"]["infill_pace"] == pytest.approx(4)
    assert by_name["FreeDave"]["infilled"] == by_name["1 a round"]["infilled"]
    assert set(result["above the rule"]) == set(QUALITIES)
