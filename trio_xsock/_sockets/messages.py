"""What the calls of a message socket have in common: taking messages, sending one, and the ends.

The rules are those of bytes elsewhere, with one exception: a message whose first byte was sent is
completed by the socket itself, even if it is cancelled or aborted, because otherwise the peer could
not decode what follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._engine.message_inbox import MessageInbox
from trio_xsock._engine.reading import after_taking, decode_some
from trio_xsock._engine.reasons import (
    CLEAN_END,
    closed_error,
    not_connected,
    verdict,
)
from trio_xsock._engine.requests import remove
from trio_xsock._machines.ledger import Ticket
from trio_xsock._machines.state import CONNECTED, CONNECTING, LISTENING
from trio_xsock._runtime.guard import Parking, let_others_run
from trio_xsock._values.errors import InvalidStateError, SocketError
from trio_xsock._values.message import Message

if TYPE_CHECKING:
    from .easy_tcp import EasyTCPSocket

_UNTIL_PEER: Final = (CONNECTING, LISTENING)


def take(connection: Connection, inbox: MessageInbox, command: int | None = None) -> Message | None:
    """Take the oldest message, or the oldest with this command.

    Some more may have to be decoded for that.
    """
    message = inbox.take(command)
    while message is None and decode_some(connection):
        message = inbox.take(command)
    if message is not None:
        after_taking(connection)
    return message


def take_waiting(connection: Connection, inbox: MessageInbox) -> Message:
    """Take the oldest message; there is one."""
    message = inbox.buffer.messages[0]
    inbox.buffer.take()
    try:
        after_taking(connection)
    except Exception as exc:
        # It concerns this connection, and the channel may be that of many. It is handled later:
        # the end that follows is posted to the channel, which is giving the message out.
        if connection.keeper is None:
            raise
        trio.lowlevel.current_trio_token().run_sync_soon(connection.keeper.fault, exc)
    return message


async def receive(socket: EasyTCPSocket) -> Message:
    """See ``EasyTCPSocket.receive``."""
    connection, inbox = socket._connection, socket._inbox
    await trio.lowlevel.checkpoint_if_cancelled()
    _check_not_closed(connection, socket)
    message = take(connection, inbox)
    if message is not None:
        await let_others_run()
        return message
    ended = verdict(connection, socket)
    if ended is not None:
        raise _end_of_messages(connection, ended)
    socket._check_thread()
    reader = inbox.wait_for_any()
    return await reader[0].park(lambda: inbox.forget_reader(reader))


async def wait_for_command(socket: EasyTCPSocket, command: int, seconds: float) -> bytes | None:
    """See ``EasyTCPSocket.wait_for_message``; ``math.inf`` is no limit."""
    connection, inbox = socket._connection, socket._inbox
    await trio.lowlevel.checkpoint_if_cancelled()
    _check_not_closed(connection, socket)
    message = take(connection, inbox, command)
    if message is not None:
        await let_others_run()
        return message.data
    ended = verdict(connection, socket)
    if ended is not None:
        raise _why_ended(connection, ended)
    socket._check_thread()
    waiter = inbox.wait_for_command(command)
    return await socket._park_for(waiter[1], seconds, lambda: inbox.forget_waiter(waiter))


async def wait_for_peer(socket: EasyTCPSocket, seconds: float) -> bool:
    """See ``EasyTCPSocket.wait_for_connection``; ``math.inf`` is no limit."""
    connection = socket._connection
    await trio.lowlevel.checkpoint_if_cancelled()
    if connection.state is CONNECTED:
        await trio.lowlevel.cancel_shielded_checkpoint()
        return True
    if connection.state not in _UNTIL_PEER:
        raise _why_no_peer(connection, socket)
    socket._check_thread()
    parking: Parking[bool | None] = Parking()
    attempt = connection.attempt()
    attempt.wait(parking)
    up = await socket._park_for(parking, seconds, lambda: attempt.forget(parking))
    if up is False:
        raise _why_no_peer(connection, socket)
    return up is True


def withdraw(connection: Connection, ticket: Ticket) -> None:
    """A sender was cancelled: remove its message if nothing of it was sent."""
    if ticket.sent:
        connection.outlet.waits.forget(ticket)
    else:
        remove(connection, ticket)


def _check_not_closed(connection: Connection, who: object) -> None:
    if connection.ends.closed_by_us:
        raise closed_error(connection, who)


def _why_ended(connection: Connection, ended: SocketError) -> SocketError:
    """The error that says why no more messages come."""
    announced = connection.ends.announced
    if ended is CLEAN_END and announced is not None:
        ended = announced
    return ended.with_traceback(None)


def _end_of_messages(connection: Connection, ended: SocketError) -> Exception:
    """The same for ``receive``, for which a clean end between messages is no loss."""
    if ended is CLEAN_END and not connection.inbox.incomplete:
        return trio.EndOfChannel()
    return _why_ended(connection, ended)


def _why_no_peer(connection: Connection, who: object) -> SocketError:
    """The error that says why there is no connection, and none will be.

    Args:
        connection: the one that there is not.
        who: the socket, for texts.
    """
    if connection.ends.closed_by_us:
        return closed_error(connection, who)
    return connection.delivery.last_error or not_connected(connection, who)


# Calls that would break the framing


def refuse_read(self: object, *_: object, **__: object) -> NoReturn:
    """Refused: this socket moves messages, not bytes.

    Raises:
        InvalidStateError: always; the message says what to use.
    """
    raise _no_bytes(self, "read()", "receive()")


def refuse_read_all(self: object, *_: object, **__: object) -> NoReturn:
    """Refused; see ``read``."""
    raise _no_bytes(self, "read_all()", "receive()")


def refuse_lookahead(self: object, *_: object, **__: object) -> NoReturn:
    """Refused; see ``read``."""
    raise _no_bytes(self, "lookahead()", "messages_available")


def refuse_write(self: object, *_: object, **__: object) -> NoReturn:
    """Refused; see ``read``."""
    raise _no_bytes(self, "write()", "send_message()")


def _no_bytes(socket: object, call: str, instead: str) -> InvalidStateError:
    return InvalidStateError(
        f"{socket!r}: {call} is for sockets that move bytes; use {instead} instead"
    )
