"""The connections under the engine: uvicorn's, which trust their clients, made safe from those who dawdle or do not read."""

from __future__ import annotations

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from labkit.engine.frames import TOO_LARGE

PUNCTUAL = 10.0  # seconds from a connection to its handshake, and from its end to the moment that what is unread is dropped
MOST_FRAGMENTS = 1000  # of one message; a notebook sends each whole


class Hall(H11Protocol):
    """Where a connection waits until it has asked for a WebSocket, not for ever; beyond `limit_concurrency` nobody waits.

    h11 bounds what it keeps of a request's head; uvicorn's faster parser does not.
    """

    def connection_made(self, transport):
        """Let it in, and look again a little later."""
        super().connection_made(transport)
        if len(self.connections) > self.limit_concurrency:
            transport.abort()
        else:
            self.loop.call_later(PUNCTUAL, self._late)

    def _late(self):
        if self.transport.get_protocol() is self:
            self.transport.abort()


class Line(WebSocketsSansIOProtocol):
    """A WebSocket that keeps nothing for a client that does not read."""

    def handle_ping(self):
        """Answer, unless answers pile up already."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def handle_cont(self, event):
        """Take a fragment; those without end and content are not counted by any limit on bytes."""
        if self.close_sent:
            return
        if len(self.frames) < MOST_FRAGMENTS:
            super().handle_cont(event)
        else:
            self.conn.fail(TOO_LARGE, f"A message came in more than {MOST_FRAGMENTS:,} fragments: send it whole.")
            self.handle_parser_exception()

    def handle_parser_exception(self):
        """Say what is wrong, and drop what still comes: closing at once would take the reason back from who is still sending."""
        if not self.close_sent:
            told = self.conn.close_sent
            self.queue.put_nowait({"type": "websocket.disconnect", "code": told.code, "reason": told.reason})
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.write_eof()
            self.close_sent = True
            self.transport.resume_reading()
            self.close_timer = self.loop.call_later(PUNCTUAL, self.transport.abort)

    def keepalive_timeout(self):
        """Hang up without waiting until what is unread was read."""
        super().keepalive_timeout()
        self.transport.abort()

    async def run_asgi(self):
        """Serve the visitor; after its end it has `PUNCTUAL` seconds to read the rest."""
        await super().run_asgi()
        self.loop.call_later(PUNCTUAL, self.transport.abort)
