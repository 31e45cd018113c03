"""The work of the keeper task for a connection, when it was woken or a deadline has come.

``tick`` handles what the OS does not report: input in the TLS engine, messages that are not decoded
yet, the grace of a close, dead peers. A deadline is judged only after ``look``.
"""

from __future__ import annotations

import math

import trio

from trio_xsock._machines.ends import Happening
from trio_xsock._network.transport import Transport
from trio_xsock._runtime.clock import runs_by_itself
from trio_xsock._values.errors import LossReason, LostConnectionError

from .by_caller import take_in
from .closing import Closing
from .connection import Connection
from .losing import lose
from .reading import MOST_READS, hand_on, read_step
from .watchdogs import Watchdogs, note_activity
from .writing import after_sending, write_step


def tick(connection: Connection) -> float:
    """Do what is due; returns when to call this again, on Trio's clock."""
    if connection.link.transport is not None:
        catch_up(connection, connection.link.transport)
    deadline = math.inf
    if connection.link.transport is not None and connection.closing is not None:
        deadline = _check_closing(connection, connection.closing)
    transport, watchdogs = connection.link.transport, connection.watchdogs
    if transport is not None and watchdogs is not None:
        deadline = min(deadline, _check_watchdogs(connection, transport, watchdogs))
    return deadline


def catch_up(connection: Connection, transport: Transport) -> None:
    """Handle what is in the transport or the inbox, which the OS does not report."""
    connection.link.wake_drainers(transport)
    if not transport.unsent:
        after_sending(connection)
    if connection.link.has_input:
        connection.on_readable()
    if connection.inbox.may_hand_on(connection.intake.limit) and connection.ends.may_receive:
        connection.delivery.held = True
        try:
            hand_on(connection)
        finally:
            connection.delivery.held = False
        connection.delivery.run(connection)


def look(connection: Connection) -> None:
    """Read what has arrived and send what the OS takes.

    Call it before a deadline is judged: the event loop may have been blocked, and Trio checks
    deadlines before it serves the sockets.
    """
    if connection.link.handshake is not None:
        connection.link.handshake.look()
    elif not connection.link.securing:  # else a task looks after the handshake
        if not connection.intake.served:
            take_in(connection)
        elif connection.link.transport is not None and connection.intake.reading:
            connection.on_readable()
        if connection.link.transport is not None and connection.outlet.refused:
            connection.on_writable()
    connection.delivery.run(connection)


def poll(connection: Connection) -> bool:
    """Read and send once.

    Returns:
        Whether something was read, or there are handler calls to make.
    """
    hub = connection.delivery.hub
    due = bool(hub.calls)
    read = read_step(connection)
    if connection.outlet.ledger.left:
        write_step(connection)
    return read or due or bool(hub.calls)


def _check_closing(connection: Connection, closing: Closing) -> float:
    if trio.current_time() >= closing.limit.deadline:
        look(connection)
    transport, now = connection.link.transport, trio.current_time()
    if transport is None:
        return math.inf
    if closing.is_acknowledged(transport):
        _discard_rest(connection, transport)
        if connection.link.transport is transport:
            connection.happens(Happening.DELIVERED)
    elif closing.limit.is_over(now, counts_lateness=runs_by_itself()):
        connection.happens(Happening.GRACE_OVER)
    else:
        return closing.next_look(now)
    connection.delivery.run(connection)
    return math.inf


def _discard_rest(connection: Connection, transport: Transport) -> None:
    """Discard what has arrived, for what is unread when the descriptor is closed makes a reset."""
    for _ in range(MOST_READS):
        if connection.link.transport is not transport or not read_step(connection):
            return


def _check_watchdogs(connection: Connection, transport: Transport, watchdogs: Watchdogs) -> float:
    note_activity(connection)
    if watchdogs.is_due(trio.current_time()):
        look(connection)
        if connection.link.transport is not transport or connection.watchdogs is not watchdogs:
            return -math.inf  # something has changed: check again
        note_activity(connection)
    deadline, why = watchdogs.check(
        transport,
        connection.outlet.bytes_sent,
        trio.current_time(),
        paused=not connection.intake.reading,
        counts_lateness=runs_by_itself(),
    )
    if why is not None:
        look(connection)  # earlier input stays readable
        if connection.link.transport is transport:
            text = f"{connection.endpoint}: connection lost: {why}"
            lose(connection, LostConnectionError(text, reason=LossReason.TIMED_OUT))
            connection.delivery.run(connection)
    return deadline
