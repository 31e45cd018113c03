"""``Upgrade``: encrypts an accepted connection, by steps, without a task.

``start_tls`` and single connections await their handshake instead, see ``_sockets.securing``.
"""

from __future__ import annotations

from collections.abc import Callable

from trio_xsock._network.handshake import Handshake, TLSSetup, wrap
from trio_xsock._network.transport import Transport
from trio_xsock._runtime.guard import protect_from_ki

from .connection import Connection
from .reasons import closed_error
from .ticking import catch_up

Over = Callable[[BaseException | None], None]
"""Called once, in the last step: with ``None``, or with the error."""


def begin_upgrade(connection: Connection, setup: TLSSetup, over: Over, who: object) -> float:
    """Begin TLS's handshake of an accepted connection.

    Args:
        connection: the connection, which is held.
        setup: the parameters.
        over: of an error nobody else is told, and the server closes the socket.
        who: the socket, for messages.

    Returns:
        How many seconds the socket itself allows.

    Raises:
        SocketError: it cannot begin.
    """
    transport = connection.transport
    if transport is None:
        raise closed_error(connection, who)
    Upgrade(connection, transport, setup, over).begin()
    return setup.timeout


@protect_from_ki
class Upgrade:
    """The handshake of a connection that a server has accepted, and that is held.

    Args:
        connection: the connection.
        transport: that of the connection.
        setup: the parameters.
        over: see ``Over``. After a failure the caller closes the connection.

    Raises:
        TLSError: the handshake cannot begin.
    """

    __slots__ = ("_connection", "_handshake", "_over")

    def __init__(
        self, connection: Connection, transport: Transport, setup: TLSSetup, over: Over
    ) -> None:
        keeper = connection.delivery.require_keeper()
        encrypted = wrap(transport, setup, connection.endpoint)
        self._connection = connection
        self._over = over
        self._handshake = Handshake(keeper, encrypted, setup, connection.endpoint, self._ended)
        connection.link.take(encrypted, self._handshake)

    def begin(self) -> None:
        """Take the first step; the others follow on readiness."""
        self._handshake.begin()

    def _ended(self, error: BaseException | None) -> None:
        """The last step of the handshake."""
        connection, over = self._connection, self._over
        if error is not None:
            keeper = connection.delivery.require_keeper()
            keeper.serve(_Refusal(self._handshake, over, error).run, "trio_xsock refusal")
            return
        self._handshake.close()
        connection.go_on(self._handshake.transport)
        connection.delivery.held = True  # its events are delivered below, not by a task
        try:
            over(None)
        finally:
            connection.delivery.held = False
            connection.link.end_handshake()
        if connection.link.transport is not None:
            catch_up(connection, connection.link.transport)  # usually the peer has sent more
        connection.delivery.run(connection)


@protect_from_ki
class _Refusal:
    """Sends the alert to a peer whose handshake failed."""

    __slots__ = ("_error", "_handshake", "_over")

    def __init__(self, handshake: Handshake, over: Over, error: BaseException) -> None:
        self._handshake = handshake
        self._over = over
        self._error = error

    async def run(self) -> None:  # noqa: ASYNC910 - a task of its own
        try:
            await self._handshake.refuse()
        finally:
            self._over(self._error)
