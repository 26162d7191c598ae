"""Voila with the lab's settings: `python -m labkit.host.dashboards NOTEBOOKS --port=8866 --pool=1`.

The address itself leads to the welcome dashboard, or to the one that a class begins with. Each dashboard keeps a few
kernels warm, so that a page opens with its first widgets already built; notebooks of your own beside them get no pool.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
import time
from pathlib import Path

# Voila needs jsonschema, which compiles a grammar of international addresses at its import: over half of Voila's start.
# Without that module jsonschema leaves such addresses unchecked, and no schema here has one.
sys.modules.setdefault("rfc3987_syntax", None)

import psutil  # noqa: E402
from tornado.ioloop import IOLoop  # noqa: E402
from tornado.web import ErrorHandler, GZipContentEncoding, HTTPError, RedirectHandler, RequestHandler  # noqa: E402
from tornado.websocket import WebSocketClosedError  # noqa: E402
from traitlets import Integer, Unicode  # noqa: E402
from traitlets.config import Config  # noqa: E402
from voila.app import Voila  # noqa: E402
from voila.shutdown_kernel_handler import VoilaShutdownKernelHandler  # noqa: E402
from voila.tornado.handler import TornadoVoilaHandler  # noqa: E402
from voila.tornado.kernel_websocket_handler import VoilaKernelWebsocketHandler  # noqa: E402

from labkit import plotlyjs  # noqa: E402
from labkit.engine.door import LOOPBACK  # noqa: E402
from labkit.host.door import AskForWord, Door, Page  # noqa: E402
from labkit.host.kernels import PatientKernelManager, PromptConnection  # noqa: E402
from labkit.host.lesson import TEACHER  # noqa: E402

WELCOME = "00_welcome.ipynb"
AT_ONCE = 4  # kernels of a class started at the same time
# Paths that no page asks for, and that Voila's own handlers fail at instead of refusing: climbing, a zero byte, endless names.
ODD = r"(?i).*(?:\.\.|%2e%2e|%00|.{1000}).*"
TEMPLATES = "labkit|lab|base"
WARM_UP = 4.0  # seconds after the start: first the page that somebody waits for
# milliseconds: a page that vanished without a word is missed within a minute, a network that was gone for half of one is not
PINGS = {"ws_ping_interval": 5_000, "ws_ping_timeout": 40_000}
LOOK, CALM, PATIENCE = 3.0, 70, 60.0  # seconds between two looks; per cent of the machine in use; seconds until calm is given up
CULL_EVERY = 120  # seconds; long against the time a page takes to load
CULL_AFTER = 1200  # seconds without a connected page


def _steady(_: IOLoop) -> float:
    """Seconds that never jump. By tornado's own clock, the date, one set back would stop all that happens every few seconds for
    that long: pings, the look whether a kernel still lives, culling."""
    return time.monotonic()


class Goodbye(VoilaShutdownKernelHandler):
    """Ends the kernel of a page that was closed."""

    def check_xsrf_cookie(self):
        """Voila's pages get no such cookie, so the stock handler refuses them all; who knows a kernel's id has its page."""


class ChartLibrary(RequestHandler):
    """plotly.js, once for all kernels; a browser that had it on an earlier page only asks whether it is still the same."""

    async def get(self, whole):
        """Send its cartesian part or the whole, or say that nothing has changed."""
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.set_header("Content-Encoding", "gzip")
        self.set_header("Cache-Control", "no-cache")
        self.finish(await asyncio.to_thread(plotlyjs.packed, bool(whole)))


class Channels(VoilaKernelWebsocketHandler):
    """A page's socket to its kernel."""

    async def get(self, kernel_id):
        """Open it, unless the page was closed meanwhile, which the stock handler takes for an error of its own."""
        try:
            await super().get(kernel_id)
        except AttributeError:
            if self.connection is not None:
                raise


OURS = {TornadoVoilaHandler: Page, VoilaKernelWebsocketHandler: Channels}  # in the place of Voila's own


class Dashboards(Voila):
    """Voila whose root is the first page instead of a list of files, and which warms its kernels after that page."""

    name = "voila"
    pool = Integer(1, config=True, help="warm kernels for each dashboard at the start; later one, unless this is 0")
    first = Unicode(WELCOME, config=True, help="the dashboard that the address leads to")
    expected = Integer(0, config=True, help="visitors who will open the first page at about the same time")

    def init_handlers(self):
        """The stock handlers behind ours."""
        first = {"url": f"{self.base_url}voila/render/{self.first}", "permanent": False}
        nothing = {"status_code": 404}
        ours = [
            (ODD, ErrorHandler, nothing),
            (f"{self.server_url}voila/templates/(?!(?:{TEMPLATES})/).*", ErrorHandler, nothing),
            (self.server_url, RedirectHandler, first),
            (f"{self.server_url}voila/api/shutdown/(.*)", Goodbye),
            (f"{self.server_url}voila/plotly(-whole)?\\.js", ChartLibrary),
            (f"{self.server_url}login", AskForWord),  # Voila has it at the root only, wherever it is served
        ]
        stock = [(rule[0], OURS.get(rule[1], rule[1]), *rule[2:]) for rule in super().init_handlers()]
        return [*ours, *stock]

    def listen(self):
        """Listen, serve the welcome page from a warm kernel, and warm the other dashboards' a little later."""
        IOLoop.current().call_later(WARM_UP, self.warm)
        self.app.transforms.append(GZipContentEncoding)  # as tornado's own setting does; Voila hands settings on too late for it
        super().listen()

    def warm(self):
        """Fill the pools of all dashboards; notebooks of your own beside them get none."""
        dashboards = [path.name for path in sorted(Path(self.root_dir).glob("[0-9][0-9]_*.ipynb"))]
        if not self.expected:
            dashboards = [name for name in dashboards if name != TEACHER]
        goals = dict.fromkeys(dashboards, self.pool)
        if self.expected:
            goals[self.first] = self.expected
        pools = {name: {"pool_size": min(goal, 1)} for name, goal in goals.items()}
        self.kernel_manager.kernel_pools_config = {"default": {"pool_size": 0}, **pools}
        for name in pools:
            self.kernel_manager.fill_if_needed(delay=0, notebook_name=name)
        self.warming = asyncio.ensure_future(self.warm_more(pools, {name: goal for name, goal in goals.items() if goal > 1}))

    async def warm_more(self, pools: dict[str, dict[str, int]], goals: dict[str, int]):
        """Warm a kernel for everybody who is expected, a few at a time: all at once would take longer than a kernel may take."""
        for name, goal in goals.items():
            for size in range(AT_ONCE, goal + AT_ONCE, AT_ONCE):
                pools[name]["pool_size"] = min(size, goal)
                self.kernel_manager.fill_if_needed(delay=0, notebook_name=name)
                ready = await asyncio.gather(*self.kernel_manager._pools[name], return_exceptions=True)
                # one that failed to start is told to the visitor who gets it; the others are warmed all the same
                await asyncio.gather(*(one["task"] for one in ready if isinstance(one, dict)), return_exceptions=True)
        if self.expected:
            print(f"  {self.expected} pages of {self.first} are warm.", flush=True)
        await self.keep_warm(pools)

    async def keep_warm(self, pools: dict[str, dict[str, int]]):
        """One more kernel where the last warm one was taken, when the machine has time: starting one costs hundreds of steps."""
        psutil.cpu_percent()  # since the last call; the first has none
        waited = 0.0
        while self.pool:
            await asyncio.sleep(LOOK)
            name = next((name for name, pool in pools.items() if not pool["pool_size"]), None)
            busy = psutil.cpu_percent() > CALM
            waited = waited + LOOK if name and busy else 0.0
            if name and (not busy or waited >= PATIENCE):
                pools[name]["pool_size"], waited = 1, 0.0
                self.kernel_manager.fill_if_needed(delay=0, notebook_name=name)

    def stop(self):
        """End all kernels; one that is just being ended elsewhere is no reason to leave the others."""
        with contextlib.suppress(HTTPError):
            super().stop()


def settings(
    notebooks: Path,
    port: int,
    pool: int,
    *,
    host: str = "127.0.0.1",
    base_url: str = "/",
    token: str = "",
    first: str = WELCOME,
    expected: int = 0,
    most: int = 0,
    most_each: int = 0,
) -> Config:
    """Voila's configuration for serving the folder `notebooks`, `pool` warm kernels a dashboard.

    `token` is the word at the door, "" = none; `expected` visitors come to the page `first`; `most` pages may be open at once,
    `most_each` of one visitor, 0 = any number.
    """
    config = Config()
    config.Voila = Config(
        ip=host,
        base_url=base_url,
        token=token,
        identity_provider_class=Door,
        first=first,
        expected=expected,
        port=port,
        port_retries=0,
        root_dir=str(notebooks),
        # without a word at the door a page of another site could come in under its own name, turned to this machine's address
        tornado_settings={"allow_remote_access": bool(token) or host not in LOOPBACK, **PINGS},
        open_browser=False,
        pool=pool,
        log_level="ERROR",  # its warnings say that a notebook is not trusted, which here means nothing
        kernel_websocket_connection_class=PromptConnection,
    )
    config.VoilaConfiguration = Config(
        template="labkit",
        allow_template_override="NO",
        allow_theme_override="NO",
        preheat_kernel=True,
        multi_kernel_manager_class=PatientKernelManager,
        # Voila would load plotly's own bundle on every page; our charts fetch theirs when they need it, gzipped
        extension_denylist=["jupyterlab-plotly"],
        show_tracebacks=False,
    )
    # titles and code for those who open the page as a notebook: here they are neither shown nor run
    config.TagRemovePreprocessor = Config(enabled=True, remove_cell_tags={"lab-only"})
    pools = {"default": {"pool_size": 0}, first: {"pool_size": pool}}
    config.VoilaKernelManager = Config(kernel_pools_config=pools, fill_delay=WARM_UP)
    config.PatientKernelManager = Config(most=most, most_each=most_each, always=TEACHER, rests=True)
    config.MappingKernelManager = Config(
        cull_interval=CULL_EVERY, cull_idle_timeout=CULL_AFTER, cull_connected=False, default_kernel_name="python3"
    )
    return config


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line is worth a lecturer's eye; that a page was closed while a message was under way is not."""
    return not (record.exc_info and isinstance(record.exc_info[1], WebSocketClosedError))


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", type=Path)
    parser.add_argument("--port", type=int, default=8866)
    parser.add_argument("--pool", type=int, default=1)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--base-url", default="/")
    parser.add_argument("--first", default=WELCOME)
    for name in ("expected", "most", "most-each"):
        parser.add_argument(f"--{name}", type=int, default=0)
    given = vars(parser.parse_args())
    logging.getLogger("asyncio").addFilter(_is_news)
    token = os.environ.pop("LABKIT_WORD", "")  # in no list of processes, and in no kernel's environment
    config = settings(given.pop("notebooks").resolve(), given.pop("port"), given.pop("pool"), token=token, **given)
    IOLoop.time = _steady
    Dashboards.launch_instance(argv=[], config=config)


if __name__ == "__main__":
    main()
