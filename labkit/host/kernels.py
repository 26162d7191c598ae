"""Two small mends to the kernel side of Jupyter's servers; both hosts load them by name, Voila and JupyterLab alike."""

from __future__ import annotations

import logging
import time

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

FORGOTTEN = 3600.0  # seconds after which a kernel that no page ever connected to is taken for abandoned


def _is_news(record: logging.LogRecord) -> bool:
    """Not what tornado says at every connection: that jupyter_server waits three intervals for a pong, and it would wait one.

    To wait one, as the message proposes, would be wrong: jupyter_server then ends every quiet connection before its first ping.
    """
    return not str(record.msg).startswith("The websocket_ping_timeout (")


logging.getLogger("tornado.general").addFilter(_is_news)


class PromptConnection(ZMQChannelsWebsocketConnection):
    """A kernel's socket that sends every frame at once.

    Without TCP_NODELAY a second small frame waits about 40 ms for the browser's acknowledgement of the first.
    """

    def connect(self):
        """Open the channels, as the parent does."""
        self.websocket_handler.set_nodelay(True)
        return super().connect()


class PatientKernelManager(AsyncMappingKernelManager):
    """Culls idle kernels only once a page has been connected to them.

    A preheated kernel that is handed to a visitor keeps its old idle clock; the stock manager may then end it before
    the page's socket is there. A kernel nobody ever connects to is ended after an hour.
    """

    def __init__(self, **traits):
        super().__init__(**traits)
        self._met: set[str] = set()
        self._born: dict[str, float] = {}

    def notify_connect(self, kernel_id):
        """A page's socket opened."""
        self._met.add(kernel_id)
        super().notify_connect(kernel_id)

    async def cull_kernel_if_idle(self, kernel_id):
        """End the kernel when it is idle for too long and somebody had met it."""
        born = self._born.setdefault(kernel_id, time.monotonic())
        if kernel_id in self._met or time.monotonic() - born > FORGOTTEN:
            await super().cull_kernel_if_idle(kernel_id)
