"""The steps of sending: give the transport what is queued, and continue what waits for that.

``Outlet`` sends and counts; ``losing`` handles a dead connection. Plain functions: they run
because the descriptor is ready, in the keeper task, or for a caller that has queued something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_xsock._machines.ends import Happening, Phase
from trio_xsock._machines.ledger import Ticket
from trio_xsock._values.errors import SocketError

from .losing import send_failed
from .reasons import why_not_sending, why_removed
from .send_waits import WhyRemoved
from .watchdogs import note_activity

if TYPE_CHECKING:
    from .connection import Connection

_OPEN: Final = Phase.OPEN


def send_now(connection: Connection) -> None:
    """After something was queued in a plain call: send it, unless a handler runs."""
    outlet, delivery = connection.outlet, connection.delivery
    if not outlet.refused and not delivery.held:
        write_step(connection)
        if delivery.hub.watches_progress and outlet.ledger.left:
            connection.wake_keeper()  # the rest is sent after the handler's call for this chunk
        delivery.schedule()


def send_some(connection: Connection) -> bool:
    """Send some of what handlers have queued; return whether to call this again. See ``Sender``.

    Args:
        connection: one with something to send in its queue.
    """
    outlet, transport = connection.outlet, connection.link.transport
    if outlet.refused or transport is None:
        return False
    before = outlet.bytes_sent
    try:
        all_went = connection.ends.may_send and outlet.offer_again(transport)
    except OSError as exc:
        send_failed(connection, exc)
        return len(connection.delivery.hub.calls) > 0
    if not all_went:
        write_step(connection)
    elif connection.watchdogs is not None or connection.ends.phase is not _OPEN:
        after_sending(connection)
    # A connection that turns out to be dead takes nothing, but has events to deliver.
    return len(connection.delivery.hub.calls) > 0 or (not all_went and outlet.bytes_sent != before)


def write_on(connection: Connection) -> None:
    """The OS takes bytes again: first those of the transport."""
    transport, outlet = connection.link.transport, connection.outlet
    if transport is None:
        return
    if transport.unsent:
        try:
            if not transport.flush():
                return
        except OSError as exc:
            send_failed(connection, exc)
            return
    write_step(connection)
    if not outlet.ledger.left:
        outlet.wake_for_room()


def write_step(connection: Connection) -> None:
    """Give the transport what it takes."""
    transport = connection.link.transport
    if transport is not None:
        try:
            connection.outlet.write(transport)
        except OSError as exc:
            send_failed(connection, exc)
        after_sending(connection)


def after_sending(connection: Connection) -> None:
    """Bytes may have been sent: continue what waits for an empty queue."""
    if connection.watchdogs is not None:
        note_activity(connection)
    if connection.ends.phase is not _OPEN and not connection.outlet.ledger.open:
        connection.happens(Happening.QUEUE_EMPTY)


def drop_queue(connection: Connection) -> None:
    """The connection is lost: remove all that is queued."""

    def lost() -> SocketError:
        return why_not_sending(connection, connection.delivery.socket)

    connection.outlet.drop(_why_removed(connection), lost)


def abort(connection: Connection) -> None:
    """Remove what is queued, for the user; the connection stays open."""
    connection.outlet.abort(_why_removed(connection))
    after_sending(connection)


def _why_removed(connection: Connection) -> WhyRemoved:
    def why(ticket: Ticket) -> SocketError:
        return why_removed(connection, ticket, connection.delivery.socket)

    return why
