"""What may be sent, bytes, buffers of any shape and text, and how a caller's send begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from trio_xsock._engine.losing import send_failed
from trio_xsock._engine.reasons import check_sending, why_not_sending
from trio_xsock._engine.requests import remove, wait_for
from trio_xsock._engine.writing import after_sending, send_now
from trio_xsock._machines.ends import Phase
from trio_xsock._machines.ledger import Ticket
from trio_xsock._runtime.guard import Parking, is_cancelled
from trio_xsock._values.typing import Buffer

from .flushing import park

if TYPE_CHECKING:
    from trio_xsock._engine.connection import Connection

    from .facts import ConnectionFacts

_OPEN: Final = Phase.OPEN


def snapshot(data: Buffer | str, encoding: str) -> bytes:
    """The bytes as they are now; of text, encoded."""
    if isinstance(data, str):
        return data.encode(encoding)
    with memoryview(data) as view:
        return view.tobytes()


def as_bytes(view: memoryview) -> memoryview:
    """The same memory as single bytes; what is not contiguous has to be copied."""
    if view.c_contiguous and view.nbytes:  # memory without bytes may have any shape
        return view.cast("B")
    return memoryview(view.tobytes())


async def send_bytes(
    socket: ConnectionFacts,
    data: bytes | memoryview,
    withdraw: Callable[[Connection, Ticket], None] = remove,
) -> None:
    """Send a caller's bytes: at once as many as the OS takes, and the rest from the queue.

    Args:
        socket: the socket.
        data: the bytes.
        withdraw: removes those that are queued, for ``see_through``.

    Raises:
        SocketError: nothing can be sent, the connection is lost, or the rest was removed.

    Cancellation: as for ``see_through``; if the task was cancelled before, nothing was sent, and
    the bytes count as queued, and as removed unsent.
    """
    connection = socket._connection
    outlet = connection.outlet
    transport = check_sending(connection, socket)
    if not data:
        await trio.lowlevel.checkpoint()
        return
    if is_cancelled():  # before other tasks run: one of them may close the socket
        remove(connection, outlet.ledger.reserve(data))
        await trio.lowlevel.checkpoint()
    try:
        sent = outlet.send_at_once(transport, data)
    except OSError as exc:
        outlet.ledger.reserve(data)  # the bytes count as queued, and are dropped
        send_failed(connection, exc)
        sent = None
    if sent is None:
        await socket._settle()
        raise why_not_sending(connection, socket)
    if connection.watchdogs is not None or connection.ends.phase is not _OPEN:
        after_sending(connection)
    if sent == len(data):
        await trio.lowlevel.cancel_shielded_checkpoint()
        if connection.delivery.hub.calls:
            await socket._settle()
        return
    ticket = outlet.ledger.reserve(data)
    if sent > 0:
        outlet.account(sent)
    await see_through(socket, connection, ticket, withdraw)


async def see_through(
    socket: ConnectionFacts,
    connection: Connection,
    ticket: Ticket,
    withdraw: Callable[[Connection, Ticket], None] = remove,
) -> None:
    """Send until a ticket has nothing to send at present.

    Args:
        socket: the socket.
        connection: its connection.
        ticket: of bytes that are queued.
        withdraw: called with these two when the call is cancelled.

    Raises:
        SocketError: the bytes were removed from the queue.

    Cancellation: what ``withdraw`` makes of it.
    """
    send_now(connection)
    parking: Parking[None] = Parking()
    wait_for(connection, ticket, parking, socket)
    await park(socket, parking, lambda: withdraw(connection, ticket))
