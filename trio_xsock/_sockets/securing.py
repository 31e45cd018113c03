"""``secure``: encrypts a connection that is held, in a task that awaits the handshake.

``start_tls`` and single connections do it in this way; for a server's there is ``Upgrade``.
"""

from __future__ import annotations

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._engine.reasons import why_not_sending
from trio_xsock._network.handshake import TLSSetup, shake_hands, wrap
from trio_xsock._values.errors import TLSError


async def secure(connection: Connection, setup: TLSSetup, who: object) -> None:
    """Do the handshake of a connection that is held; it continues encrypted.

    Args:
        connection: an open one.
        setup: the parameters.
        who: the socket, for messages.

    Raises:
        TLSError: it failed.
        SocketError: the connection ended meanwhile; why.

    Cancellation: the descriptor is closed, and the connection has to be.
    """
    keeper, transport = connection.delivery.require_keeper(), connection.transport
    if transport is None:  # it was closed before this task began
        await trio.lowlevel.checkpoint_if_cancelled()
        raise why_not_sending(connection, who)
    encrypted = wrap(transport, setup, connection.endpoint)
    connection.link.take(encrypted)
    attempt = connection.attempt()
    scope = attempt.open_scope()
    try:
        with scope:
            await shake_hands(keeper, encrypted, setup, connection.endpoint)
            if connection.transport is not None:
                connection.go_on(encrypted)
                connection.link.end_handshake()
                return
    except TLSError:
        if connection.transport is not None:
            raise
        # It was closed, and the handshake has noticed it before it was cancelled.
    finally:
        attempt.close_scope(scope)
    await trio.lowlevel.checkpoint_if_cancelled()  # by the failure that closed the socket
    raise why_not_sending(connection, who)
