"""The calls of a socket on its connection: queue bytes, send a caller's, end our direction."""

from __future__ import annotations

from typing import Final

from trio_xsock._machines.ends import Happening, Phase, Why
from trio_xsock._machines.ledger import Ticket
from trio_xsock._machines.state import CONNECTED
from trio_xsock._runtime.guard import Parking
from trio_xsock._values.errors import OutOfMemoryError

from .connection import Connection
from .losing import send_failed
from .reasons import why_not_sending, why_removed
from .writing import after_sending, send_now

_OPEN: Final = Phase.OPEN


def queue_bytes(connection: Connection, payload: bytes, who: object, instead: str) -> None:
    """Queue bytes that no caller waits for, and send at once if that is possible.

    Args:
        connection: the connection.
        payload: the bytes.
        who: the socket, for messages.
        instead: the call to which ``send_buffer_limit`` does not apply, for messages.

    Raises:
        OutOfMemoryError: they do not fit into the queue; none of them was queued.
        SocketError: nothing can be sent.
    """
    transport = connection.link.transport
    if transport is None or connection.state is not CONNECTED or not connection.ends.may_send:
        raise why_not_sending(connection, who)
    outlet, delivery, size = connection.outlet, connection.delivery, len(payload)
    ledger = outlet.ledger
    if not size:
        return
    if ledger.counted + size > connection.options.send_buffer_limit:
        raise OutOfMemoryError(
            f"{who!r}: {size} bytes more would exceed send_buffer_limit="
            f"{connection.options.send_buffer_limit}; await flush() first, or use {instead}"
        )
    if delivery.held:  # the writes of a handler are joined, and sent when it returns
        ledger.queue(payload)
        return
    try:
        sent = outlet.send_at_once(transport, payload)
    except OSError as exc:
        ledger.queue(payload)
        send_failed(connection, exc)
    else:
        if sent < size:
            outlet.queue_rest(payload, sent)
    if connection.watchdogs is not None or connection.ends.phase is not _OPEN:
        after_sending(connection)
    if ledger.left:
        send_now(connection)
    elif delivery.hub.calls:
        delivery.schedule()


def wait_for(connection: Connection, ticket: Ticket, parking: Parking[None], who: object) -> None:
    """Wake ``parking`` when ``ticket`` has nothing to send at present, or was dropped."""
    if ticket.removed:
        parking.fail(why_removed(connection, ticket, who))
    else:
        connection.outlet.waits.wait_for(ticket, parking)


def end_ticket(connection: Connection, ticket: Ticket) -> None:
    """Nothing more will be fed to a ticket that was held."""
    ticket.held = False
    outlet = connection.outlet
    outlet.ledger.account(0)  # it leaves the queue, without an event
    outlet.end_batch(None)
    after_sending(connection)


def end_output(connection: Connection, who: object) -> None:
    """``send_eof()``: our direction ends after what is queued. Idempotent.

    Raises:
        SocketError: our direction cannot be ended.
    """
    if connection.is_connected:
        connection.happens(Happening.SEND_EOF)
    elif connection.ends.why_not_sending() is not Why.OUTPUT_ENDED:
        raise why_not_sending(connection, who)


def remove(connection: Connection, ticket: Ticket) -> None:
    """A caller was cancelled: remove its bytes from the queue."""
    connection.outlet.waits.forget(ticket)
    connection.outlet.remove(ticket)
    after_sending(connection)
    connection.delivery.schedule()
