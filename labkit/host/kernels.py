"""Two small mends to the kernel side of Jupyter's servers; both hosts load them by name, Voila and JupyterLab alike."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from jupyter_server._tz import utcnow
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.ioloop import IOLoop
from traitlets import Bool, Integer, Unicode

REST = 5.0  # seconds without a page after which a kernel lets go of its runs in the engine
RESTING = """getattr(__import__("sys").modules.get("labkit.ui.watch"), "rest", int)()"""  # binds no name
GONE = 60.0  # seconds without a page after which a kernel gives up its place when the lab is full
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

    _parted = False

    def connect(self):
        """Open the channels, as the parent does."""
        self.websocket_handler.set_nodelay(True)
        owners = getattr(self.multi_kernel_manager, "owners", None)  # JupyterLab's manager counts nobody's pages
        if owners is not None:
            owners[self.kernel_id] = self.websocket_handler.current_user.username
        return super().connect()

    async def _register_session(self):
        """As the parent does; but a page that comes back before anybody noticed that its line had broken takes over the channels.

        The parent opens new ones beside them under the same name, and the kernel goes on listening to the first of that name.
        """
        stale = self._open_sessions.get(f"{self.kernel_id}:{self.session.session}")
        if stale is not None:
            stale.connection.disconnect()
            stale.close()
        await super()._register_session()

    def disconnect(self):
        """Part from the kernel, once: the parent would count a page less each time."""
        if not self._parted:
            self._parted = True
            super().disconnect()


class PatientKernelManager(AsyncMappingKernelManager):
    """Culls idle kernels only once a page has been connected to them, and knows how many pages are open.

    A preheated kernel that is handed to a visitor keeps its old idle clock; the stock manager may then end it before
    the page's socket is there. A kernel nobody ever connects to is ended after an hour. A page whose line breaks has the
    whole time to come back, however long it was quiet before; and the time is not the machine's date, which may jump.
    """

    most = Integer(0, config=True, help="pages open at once; 0 = as many as come")
    most_each = Integer(0, config=True, help="pages one visitor may have open; 0 = any number")
    always = Unicode("", config=True, help="the notebook that opens however full the lab is")
    rests = Bool(False, config=True, help="have kernels without a page let go of what they hold in the engine")

    def __init__(self, **traits):
        super().__init__(**traits)
        self.owners: dict[str, str] = {}  # kernel with a page: whose it is
        self._born: dict[str, float] = {}
        self._left: dict[str, float] = {}  # kernel whose page is gone: since when

    async def make_room(self) -> None:
        """When the lab is full, end the kernel whose page has been gone for longest, if that is a minute or more."""
        gone = {kernel: since for kernel, since in self._left.items() if time.monotonic() - since > GONE}
        if self.most and len(self.owners) >= self.most and gone:
            await self.shutdown_kernel(min(gone, key=gone.get))

    def refusal(self, visitor: str, notebook: str) -> str:
        """Why `visitor` cannot have one more page, in a sentence; "" when there is room."""
        if notebook == self.always:
            return ""
        own = sum(owner == visitor and self._kernel_connections.get(kernel, 0) > 0 for kernel, owner in self.owners.items())
        if self.most_each and own >= self.most_each:
            return f"You have as many pages of the lab open as each visitor may have ({own}): close one of them."
        if self.most and len(self.owners) >= self.most:
            return f"The lab is full ({len(self.owners)} pages are open): this page asks again until one is closed."
        return ""

    def hand_out(self, notebook: str) -> None:
        """A visitor is about to get a page: one warm kernel less is wanted, so that Voila starts none in its place at once."""
        pool = self.kernel_pools_config.get(notebook, {})
        pool["pool_size"] = max(pool.get("pool_size", 0) - 1, 0)

    def notify_connect(self, kernel_id):
        """A page's socket opened."""
        self.owners.setdefault(kernel_id, "")
        self._left.pop(kernel_id, None)
        super().notify_connect(kernel_id)

    def notify_disconnect(self, kernel_id):
        """A page's socket closed; the network may bring it back."""
        super().notify_disconnect(kernel_id)
        if not self._kernel_connections.get(kernel_id):
            self._left[kernel_id] = time.monotonic()
            if self.rests:
                IOLoop.current().call_later(REST, self._rest, kernel_id)

    async def _rest(self, kernel_id: str) -> None:
        """Tell a kernel that nobody is at its page, if that is so; its page begins its runs anew without a word."""
        now = time.monotonic()
        if kernel_id not in self or now - self._left.get(kernel_id, now) < REST - 0.5:  # it ended, came back, or has left again
            return
        client = self.get_kernel(kernel_id).client()
        client.start_channels(iopub=False, stdin=False, hb=False, control=False)
        try:
            client.execute(RESTING, silent=True, store_history=False)
            await client.get_shell_msg(timeout=GONE)
        except Exception as error:  # the kernel died meanwhile, or is busy with a cell: both free what they hold by themselves
            self.log.debug("%s was not put to rest: %r", kernel_id, error)
        finally:
            client.stop_channels()

    def remove_kernel(self, kernel_id):
        """The kernel is gone, and with it what was known of it."""
        self.owners.pop(kernel_id, None)
        self._born.pop(kernel_id, None)
        self._left.pop(kernel_id, None)
        return super().remove_kernel(kernel_id)

    async def cull_kernel_if_idle(self, kernel_id):
        """End the kernel when it is idle for too long and somebody had met it."""
        now = time.monotonic()
        born = self._born.setdefault(kernel_id, now)
        gone = now - self._left.get(kernel_id, born)
        self._kernels[kernel_id].last_activity = utcnow() - timedelta(seconds=gone)  # the stock manager reckons with the date
        if kernel_id in self.owners or now - born > FORGOTTEN:
            await super().cull_kernel_if_idle(kernel_id)
