"""``take_bytes`` and ``receive``: the common part of the awaited calls that receive bytes.

On a served connection, the attempt of a waiting call is made whenever something was read, by the
step that has read it: bytes leave the buffer at the moment when the call gets them, and a cancelled
task has taken nothing. On other connections the task reads itself, see ``_engine.by_caller``.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast

import trio

from trio_xsock._engine.by_caller import (
    may_take_in,
    take_at_once,
    take_in,
    take_when_readable,
    wait_for_descriptor,
)
from trio_xsock._engine.byte_inbox import ByteInbox, Receiver
from trio_xsock._engine.connection import Connection
from trio_xsock._engine.crowd import join, own_wait, take_turn
from trio_xsock._engine.reading import resume_reading
from trio_xsock._engine.reasons import verdict
from trio_xsock._machines.buffer import ReceiveBuffer
from trio_xsock._machines.ends import Phase
from trio_xsock._machines.state import CONNECTED
from trio_xsock._runtime.guard import WAKEUPS, let_others_run

from .readers import raise_end

if TYPE_CHECKING:
    from .receiving import ReceiveCalls

BUSY = "another task is receiving from this socket"
_READS_ON_END = 4
"""The most reads of a task before other tasks may run."""
_OPEN = Phase.OPEN


@trio.lowlevel.enable_ki_protection
async def take_bytes(
    socket: ReceiveCalls, least: int, most: int, receiver: Callable[[ReceiveBuffer, int], Receiver]
) -> bytes:
    """Get bytes; the simplest case is handled here, at half of the cost of ``receive``.

    Args:
        socket: the socket.
        least: how many bytes are needed.
        most: how many to take at the most.
        receiver: makes a receiver for the same bytes, of the buffer and ``most``.

    Raises:
        As ``receive``.

    Cancellation: nothing was taken.
    """
    inbox, connection = socket._inbox, socket._connection
    intake, buffer = connection.intake, inbox.buffer
    transport, keeper = connection.link.transport, connection.delivery.keeper
    if (
        intake.caller
        or not intake.reading
        or connection.delivery.hub.wanted  # somebody listens
        or connection.ends.phase is not _OPEN
        or connection.state is not CONNECTED
        or transport is None
        or keeper is None
        or keeper.thread != get_ident()
        or (buffer.size and (buffer.size < least or inbox.unannounced or inbox.borrower))
    ):
        return cast("bytes", await receive(socket, receiver(buffer, most)))
    if buffer.size:
        await trio.lowlevel.checkpoint_if_cancelled()
        taken = buffer.take(most)
        if intake.crowded:
            take_turn(connection, own_wait(connection))
        await let_others_run()
        return taken
    wait = inbox.waiting = intake.own_wait or own_wait(connection)
    wait.limit, wait.most = least, most
    intake.caller = True
    try:
        if intake.served or join(connection, wait):
            await trio.lowlevel.wait_task_rescheduled(wait.enter())
            data = wait.leave()
        else:
            data = None
            if not wait.missed:
                await trio.lowlevel.checkpoint_if_cancelled()
                data = take_at_once(connection, transport, inbox, wait)
            if data is None:
                data = await take_when_readable(connection, transport, inbox, wait)
            else:  # as ``let_others_run`` does, without its coroutine
                WAKEUPS.woken += 1
                await trio.lowlevel.cancel_shielded_checkpoint()
                WAKEUPS.resumed += 1
    except BaseException:
        inbox.withdraw_receiver()
        raise
    finally:
        intake.caller = False
    inbox.waiting = None
    take_turn(connection, wait)
    if data is None:
        return cast("bytes", await receive(socket, receiver(buffer, most), waited=True))
    if inbox.unannounced:
        inbox.announce_unread()
    return data


@trio.lowlevel.enable_ki_protection
async def receive(
    socket: ReceiveCalls, receiver: Receiver, *, held: bool = False, waited: bool = False
) -> Any:
    """Get what ``receiver`` takes.

    Args:
        socket: the socket.
        receiver: makes the attempts on the buffer.
        held: the caller receives for longer than this one call.
        waited: the call has waited already.

    Raises:
        trio.BusyResourceError: another task is receiving.
        SocketError: nothing more will come.
        Exception: what the receiver raises.

    Cancellation: nothing was taken.
    """
    inbox, connection = socket._inbox, socket._connection
    intake = connection.intake
    if intake.caller is not held:
        raise trio.BusyResourceError(BUSY)
    intake.caller = True
    try:
        if inbox.borrower is not None:
            inbox.settle()
        if not waited:
            await trio.lowlevel.checkpoint_if_cancelled()
        value = _attempt(socket, connection, inbox, receiver)
        if value is None:
            socket._check_thread()
            if may_take_in(connection):
                value, has_waited = await _take_in(socket, connection, inbox, receiver)
                waited = waited or has_waited
        if value is None:
            inbox.waiting = receiver
            if not intake.reading:
                resume_reading(connection)
            value = await receiver.park(inbox.withdraw_receiver)
            waited = True
        if intake.crowded and value:  # an end of input is no turn
            take_turn(connection, own_wait(connection))
        if not intake.reading:
            resume_reading(connection)
        if not waited:
            await let_others_run()
        return value  # noqa: ASYNC910 - it has waited
    finally:
        intake.caller = held
        if inbox.unannounced and inbox.waiting is None:
            inbox.announce_unread()


def _attempt(
    socket: object, connection: Connection, inbox: ByteInbox, receiver: Receiver
) -> Any | None:
    """Make an attempt; raises if no further attempt can succeed."""
    ended = verdict(connection, socket)
    if inbox.buffer.size or ended is not None or not receiver.limit:
        if ended is not None and (connection.ends.closed_by_us or not inbox.buffer.size):
            raise_end(ended)
        return receiver.attempt(ended)
    return None


async def _take_in(
    socket: object, connection: Connection, inbox: ByteInbox, receiver: Receiver
) -> tuple[Any | None, bool]:
    """Read until an attempt succeeds, or the connection is served.

    Returns:
        The result, ``None`` if the connection is served; and whether the task has waited.
    """
    waited, reads = False, 0
    wait = inbox.waiting = own_wait(connection)
    wait.limit = receiver.limit
    resume_reading(connection)  # it may need more than the buffer has room for
    try:
        while not join(connection, wait):
            if not take_in(connection):
                transport = connection.link.transport
                if transport is not None:
                    await wait_for_descriptor(connection, transport, wait)
                    waited = True
                    take_in(connection)
            take_turn(connection, wait)
            value = _attempt(socket, connection, inbox, receiver)
            if value is not None or not may_take_in(connection):
                return value, waited  # noqa: ASYNC910 - its caller sees to that
            reads += 1
            if reads % _READS_ON_END == 0:
                await trio.lowlevel.checkpoint()
        return None, waited  # noqa: ASYNC910 - likewise
    finally:
        inbox.waiting = None
