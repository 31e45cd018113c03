"""What may be sent, bytes, buffers of any shape and text, and how a caller's send begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_xsock._engine.losing import send_failed
from trio_xsock._engine.reasons import check_sending, why_not_sending
from trio_xsock._engine.requests import remove
from trio_xsock._engine.writing import after_sending
from trio_xsock._machines.ends import Phase
from trio_xsock._machines.ledger import Ticket
from trio_xsock._runtime.guard import is_cancelled
from trio_xsock._values.typing import Buffer

if TYPE_CHECKING:
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


async def begin_send(socket: ConnectionFacts, data: bytes | memoryview) -> Ticket | None:
    """Send a caller's bytes, as many as the OS takes at once.

    Args:
        socket: the socket.
        data: the bytes.

    Returns:
        The ticket of the rest, which is queued; ``None`` if all was sent.

    Raises:
        SocketError: nothing can be sent, or the connection turned out to be lost.

    Cancellation: nothing was sent; the bytes count as queued, and as removed unsent.
    """
    connection = socket._connection
    outlet = connection.outlet
    transport = check_sending(connection, socket)
    if not data:
        await trio.lowlevel.checkpoint()
        return None
    if is_cancelled():  # before other tasks run: one of them may close the socket
        remove(connection, outlet.ledger.reserve(data))
        await trio.lowlevel.checkpoint()
    sent = None
    try:
        sent = outlet.send_at_once(transport, data)
    except OSError as exc:
        outlet.ledger.reserve(data)  # the bytes count as queued, and are dropped
        send_failed(connection, exc)
    if sent is None:
        await socket._settle()
        raise why_not_sending(connection, socket)
    if connection.watchdogs is not None or connection.ends.phase is not _OPEN:
        after_sending(connection)
    if sent == len(data):
        await trio.lowlevel.cancel_shielded_checkpoint()
        if connection.delivery.hub.calls:
            await socket._settle()
        return None
    ticket = outlet.ledger.reserve(data)
    if sent > 0:
        outlet.account(sent)
    return ticket  # noqa: ASYNC910 - the caller waits for it
