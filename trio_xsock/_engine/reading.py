"""The steps of reading: read from the transport, and pass the bytes to the inbox.

``Intake`` decides how much to read, the inbox which consumer gets it; ``losing`` handles the end of
the connection. Plain functions: they run because the descriptor is ready, in the keeper task, or
for a caller that has made room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_xsock._machines.ends import Phase
from trio_xsock._machines.state import CONNECTED
from trio_xsock._network.transport import Transport
from trio_xsock._runtime.guard import call_unprotected
from trio_xsock._values.errors import FramingError
from trio_xsock._values.events import DataAvailable

from .closing import Closing
from .intake import SMALLEST_READ
from .losing import lose, lose_to, refuse, their_end
from .own_wait import OwnWait

if TYPE_CHECKING:
    from trio_xsock._runtime.hub import EventHub

    from .connection import Connection

_HELD: Final = Phase.HELD
MOST_READS: Final = 16
"""The most reads, each of up to 1 MiB, of what does not wait: a fast peer must not delay it."""


def read_step(connection: Connection) -> bool:
    """Read from the transport once; return whether anything happened."""
    transport, ends = connection.link.transport, connection.ends
    if transport is None:
        return False
    if connection.closing is not None:
        return not ends.their_end and _discard(connection, transport, connection.closing)
    if not ends.may_receive or ends.phase is _HELD:
        return False
    return read_open(connection, transport)


def read_open(connection: Connection, transport: Transport) -> bool:
    """As ``read_step``, of a connection whose peer may send, and from which we may read."""
    inbox, intake = connection.inbox, connection.intake
    try:
        data = intake.take_in(transport, inbox.buffer, inbox.room_for(intake.limit))
    except OSError as exc:
        lose_to(connection, exc)
        return True
    if data:
        hand_on(connection)
    elif data is not None:
        their_end(connection, transport)
    return data is not None


def read_for_listener(connection: Connection, transport: Transport, hub: EventHub) -> None:
    """As ``read_step``, if one alone is told of data: call the handler or post to the channel.

    Args:
        connection: an open one without a waiting reader.
        transport: its transport.
        hub: the connection's; it has a ``data_method`` or a ``data_source``.
    """
    intake = connection.intake
    try:
        data = intake.take_in(transport, connection.inbox.buffer, intake.limit)
    except OSError as exc:
        lose_to(connection, exc)
        return
    if data:
        delivery, method, source = connection.delivery, hub.data_method, hub.data_source
        hub.posted += 1
        if method is not None:
            try:  # as Delivery.call does, whose call costs an eighth of all this
                delivery.context.run(call_unprotected, method, delivery.socket)
            except BaseException as exc:  # noqa: ASYNC103 - nothing here awaits
                delivery.fail(exc)
        elif source is not None:
            source.post(DataAvailable(delivery.socket))
    elif data is not None:
        their_end(connection, transport)


def read_for_caller(connection: Connection, transport: Transport, wait: OwnWait) -> None:
    """As ``read_step``, if a task is parked that takes what comes: hand it over at once.

    Args:
        connection: an open one, with no input in its buffer.
        transport: its transport.
        wait: of the task.
    """
    try:
        data = connection.intake.read(transport)
    except OSError as exc:
        lose_to(connection, exc)
        return
    if data:
        if not wait.hand_over(data):
            connection.inbox.buffer.append(data)
            hand_on(connection)
    elif data is not None:
        their_end(connection, transport)


def read_the_rest(connection: Connection) -> None:
    """Read what arrived before a loss; the connection is over when all is read."""
    connection.intake.serve()
    more = True
    while more and connection.link.transport is not None:
        # A read may bring an incomplete record: then it returned nothing, but there is more.
        more = connection.intake.reading and connection.link.transport.holds_input()
        more = read_step(connection) or more
    # If reading has paused, it continues when there is room again.
    loss = connection.ends.loss
    if connection.link.transport is not None and connection.intake.reading and loss is not None:
        lose(connection, loss)


def resume_reading(connection: Connection) -> None:
    """Something was read, or a task waits: continue reading if there is room again."""
    transport, ends = connection.link.transport, connection.ends
    if transport is None or not ends.may_receive or ends.phase is _HELD:
        return
    inbox, intake = connection.inbox, connection.intake
    if inbox.pending:
        if inbox.may_hand_on(intake.limit):
            connection.wake_keeper()
    elif not intake.reading:
        intake.resume(inbox)
        if transport.ready:
            connection.wake()


def hand_on(connection: Connection) -> None:
    """Hand on what is in the inbox; the rest after other tasks have run."""
    inbox, intake = connection.inbox, connection.intake
    try:
        inbox.hand_on(intake.limit)
    except FramingError as error:
        refuse(connection, error)
        return
    if inbox.pending:
        intake.pause()
        intake.read_small()
        # If handler calls are due, the keeper task continues when they were made.
        if connection.delivery.hub.calls or inbox.may_hand_on(intake.limit):
            connection.wake_keeper()
    elif not intake.reading:
        resume_reading(connection)


def decode_some(connection: Connection) -> bool:
    """Hand on some of what is pending in the inbox; return whether there was any."""
    if not is_behind(connection):
        return False
    hand_on(connection)
    return True


def is_behind(connection: Connection) -> bool:
    """Whether there is input that was not decoded yet, and for which there is room."""
    return connection.state is CONNECTED and connection.inbox.may_hand_on(connection.intake.limit)


def after_taking(connection: Connection) -> None:
    """A message was taken: there may be room for more."""
    inbox, limit = connection.inbox, connection.intake.limit
    if not inbox.pending:
        resume_reading(connection)
    elif connection.state is CONNECTED and inbox.may_hand_on(max(1, limit // 2)):
        connection.wake_keeper()


def _discard(connection: Connection, transport: Transport, closing: Closing) -> bool:
    """While closing: discard input, so that our FIN does not become a reset."""
    try:
        data = transport.recv(SMALLEST_READ)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError as exc:
        lose_to(connection, exc)
        return True
    if data:
        closing.discarding = True
    else:
        their_end(connection, transport)
    return True
