"""The machine's date jumps by days, forwards and backwards: no page, no kernel and no watch over them may care."""

from __future__ import annotations

import asyncio
import os
import struct
import sys
import textwrap
import time

import psutil
import pytest

from labkit.bench.visitor import Visitor
from labkit.host import launch
from labkit.paths import NOTEBOOKS

DAYS = 2 * 86_400.0
PATIENCE = 60
AFTER = 8  # seconds without its page until a kernel of this test's lab is ended

# read by every Python that starts with this file's folder on its path: the date is off by what stands in the file $DATE_OFF
JUMPING = """
import datetime, mmap, os, struct, time

with open(os.environ["DATE_OFF"], "rb") as file:
    shared = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
true = time.time
off = lambda: struct.unpack("<d", shared[:8])[0]
time.time = lambda: true() + off()


class Jumping(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=off())

    @classmethod
    def utcnow(cls):
        return super().utcnow() + datetime.timedelta(seconds=off())


datetime.datetime = Jumping
"""
DASHBOARDS = f"""
from labkit.host import dashboards

dashboards.CULL_EVERY, dashboards.CULL_AFTER = 1, {AFTER}
dashboards.main()
"""


class Jumpy:
    """Dashboards whose date a test sets off, with the lab's engine."""

    def __init__(self, url: str, offset, voila: int):
        self.url, self._offset, self._voila = url, offset, psutil.Process(voila)

    def jump(self, seconds: float) -> None:
        """Set the date off by so much from the true one."""
        with open(self._offset, "r+b") as file:
            file.write(struct.pack("<d", seconds))

    def kernel(self, visitor: Visitor) -> psutil.Process:
        """The process of a visitor's kernel."""
        return next(one for one in self._voila.children() if any(visitor.kernel in word for word in one.cmdline()))

    async def come(self) -> Visitor:
        """A visitor whose page has its first steps."""
        visitor = await Visitor(self.url, "01_entropy.ipynb").arrive()
        await visitor.seats[0].watch(1)
        await visitor.seats[0].quiet()
        return visitor


@pytest.fixture
def jumpy(lab, tmp_path):
    """Dashboards with a date of their own."""
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(JUMPING))
    offset = tmp_path / "offset"
    offset.write_bytes(struct.pack("<d", 0.0))
    environment = launch.environment(lab.engine)
    path = os.pathsep.join(filter(None, [str(tmp_path), environment.get("PYTHONPATH", "")]))
    environment |= {"PYTHONPATH": path, "DATE_OFF": str(offset)}
    port = launch.free_port()
    with launch.Family() as family:
        command = [sys.executable, "-c", DASHBOARDS, str(NOTEBOOKS), f"--port={port}", "--pool=0"]
        child = family.start(command, environment)
        url = f"http://127.0.0.1:{port}/"
        launch.wait(lambda: launch.answers(url), child, "Voila")
        yield Jumpy(url, offset, child.pid)


async def ends(process: psutil.Process) -> bool:
    """Does it end within a patient while?"""
    _, alive = await asyncio.to_thread(psutil.wait_procs, [process], PATIENCE)
    return not alive


def test_dates_that_jump_end_no_page_and_keep_none(jumpy, lab):
    async def test():
        staying, lost, left, mortal = await asyncio.gather(*(jumpy.come() for _ in range(4)))
        kernels = {visitor: jumpy.kernel(visitor) for visitor in (staying, lost, left, mortal)}

        gone = time.monotonic()
        await lost.vanish()
        jumpy.jump(DAYS)  # by the date it has been silent for days
        assert await ends(kernels[lost])
        assert time.monotonic() - gone > AFTER, "it was not left its time to come back"
        assert await staying.seats[0].step()

        await left.vanish()
        jumpy.jump(-DAYS)  # by the date it will be silent in some days
        assert await ends(kernels[left]), "nobody looks for idle kernels any more"
        kernels[mortal].kill()
        async with asyncio.timeout(PATIENCE):
            while not mortal.over:  # somebody still looks whether kernels live
                await asyncio.sleep(0.1)
        assert await staying.seats[0].step() and not staying.lost and not staying.trouble
        for visitor in (staying, mortal):
            await visitor.leave()
        await lab.freed()

    asyncio.run(test())
