"""The errors that say why something is not possible on a connection."""

from __future__ import annotations

from typing import Final, Protocol

from trio_xsock._machines.ends import Ends, Why
from trio_xsock._machines.ledger import Ticket
from trio_xsock._machines.state import CONNECTED, CONNECTING, LISTENING, SocketState
from trio_xsock._network.transport import Transport
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._values.errors import InvalidStateError, SocketClosedError, SocketError

# As constants, because an attribute of an enum costs 0.2 us on Python 3.11.
_CLOSED_BY_US: Final = Why.CLOSED_BY_US
_CLEAN_END: Final = Why.CLEAN_END

CLEAN_END: Final = SocketError("the stream has ended")
"""Stands for the peer's clean end where a reason is wanted; never raised."""


class Facts(Protocol):
    """The facts about a connection that the errors need; see there."""

    @property
    def ends(self) -> Ends: ...
    @property
    def keeper(self) -> Keeper | None: ...
    @property
    def owner(self) -> object: ...
    @property
    def state(self) -> SocketState: ...
    @property
    def transport(self) -> Transport | None: ...


def closed_error(
    connection: Facts, who: object, what: str = "the socket was closed"
) -> SocketClosedError:
    """The error that says that we closed it.

    Args:
        connection: the facts.
        who: the socket, for the message.
        what: what happened.
    """
    reopened_by = None if connection.owner is not None else "connect()"
    return socket_closed(connection.keeper, who, what, reopened_by)


def socket_closed(
    keeper: Keeper | None, who: object, what: str, reopened_by: str | None
) -> SocketClosedError:
    """The error that says that we closed a socket, and what to do.

    Args:
        keeper: that of its block; ``None`` before that was entered.
        who: the socket, for the message.
        what: what happened.
        reopened_by: the call that opens it again; ``None`` if none does.
    """
    if reopened_by is None or (keeper is not None and keeper.ended):
        cure = f"make a new {type(who).__name__}"
    else:
        cure = f"{reopened_by} opens it again"
    error = SocketClosedError(f"{who!r}: {what}; {cure}")
    if keeper is not None and keeper.failures:
        error.__cause__ = keeper.failures[0]
    return error


def not_connected(connection: Facts, who: object) -> InvalidStateError:
    """The error that says that there is no connection."""
    if connection.keeper is None:
        text = "never connected; use `async with`, then connect()"
    elif connection.state is CONNECTING:
        text = "still connecting; wait for connect() to return"
    else:
        text = "not connected; `await connect()` first"
    return InvalidStateError(f"{who!r}: {text}")


def why_not_sending(connection: Facts, who: object) -> SocketError:
    """The error for a call that cannot send.

    Args:
        connection: the facts.
        who: the socket, for the message.
    """
    why = connection.ends.why_not_sending()
    if isinstance(why, SocketError):
        return why.with_traceback(None)
    if why is _CLOSED_BY_US:
        return closed_error(connection, who)
    if why is Why.TLS_BEGINS and connection.state is CONNECTED:
        return InvalidStateError(f"{who!r}: TLS is about to begin; wait for start_tls()")
    if why is Why.OUTPUT_ENDED:
        return SocketClosedError(f"{who!r}: our direction was ended by send_eof()")
    return not_connected(connection, who)


def check_sending(connection: Facts, who: object) -> Transport:
    """Raise if nothing can be sent; returns what sends."""
    transport = connection.transport
    if connection.state is not CONNECTED or not connection.ends.may_send or transport is None:
        raise why_not_sending(connection, who)
    return transport


def why_removed(connection: Facts, ticket: Ticket, who: object) -> SocketError:
    """The error for a caller whose bytes were dropped."""
    if connection.state is CONNECTED and connection.ends.may_send:
        total = ticket.sent + ticket.left
        return SocketError(f"{who!r}: send aborted after {ticket.sent} of {total} bytes")
    return why_not_sending(connection, who)


def verdict(connection: Facts, who: object) -> SocketError | None:
    """Why nothing more will come, ``CLEAN_END`` for the peer's end; ``None`` while it may."""
    ends = connection.ends
    if connection.state is CONNECTED and ends.may_receive:
        return None
    why = ends.verdict()
    if why is _CLEAN_END:
        return CLEAN_END
    if why is _CLOSED_BY_US:
        return closed_error(connection, who)
    return why if isinstance(why, SocketError) else not_connected(connection, who)


def more_can_come(connection: Facts) -> bool:
    """Whether anything can still be received, now or once the connection is up."""
    if connection.state is CONNECTED:
        return connection.ends.may_receive
    return connection.state in (CONNECTING, LISTENING)
