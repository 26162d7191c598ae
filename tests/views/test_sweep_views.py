"""The charts of a sweep: their numbers are those of its cells, whether it is finished or has just begun."""

from __future__ import annotations

import json

import pytest

from labkit.errors import LabError
from labkit.trace import Cost, Opening, Request, Step, Trace
from labkit.views import VIEWS, figure, table

NAMES = ["plain", "chain length=2", "<b>chain</b> length=4"]
PLAN = {"names": NAMES, "prompts": 2, "temperatures": [0.0, 0.7], "seeds": [3]}
OF = 12
CELLS = [  # setting, prompt, temperature, tokens, target forwards, seconds, error
    (0, 0, 0.0, 10, 10, 0.2, ""),
    (1, 0, 0.0, 10, 5, 0.1, ""),
    (2, 0, 0.0, 10, 2, 0.3, ""),
    (1, 0, 0.7, 9, 6, 0.18, ""),
    (2, 1, 0.0, 0, 0, 0.0, "The prompt is too long: shorten it."),
]


@pytest.fixture(scope="module")
def sweep() -> Trace:
    trace = Trace(Opening(Request(method="sweep"), charts=["sweep_cells", "sweep_means"]))
    trace.steps = [Step([], notes={"plan": PLAN, "done": 0, "of": OF})]
    for done, (name, prompt, temperature, tokens, forwards, seconds, error) in enumerate(CELLS, 1):
        cell = {"setting": NAMES[name], "prompt": prompt, "temperature": temperature, "seed": 3, "tokens": tokens, "error": error}
        cost = Cost(target_forwards=forwards, seconds=seconds)
        trace.steps.append(Step([], cost=cost, notes={"cell": cell, "done": done, "of": OF}))
    return trace


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("upto", [None, 0, 1, 2, 4])
@pytest.mark.parametrize("name", ["sweep_cells", "sweep_means"])
def test_drawn_at_any_time(sweep, name, upto, look):
    drawn = json.loads(figure(name, [sweep], upto=upto, theme=look))
    assert drawn["layout"]["title"]["text"] and drawn["layout"]["meta"]["words"]
    table.csv_text(name, sweep, upto)


def test_every_field_has_its_number(sweep):
    drawn = VIEWS["sweep_cells"](sweep)
    fields, signs = drawn.data
    assert list(fields.x) == ["1<br>T 0", "1<br>T 0.7", "2<br>T 0", "2<br>T 0.7"]
    assert [list(row) for row in fields.z] == [[1, None, None, None], [3, 2, None, None], [6, None, 0, None]]
    assert list(signs.text) == ["1.0", "·", "·", "·", "2.0", "1.5", "·", "·", "5.0", "·", "×", "·"]
    assert fields.y[2] == "&lt;b&gt;chain&lt;/b&gt; length=4"  # a name is never markup
    assert fields.hovertext[1][1] == "chain length=2, prompt 1, T 0.7: 9 tokens, 1.50 a target forward, 20.0 ms a token"
    assert drawn.layout.meta["words"] == "Tokens a target forward; a dot is still to come. × failed (1): the file says why."
    assert drawn.layout.meta["table"]["rows"][1] == ["chain length=2", "2.0", "1.5", "·", "·"]
    assert table.table("sweep_cells", sweep).rows[-1][-1] == "The prompt is too long: shorten it."


def test_the_file_is_named_when_it_is_there(sweep):
    done = Step([], notes={"table": "/here/cells.parquet", "done": OF, "of": OF})
    words = VIEWS["sweep_cells"](Trace(sweep.opening, [*sweep.steps, done])).layout.meta["words"]
    assert "still to come" not in words and words.endswith("pandas.read_parquet('/here/cells.parquet')")


def test_medians_over_the_cells_that_wrote(sweep):
    rows = {row[0]: row[1:] for row in table.table("sweep_means", sweep).rows}
    assert rows["chain length=2"] == pytest.approx((2, 1.75, 1.5, 2.0, 0, 15, 10, 20))
    assert rows[NAMES[2]] == pytest.approx((1, 5, 5, 5, 0, 30, 30, 30))  # the failed one is no zero
    words = VIEWS["sweep_means"](sweep).layout.meta["words"]
    assert "Fewest target forwards: <b>chain</b> length=4, 5.0 tokens each" in words
    assert "Least time here: chain length=2, 15.0 ms a token" in words


def test_another_trace_is_refused():
    other = Trace(Opening(Request(method="plain")), [Step([1])])
    with pytest.raises(LabError, match="draws the notes of another method"):
        figure("sweep_cells", [other])
