"""How a socket with a connection closes: ``aclose()``, ``disconnect()``, the end of its block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_xsock._engine.ending import close, forget_tracebacks, give_up
from trio_xsock._machines.state import CLOSED, CLOSING
from trio_xsock._network.options import check_seconds
from trio_xsock._runtime.guard import Parking
from trio_xsock._runtime.scoped import finish
from trio_xsock._values.errors import LossReason, LostConnectionError, SocketError

if TYPE_CHECKING:
    from .connected import ConnectedSocket


async def close_gracefully(
    socket: ConnectedSocket, grace: float, farewell: SocketError | None = None
) -> None:
    """End the connection: what is queued is sent first.

    Args:
        socket: the connection's.
        grace: how many seconds this may take.
        farewell: the error to post at the end; ``None`` for none.

    Cancellation: the connection is closed at once.
    """
    check_seconds("grace", grace)
    socket._check_thread()
    socket._stop_listening()
    connection = socket._connection
    close(connection, grace, farewell=farewell)
    if connection.closing is None or connection.state is not CLOSING:
        keeper = socket._keeper
        if keeper is not None and keeper.exiting and not keeper.ended:
            await trio.lowlevel.checkpoint_if_cancelled()  # a full checkpoint follows
        else:
            await trio.lowlevel.checkpoint()
    else:
        try:
            parking: Parking[None] = Parking()
            connection.closing.wait(parking)
            await parking.park()
        finally:
            close(connection)
            socket._run_handlers()
    await socket._settle()


async def disconnect(socket: ConnectedSocket, grace: float) -> None:
    """The same, and the end is posted."""
    text = f"{socket._connection.endpoint}: we disconnected"
    farewell = LostConnectionError(text, reason=LossReason.LOCAL)
    await close_gracefully(socket, grace, farewell)


async def end_scope(socket: ConnectedSocket) -> None:
    """The block is left: end the connection, and all tasks of the block."""
    connection, delivery = socket._connection, socket._delivery
    try:
        if connection.transport is not None or connection.state is not CLOSED:
            socket.close()
    finally:
        if connection.begun and delivery.socket is not None:
            give_up(connection, socket)  # a step of the end has raised
    await finish(delivery, socket)
    forget_tracebacks(socket._connection)
