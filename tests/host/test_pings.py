"""A page that nobody touches stays connected: the first ping of a socket comes before its end."""

from __future__ import annotations

import ast
import asyncio
import logging
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from jupyter_server.base.websocket import WebSocketMixin

from labkit.host import dashboards, launch


def settings_of(host: str) -> dict:
    """The tornado settings that the host's server is started with."""
    if host == "voila":
        return dict(dashboards.settings(Path("."), 1, 0).Voila.get("tornado_settings", {}))
    told = [word for word in launch.jupyterlab_command(Path("."), 1, "token") if "tornado_settings" in word]
    return ast.literal_eval(told[0].split("=", 1)[1]) if told else {}


class Socket(WebSocketMixin):
    """A socket that was opened `quiet` seconds ago and has heard nothing since."""

    def __init__(self, settings, quiet):
        self.settings, self.done, self.log = settings, [], logging.getLogger("test")
        self.ws_connection = SimpleNamespace(client_terminated=False)
        self.last_ping = self.last_pong = time.time() - quiet

    def ping(self, data):
        self.done.append("ping")

    def close(self):
        self.done.append("close")


@pytest.mark.parametrize("host", ["voila", "lab"])
def test_the_first_ping_of_a_quiet_page_is_sent(host):
    async def after(quiet, settings):
        socket = Socket(settings, quiet)
        socket.send_ping()
        return socket.done

    assert asyncio.run(after(30.01, settings_of(host))) == ["ping"]
    assert asyncio.run(after(30.01, {"ws_ping_timeout": 30_000})) == ["close"], "the mistake that this test is for"
