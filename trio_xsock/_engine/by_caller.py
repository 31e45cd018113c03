"""Reading by the calling task: for connections without a handler or an event channel.

A connection is *served* while it has a handler or a channel: its watch reports input, which is read
as it arrives. Otherwise a receiving task reads what the OS has, and if that is nothing waits for
the descriptor itself, because waking it from the hub's task would cost another turn of the
scheduler. Calls that never wait, such as ``bytes_available``, first read what has arrived, and the
watch reports a reset. So they return the same as for a served connection, and nothing is read ahead
of a call.

Once served for a listener, a connection stays served. While many connections are busy, those that
nobody listens to are served, too, and so are a server's new ones, see ``crowd``. If the watch
cannot report a reset alone, the connection is served from the beginning.
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Final

import trio

from trio_xsock._machines.ends import Phase
from trio_xsock._network.transport import Transport

from .byte_inbox import ByteInbox
from .losing import lose_to, their_end
from .own_wait import OwnWait
from .reading import MOST_READS, read_step
from .watchdogs import note_activity

if TYPE_CHECKING:
    from .connection import Connection

_HELD: Final = Phase.HELD
_OPEN: Final = Phase.OPEN


def is_listened_to(connection: Connection) -> bool:
    """Whether there is a handler, a channel, or another reason to read input as it arrives."""
    delivery = connection.delivery
    if delivery.hub.wanted or delivery.handler is not None or connection.inbox.waiting:
        return True
    # With half-close off the connection closes when the peer's end comes.
    return connection.options.allow_half_close is False


def serve(connection: Connection) -> None:
    """Read input as it arrives, from now on."""
    if not connection.intake.served:
        connection.intake.serve()
        connection.intake.wake_caller()
        connection.wake()


def look(connection: Connection) -> None:
    """Read what has arrived, for a call that never waits."""
    intake, keeper = connection.intake, connection.delivery.keeper
    if keeper is None or keeper.thread != get_ident():
        return  # another thread gets the state of the last read
    for _ in range(MOST_READS):
        if intake.served or not take_in(connection):
            return


def may_take_in(connection: Connection) -> bool:
    """Whether the receiving task should read."""
    ends = connection.ends
    return not connection.intake.served and ends.may_receive and ends.phase is not _HELD


def take_in(connection: Connection) -> bool:
    """Read once what the OS has; return whether anything happened."""
    intake, inbox, transport = connection.intake, connection.inbox, connection.link.transport
    if not intake.reading or transport is None:
        return False
    if inbox.size >= inbox.room_for(intake.limit) and not transport.holds_input():
        return False  # the buffer is full, but no reading has to be paused
    try:
        happened = read_step(connection)
        if happened and connection.watchdogs is not None:
            note_activity(connection)
    except BaseException as exc:  # noqa: ASYNC103 - nothing in a step awaits
        _contain(connection, exc)
        return True  # noqa: ASYNC104 - see above
    return happened


def take_at_once(
    connection: Connection, transport: Transport, inbox: ByteInbox, wait: OwnWait
) -> bytes | None:
    """Read for a task that waits for bytes, bypassing the buffer, which is empty.

    Args:
        connection: its phase is OPEN, it is not served, and reading has not paused.
        transport: its transport.
        inbox: its inbox, an empty one; it gets the bytes that the task does not take.
        wait: of the task, with what it needs.

    Returns:
        The bytes; ``None`` if fewer than it needs have arrived, or nothing more will.
    """
    try:
        try:
            data = connection.intake.read(transport)
        except OSError as exc:
            lose_to(connection, exc)
            return None
        if data:
            if connection.watchdogs is not None:
                note_activity(connection)
            if wait.limit <= len(data) <= wait.most:
                return data
            if len(data) > wait.most:
                inbox.buffer.append(data)
                return inbox.buffer.take(wait.most)
            inbox.keep(data)
        elif data is not None:
            their_end(connection, transport)
    except BaseException as exc:  # noqa: ASYNC103 - nothing in a step awaits
        _contain(connection, exc)
    return None  # noqa: ASYNC104 - see above


def _contain(connection: Connection, error: BaseException) -> None:
    """A step raised: handle it as the watch does for the steps that it calls."""
    keeper = connection.delivery.keeper
    if keeper is None:
        raise error
    keeper.fault(error)


async def take_when_readable(
    connection: Connection, transport: Transport, inbox: ByteInbox, wait: OwnWait
) -> bytes | None:
    """Do what ``take_at_once`` does, when the descriptor is readable; it found nothing before.

    Then there will be nothing the next time, mostly: the peer answers when it was asked. So the
    next few calls wait first: ``wait.missed`` tells them.

    Args:
        connection: as for ``take_at_once``.
        transport: likewise.
        inbox: likewise.
        wait: likewise.

    Returns:
        The bytes; ``None`` if it needs more, or something has changed.

    Cancellation: nothing was taken.
    """
    if not wait.missed:
        if inbox.buffer.size or connection.ends.phase is not _OPEN:
            await trio.lowlevel.checkpoint()
            return None
        wait.missed = True
    await wait_for_descriptor(connection, transport, wait)
    if not _may_take_at_once(connection, transport, inbox):
        return None
    return take_at_once(connection, transport, inbox, wait)


def _may_take_at_once(connection: Connection, transport: Transport, inbox: ByteInbox) -> bool:
    """Whether the task may still bypass the buffer, now that other tasks have run."""
    intake = connection.intake
    return (
        intake.reading
        and not intake.served
        and not inbox.buffer.size
        and connection.ends.phase is _OPEN
        and connection.link.transport is transport
    )


async def wait_for_descriptor(  # noqa: ASYNC910 - it has waited
    connection: Connection, transport: Transport, wait: OwnWait
) -> None:
    """Wait for the descriptor in this task, or until ``wait.wake()``.

    Input in the transport itself, of which the OS knows nothing, is waited for no longer than other
    tasks run.

    Cancellation: changes nothing.
    """
    if transport.ready:
        await trio.lowlevel.checkpoint()
        return
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
