"""The pictures of DHSA and of the heads: their numbers are those of the trace, at any step and in both themes."""

from __future__ import annotations

import pytest

from labkit import views
from labkit.run import run
from labkit.trace import Request, Trace
from labkit.views import dhsa_cuts, dhsa_maps, dhsa_recall, heads_map

PROMPT = "class Config:\n    limit = 2485\n    name = 'alpha'\n\n\ndef size(self):\n    return self.limit\nassert Config.limit =="
NAMES = ["dhsa_cuts", "dhsa_maps", "dhsa_recall", "heads_map"]


def ran(pair, method, **knobs):
    trace = Trace(None)
    for event in run(pair, Request(method=method, prompt=PROMPT, max_new_tokens=4, knobs=knobs)):
        trace.add(event)
    return trace


@pytest.fixture(scope="module")
def cut(shipped32):
    return ran(shipped32, "dhsa", cuts="lines", budget=0.5, local=0)


@pytest.fixture(scope="module")
def caught(shipped32):
    return ran(shipped32, "dhsa-recall", texts=2)


@pytest.fixture(scope="module")
def looked(shipped32):
    return ran(shipped32, "heads", policy="H2O", tokens=3)


@pytest.mark.parametrize("upto", [1, 3, None])
def test_chunks_part_the_text_and_hold_what_is_read(cut, upto):
    notes = cut.steps[(upto or len(cut.steps)) - 1].notes
    table = dhsa_cuts.rows(cut, upto)
    assert sum(row[3] for row in table) == notes["fed"]
    assert sum(row[4] for row in table) == round(0.5 * notes["fed"])
    assert [row[1] for row in table] == notes["edges"][:-1] and table[-1][2] == notes["fed"] - 1
    assert table[0][5] == "class·Config:↵····"
    figure = views.view("dhsa_cuts")(cut, upto, theme="dark")
    text, others, marks = figure.data[:3]
    letters = sum(len(cut.pieces[token]) for token in (cut.opening.prompt_ids + cut.ids)[: notes["fed"]])
    assert (text.name, others.name, marks.name) == ("read", "not read", "cuts")
    assert len(text.x) + len(others.x) == letters and marks.x.count(None) == len(notes["edges"]) - 2
    assert f"{round(0.5 * notes['fed'])} of {notes['fed']} tokens" in figure.layout.meta["words"]


def test_maps_add_up(cut):
    prompt = cut.steps[0].notes["prompt"]
    size = len(cut.opening.prompt_ids)
    assert prompt["dense"]["width"] == 1 and len(prompt["dense"]["rows"]) == size  # short enough for a cell each
    for row, given in enumerate(prompt["dense"]["rows"]):
        assert len(given) == row + 1 and sum(given) == pytest.approx(1000, abs=row / 2 + 1)  # each was rounded
    shares = dhsa_maps.shares(prompt["kept"])
    assert {share for row in shares for share in row} == {0.0, 1.0}
    for row in range(48, size):
        block = min(size, 16 * (row // 16 + 1))
        inside = sum(shares[row][: 16 * (row // 16)])
        assert inside == max(round(0.5 * block), 4 + block - 16 * (row // 16)) - (block - 16 * (row // 16))
    figure = views.view("dhsa_maps")(cut, 1)
    assert [list(row[: number + 1]) for number, row in enumerate(figure.data[1].z)] == shares
    assert [sum(row[: number + 1]) for number, row in enumerate(figure.data[0].z)] == [
        pytest.approx(sum(row) / 1000) for row in prompt["dense"]["rows"]
    ]
    written = views.view("dhsa_maps")(cut, 3).data[2]
    assert set(written.y) - {None} == {size, size + 1}  # a row for each query behind the prompt
    read = sum(high - low for low, high in zip(written.x[::3], written.x[1::3]))
    assert read == sum(round(0.5 * step.notes["fed"]) for step in cut.steps[1:3])
    assert len(dhsa_maps.rows(cut)) >= sum(map(sum, shares))
    coarse = {"width": 3, "length": 7, "rows": [[2000], [3000, 1000], [0, 1500, 1000]]}
    assert dhsa_maps.shares(coarse) == [[1.0], [1.0, 0.5], [0.0, 0.5, 1.0]]


def test_letters_are_laid_line_by_line():
    found = [(number, line, column) for number, line, column, _ in dhsa_cuts.laid(["ab", "\n", "cdef"], 3)]
    assert found == [(0, 0, 0), (0, 0, 1), (1, 0, 2), (2, 1, 0), (2, 1, 1), (2, 1, 2), (2, 2, 0)]


@pytest.mark.parametrize("upto", [1, None])
def test_recall_and_gains(caught, upto):
    notes = caught.steps[(upto or 2) - 1].notes
    table = dhsa_recall.rows(caught, upto)
    assert len(table) == 14 * len(notes["budgets"])
    ways = {(one["cuts"], one["norm"]): one["recall"] for one in notes["results"]}
    given = {(*way, budget): recall for way, row in ways.items() for budget, recall in zip(notes["budgets"], row)}
    for cuts, norm, budget, recall, gain, *_ in table:
        assert recall == given[cuts, norm, budget]
        assert gain == pytest.approx(recall - given["newest tokens", "", budget])
    figure = views.view("dhsa_recall")(caught, upto)
    drawn = {one.name: one for one in figure.data}
    assert list(drawn["oracle"].y) == [given["oracle", "mean", budget] for budget in notes["budgets"]]
    assert list(drawn["sum"].y) == ["predicted", "oracle", "lines", "fixed size"]
    assert drawn["sum"].x[1] == pytest.approx(100 * (given["oracle", "sum", 0.25] - given["newest tokens", "", 0.25]))
    assert f"the best ones hold {given['best tokens', '', 0.25]:.0%}" in figure.layout.meta["words"]


@pytest.mark.parametrize("upto", [1, 2, None])
def test_heads_look_where_the_notes_say(looked, upto):
    notes = looked.steps[(upto or 3) - 1].notes
    table = heads_map.rows(looked, upto)
    assert [(row[0], row[1]) for row in table] == [(layer, head) for layer in range(8) for head in range(4)]
    for layer, head, _, _, most, theirs, share in table:
        dense = notes["dense"][layer][head]
        assert most == max(dense) / 1000 and share == notes["caught"][layer][head] <= 1 + 1e-6
        assert sum(dense) == pytest.approx(1000, abs=30) and sum(notes["sparse"][layer][head]) == pytest.approx(1000, abs=30)
        assert theirs == notes["sparse"][layer][head][dense.index(max(dense))] / 1000
    figure = views.view("heads_map")(looked, upto, theme="dark")
    assert [sum(row) for row in figure.data[0].z] == pytest.approx([1] * 32, abs=0.03)
    assert list(figure.data[2].x) == [row[6] for row in table]
    worst = min(table, key=lambda row: row[6])
    assert f"layer {worst[0]}, head {worst[1]} only {worst[6]:.0%}" in figure.layout.meta["words"]


def test_the_prompt_is_read_whole_and_what_is_evicted_is_out_of_sight(shipped32):
    before, after = (step.notes for step in ran(shipped32, "heads", policy="window", budget=0.3, tokens=2).steps)
    assert before["dense"] == before["sparse"] and min(map(min, before["caught"])) == pytest.approx(1)
    gone = round((after["length"] - round(0.3 * before["length"]) - 1) / after["width"])
    for dense, sparse, shares in zip(after["dense"], after["sparse"], after["caught"]):
        for mine, theirs, share in zip(dense, sparse, shares):
            assert not any(theirs[: gone - 1]) and 1000 * share == pytest.approx(sum(mine[gone:]), abs=60)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_without_steps_there_is_a_sentence(cut, name, theme):
    figure = views.view(name)(Trace(cut.opening), theme=theme)
    assert figure.layout.title.text and figure.layout.meta["words"].endswith(".")
