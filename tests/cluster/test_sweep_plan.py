"""What is checked before a sweep starts, and what its folder keeps. No cluster is started here."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from labkit.cluster import grid
from labkit.cluster.cells import compute
from labkit.cluster.join import join, needed
from labkit.cluster.plan import CELLS, PLAN, TABLE, finished, latest, load
from labkit.cluster.sweep import Journal, claim, main, numbers, summary, write
from labkit.errors import LabError


def ask(methods="chain", knobs=(), prompts=2, tokens=8, temperatures=(0.0,), seeds=(0,), target="", draft="", dtype="float32"):
    return grid.plan(methods, list(knobs), prompts, tokens, list(temperatures), list(seeds), target, draft, dtype)


def test_every_combination_once():
    plan = ask("chain, plain", ["chain.length=2,4", "chain.heat=1,1.5"], seeds=[7, 9], temperatures=[0, 0.7])
    assert plan.names[:2] == ["chain length=2 heat=1.0", "chain length=2 heat=1.5"]
    assert plan.names[2:] == ["chain length=4 heat=1.0", "chain length=4 heat=1.5", "plain"]
    cells = list(plan.cells())
    assert len(cells) == len(plan) == 5 * 2 * 2 * 2
    assert len({msgspec.json.encode(msgspec.structs.replace(cell, number=0)) for cell in cells}) == len(cells)
    assert [cell.number for cell in cells] == list(range(len(cells)))
    assert [cell.setting for cell in cells[:5]] == plan.settings  # settings change quickest
    assert plan.settings[0].knobs["verifier"]  # knobs that nobody turned are written down too


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"methods": "nobody"}, "There is no method 'nobody': choose from"),
        ({"knobs": ["chain.length=2,99"]}, "Drafted tokens is 99, outside its range: choose a value from 1 to 16"),
        ({"knobs": ["chain.size=2"]}, "chain has no knob 'size': choose one of length"),
        ({"knobs": ["chain.length=2,2"]}, "chain.length has a value twice"),
        ({"knobs": ["lookup.length=2"]}, "is for a method that does not play: choose from chain"),
        ({"knobs": ["length=2"]}, "write it as method.knob=value"),
        ({"prompts": 0}, "0 prompts are asked for: choose 1 to"),
        ({"tokens": 0}, "0 new tokens are asked for: choose at least 1"),
        ({"temperatures": [9.0]}, "The temperature is 9.0: choose 0"),
        ({"temperatures": [0.5, 0.5]}, "comes twice"),
        ({"seeds": [-1]}, "A seed is -1: choose whole numbers from 0"),
        ({"target": "/nowhere/at/all"}, "There is no model folder '/nowhere/at/all'"),
        ({"draft": "none"}, "chain needs a draft model"),
        ({"dtype": "int8"}, "The dtype is 'int8': choose one of"),
    ],
)
def test_bad_input_is_one_sentence(wrong, sentence):
    with pytest.raises(LabError) as refused:
        ask(**wrong)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_numbers():
    assert numbers("0, 0.7", float, "temperatures") == [0, 0.7] and numbers("3", int, "seeds") == [3]
    with pytest.raises(LabError, match="The seeds are '1;2': write numbers with commas between, for example 0,1,2"):
        numbers("1;2", int, "seeds")


def test_a_cell_that_fails_says_why_and_raises_nothing():
    plan = ask("plain", tokens=100_000)
    cell, trace = compute(plan, next(plan.cells()))
    assert "shorten the prompt or ask for" in cell.error and not cell.tokens and not trace


def test_a_folder_belongs_to_one_sweep(tmp_path):
    folder, plan = tmp_path / "deep" / "out", ask()
    with claim(folder, plan):
        assert load(folder) == plan
        with pytest.raises(LabError, match="under way already"):
            claim(folder, plan)
    claim(folder, plan).release()
    with pytest.raises(LabError, match=r"holds another sweep \(its tokens differ\)"):
        claim(folder, ask(tokens=9))
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match="cannot go to .*: give --out another folder"):
        claim(tmp_path / "file", plan)
    with pytest.raises(LabError, match="holds 'deep' and no sweep"):
        claim(tmp_path, plan)
    (folder / PLAN).write_text('{"settings": 5}')
    with pytest.raises(LabError, match="is no plan of a sweep"):
        claim(folder, plan)


def test_the_journal_forgets_half_a_line_and_nothing_else(tmp_path, small, cells):
    journal = Journal(tmp_path)
    for cell in cells(small, 3):
        journal.add(cell)
    whole = (tmp_path / CELLS).read_bytes()
    for cut in range(whole.rstrip(b"\n").rfind(b"\n") + 1, len(whole)):  # killed at any place of the third line
        (tmp_path / CELLS).write_bytes(whole[:cut])
        assert finished(tmp_path) == cells(small, 2)
        again = Journal(tmp_path)
        again.add(cells(small, 3)[2])
        assert (tmp_path / CELLS).read_bytes() == whole
    (tmp_path / CELLS).write_bytes(b'{"number": "x"}\n' + whole)
    with pytest.raises(LabError, match="is damaged"):
        finished(tmp_path)


def test_the_table_has_a_row_a_cell_and_a_column_a_swept_knob(tmp_path, small, cells):
    parquet = pytest.importorskip("pyarrow.parquet")
    made = cells(small, 8)
    made[5] = msgspec.structs.replace(made[5], error="No.", ids=[], tokens=0, text="")
    assert write(small, made[::-1], tmp_path) == tmp_path / TABLE
    rows = parquet.read_table(tmp_path / TABLE).to_pylist()
    assert [row["number"] for row in rows] == list(range(8))
    assert rows[0]["text"] == "é\n<b>" and rows[0]["ids"] == [65, 66] and rows[0]["target_tokens"] == 9
    assert [row["chain.length"] for row in rows[:4]] == [None, 2, 4, None]
    assert rows[5]["error"] == "No." and rows[5]["ids"] == []
    assert msgspec.json.decode(rows[1]["knobs"]) == made[1].knobs
    told = {row["name"]: row for row in summary(made)}
    assert told["plain"]["tokens_per_target_forward"] == 2 and told["plain"]["ms_per_token"] == 250


def test_the_latest_is_a_finished_one(tmp_path, small, cells):
    assert latest(tmp_path) is None
    for name, count in (("whole", len(small)), ("half", 5)):
        with claim(tmp_path / name, small):
            journal = Journal(tmp_path / name)
            for cell in cells(small, count):
                journal.add(cell)
            (tmp_path / name / TABLE).touch()
    folder, plan, found = latest(tmp_path)
    assert folder.name == "whole" and plan == small and len(found) == len(small)


def test_without_ray_there_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LabError, match="'ray' is not installed, and this command needs it: pip install"):
        needed("ray")
    with pytest.raises(LabError, match="'ray' is not installed"):
        join()


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:1", "127.0.0.1:99999999"])
def test_an_address_where_nobody_is(address):
    pytest.importorskip("ray")
    with pytest.raises(LabError, match="No Ray cluster answers at .*: write its head as host:port"):
        join(address)


def test_nothing_of_ray_is_imported_before_it_is_needed():
    code = "import sys, labkit.cli, labkit.cluster.sweep, labkit.cluster.engine; print({'ray', 'pyarrow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
    code = "import sys, labkit.ui; print({'ray', 'pyarrow', 'torch', 'numpy', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_the_command_refuses_before_it_starts(tmp_path):
    with pytest.raises(LabError, match="The temperatures are 'hot'"):
        main(tmp_path / "out", temperatures="hot")
    assert not (tmp_path / "out").exists()
