"""Two nodes of one Ray cluster on this machine, one core each, for all tests of the folder; nothing of it outlives them."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from labkit.cluster import plan as plans

ROOT = str(Path(__file__).parents[2])
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


def kin() -> list[psutil.Process]:
    """The processes of Ray among the descendants of this one."""
    names = ("gcs_server", "raylet", "ray::", "ray/")
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if any(name in " ".join(child.cmdline()[:4]) for name in names):
                found.append(child)
        except psutil.Error:
            continue
    return found


def patient(start):
    """What `start()` returns; once more where Ray gives up after its 30 seconds, as it does on a very busy machine."""
    before = set(kin())
    try:
        return start()
    except Exception:
        for process in set(kin()) - before:
            process.kill()
        return start()


@pytest.fixture(scope="session")
def cluster():
    """A `ray.cluster_utils.Cluster` of two nodes; its workers see this checkout."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH", "")])))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # whatever token lies in somebody's home
        patch.setenv("OMP_NUM_THREADS", "1")
        made = patient(lambda: Cluster(initialize_head=True, head_node_args=NODE))
        try:
            patient(lambda: made.add_node(**{name: value for name, value in NODE.items() if name != "include_dashboard"}))
            yield made
        finally:
            there = {process: process.cmdline() for process in kin()}
            made.shutdown()
            left = psutil.wait_procs(list(there), timeout=20)[1]
            for process in left:
                process.kill()
    assert not left, [there[process] for process in left]


@pytest.fixture(scope="session")
def small():
    """A plan of twenty-four quick cells: with a draft and without, greedy and not."""
    from labkit.cluster import grid

    return grid.plan("plain,chain,lookup", ["chain.length=2,4"], 3, 12, [0.0, 0.8], [3], "", "", "float32")


@pytest.fixture
def cells():
    """`cells(plan, count)`: made-up finished cells, the first so many of a plan."""

    def make(plan, count):
        named = dict(zip(map(repr, plan.settings), plan.names))
        return [
            plans.Cell(
                ask.number, ask.setting.name, named[repr(ask.setting)], ask.setting.knobs, ask.prompt, ask.temperature, ask.seed,
                prompt_tokens=9, tokens=2, steps=1, cost=plans.Cost(1, 9, seconds=0.5), ids=[65, 66], text="é\n<b>", node="n",
            )
            for ask in list(plan.cells())[:count]
        ]  # fmt: skip

    return make


@pytest.fixture(scope="session")
def timeless():
    """`timeless(trace)`: its bytes without the measured seconds."""

    def strip(trace) -> bytes:
        for step in trace.steps:
            step.cost = replace(step.cost, seconds=0, target_seconds=0, draft_seconds=0)
        return trace.dumps()

    return strip
