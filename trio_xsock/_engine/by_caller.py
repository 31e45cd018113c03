"""Input that whoever asks for it takes in: for connections that nobody listens to.

A connection is *served* while somebody listens: its watch reports input, which is taken in as it
comes. If nobody listens, a receiving task takes in what the OS has, and if that is nothing waits
for the descriptor itself: the hub's task would have to wake it, a turn of the scheduler more. What
never waits, such as ``bytes_available``, takes in first what has arrived, and the watch reports a
reset. So all of it is as true as for a served connection, and nothing is read ahead that nobody
asks for.

Once served, a connection stays so. Where the watch cannot report a reset alone, it is served from
the beginning.
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING

import trio

from trio_xsock._machines.ends import Phase
from trio_xsock._network.transport import Transport

from .byte_inbox import ByteInbox
from .intake import OwnWait
from .losing import lose_to, their_end
from .reading import read_step
from .watchdogs import note_activity

if TYPE_CHECKING:
    from .connection import Connection

_MOST_READS = 16
"""Reads that a plain call makes, each of up to 1 MiB: a fast peer must not hold it up."""


def is_listened_to(connection: Connection) -> bool:
    """Whether somebody wants to know what comes as it comes."""
    delivery = connection.delivery
    if delivery.hub.wanted or delivery.handler is not None or connection.inbox.waiting:
        return True
    # With half-close off the connection closes when the peer's end comes.
    return connection.options.allow_half_close is False


def serve(connection: Connection) -> None:
    """Somebody listens from now on."""
    if not connection.intake.served:
        connection.intake.serve()
        connection.intake.wake_caller()
        connection.wake()


def look(connection: Connection) -> None:
    """Somebody asks what has arrived: take it in."""
    intake, keeper = connection.intake, connection.delivery.keeper
    if keeper is None or keeper.thread != get_ident():
        return  # another thread sees what was taken in last
    for _ in range(_MOST_READS):
        if intake.served or not take_in(connection):
            return


def may_take_in(connection: Connection) -> bool:
    """Whether the task that asks for input is to take it in."""
    ends = connection.ends
    return not connection.intake.served and ends.may_receive and ends.phase is not Phase.HELD


def may_take_at_once(connection: Connection) -> bool:
    """Whether that task may do so past the buffer."""
    intake = connection.intake
    return intake.reading and not connection.inbox.size and may_take_in(connection)


def take_in(connection: Connection) -> bool:
    """Take in once what the OS has; whether anything happened."""
    intake, inbox, transport = connection.intake, connection.inbox, connection.link.transport
    if not intake.reading or transport is None:
        return False
    if inbox.size >= inbox.room_for(intake.limit) and not transport.holds_input():
        return False  # it is full, but that stops nobody
    try:
        happened = read_step(connection)
        if happened and connection.watchdogs is not None:
            note_activity(connection)
    except BaseException as exc:  # noqa: ASYNC103 - nothing in a step awaits
        _contain(connection, exc)
        return True  # noqa: ASYNC104 - see above
    return happened


def take_at_once(
    connection: Connection, transport: Transport, inbox: ByteInbox, least: int, most: int
) -> bytes | None:
    """Read for a task that waits for bytes, while none are buffered: past the buffer.

    Args:
        connection: its phase is OPEN, nobody else takes in what comes, and reading has not paused.
        transport: its transport.
        inbox: its inbox, an empty one; gets what the task has no use for now.
        least: how many bytes the task wants.
        most: and how many at the most.

    Returns:
        The bytes; ``None`` if so many have not come, or nothing more will.
    """
    try:
        return _read_at_once(connection, transport, inbox, least, most)
    except BaseException as exc:  # noqa: ASYNC103 - nothing in a step awaits
        _contain(connection, exc)
        return None  # noqa: ASYNC104 - see above


def _contain(connection: Connection, error: BaseException) -> None:
    """A step raised: what the watch does about that where it calls the steps."""
    keeper = connection.delivery.keeper
    if keeper is None:
        raise error
    keeper.fault(error)


def _read_at_once(
    connection: Connection, transport: Transport, inbox: ByteInbox, least: int, most: int
) -> bytes | None:
    try:
        data = connection.intake.read(transport)
    except OSError as exc:
        lose_to(connection, exc)
        return None
    if not data:
        if data is not None:
            their_end(connection, transport)
        return None
    if connection.watchdogs is not None:
        note_activity(connection)
    if least <= len(data) <= most:
        return data
    if len(data) < least:
        inbox.keep(data)
        return None
    inbox.buffer.append(data)
    return inbox.buffer.take(most)


async def wait_for_input(  # noqa: ASYNC910 - it has waited
    connection: Connection, transport: Transport, wait: OwnWait
) -> None:
    """Wait for the descriptor in this task, or until ``wait.wake()``.

    Cancellation: changes nothing.
    """
    wait.descriptor = descriptor = transport.fileno()
    try:
        await trio.lowlevel.wait_readable(descriptor)
    except trio.ClosedResourceError:  # from ``wake``
        pass
    except trio.BusyResourceError:  # the user waits for the descriptor, too
        wait.descriptor = -1
        serve(connection)
    finally:
        wait.descriptor = -1
