"""A sweep on a cluster: on both nodes, its driver killed, a node lost, and bit for bit the runs of this process."""

from __future__ import annotations

import subprocess
import sys
import time

import msgspec
import pytest

from labkit.cluster.cells import compute
from labkit.cluster.plan import CELLS, TABLE, TRACES, finished
from labkit.cluster.sweep import claim, sweep
from labkit.trace import Cost, loads

pytest.importorskip("ray")
parquet = pytest.importorskip("pyarrow.parquet")

ASKED = ["--methods", "plain,chain,lookup", "--set", "chain.length=2,4", "--prompts", "3", "--tokens", "12", "--seeds", "3"]
ASKED += ["--temperature", "0,0.8", "--dtype", "float32", "--traces", "--json"]
BEFORE = 2  # cells that the driver may finish before it is killed


def test_sweep(cluster, small, tmp_path, timeless):
    folder = tmp_path / "out"
    command = [sys.executable, "-m", "labkit.cli", "sweep", *ASKED, "--out", str(folder), "--address", cluster.address]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE)
    for line in driver.stdout:
        if msgspec.json.decode(line)["done"] == BEFORE:
            break
    driver.kill()
    driver.wait()
    driver.stdout.close()
    survived = (folder / CELLS).read_bytes()
    assert BEFORE <= len(finished(folder)) < len(small)

    nodes: set[str] = set()
    removed = []

    def told(news):
        if "cell" in news and news["done"] > len(survived.splitlines()):
            nodes.add(news["cell"].node)
            if len(nodes) == 1:
                time.sleep(1)  # on a busy machine the other node takes long to begin: some cells are left for it
            if len(nodes) == 2 and not removed:
                assert news["done"] < news["of"]  # it goes on without the node
                removed.append(cluster.worker_nodes.copy().pop())
                cluster.remove_node(removed[0], allow_graceful=False)

    with claim(folder, small):
        assert sweep(small, folder, told, address=cluster.address, traces=True) == 0
    assert len(nodes) == 2 and removed

    journal = finished(folder)
    assert (folder / CELLS).read_bytes().startswith(survived)  # what was finished is as it was
    assert sorted(cell.number for cell in journal) == list(range(len(small)))  # each once
    rows = parquet.read_table(folder / TABLE).to_pylist()
    assert [row["number"] for row in rows] == list(range(len(small)))

    asks = {ask.number: ask for ask in small.cells()}
    for cell in journal:
        here, trace = compute(small, asks[cell.number], whole=True)
        assert not here.error and cell.ids and cell.tokens == len(cell.ids) == rows[cell.number]["tokens"]
        assert msgspec.structs.replace(cell, node="", cost=Cost()) == msgspec.structs.replace(here, cost=Cost())
        assert rows[cell.number]["target_forwards"] == here.cost.target_forwards
        assert rows[cell.number]["chain.length"] == (cell.knobs["length"] if cell.method == "chain" else None)
        there = loads((folder / TRACES / f"{cell.number:06}.json").read_bytes())
        assert timeless(there) == timeless(loads(trace))  # every counted cost, every belief, every coin
