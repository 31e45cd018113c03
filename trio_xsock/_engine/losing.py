"""Reports to ``Ends`` what reading and sending find out about the end of a connection.

The peer has ended its direction, or the connection is lost: from the OS, from TLS, or because the
peer has sent an invalid message. Earlier input is always read first.
"""

from __future__ import annotations

import errno as errnos
import os
from typing import TYPE_CHECKING, Final

from trio_xsock._machines.ends import Happening, Phase
from trio_xsock._network.transport import Transport
from trio_xsock._values.errors import (
    FramingError,
    LossReason,
    LostConnectionError,
    SocketError,
    translate_loss,
)

if TYPE_CHECKING:
    from .connection import Connection

_FIN_IS_OUT: Final = (Phase.OURS_ENDED, Phase.LINGERING)
_THEIR_END: Final = Happening.THEIR_END
_THEIR_END_CLOSES: Final = Happening.THEIR_END_CLOSES
_THEIR_END_IS_LAST: Final = Happening.THEIR_END_IS_LAST
_REMOTE_CLOSED: Final = LossReason.REMOTE_CLOSED


def their_end(connection: Connection, transport: Transport) -> None:
    """The OS says that nothing more will come."""
    if _is_reset(connection, transport):
        lose_to(connection, ConnectionResetError(errnos.ECONNRESET, os.strerror(errnos.ECONNRESET)))
        return
    if connection.closing is None and not _hand_on_rest(connection):
        return
    where = " within a message" if connection.inbox.incomplete else ""
    text = f"{connection.endpoint}: the peer closed the connection{where}"
    error = LostConnectionError(text, reason=_REMOTE_CLOSED)
    half_close = connection.options.allow_half_close
    if half_close is None:
        half_close = connection.delivery.handler is None
    if half_close:
        what = _THEIR_END
    elif has_nothing_to_send(connection, transport):
        what = _THEIR_END_IS_LAST
    else:
        what = _THEIR_END_CLOSES
    connection.happens(what, error)
    connection.intake.stop()  # after it, for usually that was the last of it


def _is_reset(connection: Connection, transport: Transport) -> bool:
    """Whether this end of input is a reset, of which something else was given the error.

    The OS is asked, which costs 2 % of a short connection. It need not be if the hub has reported
    input and no hang-up: then only a send since could have got the error, which left a rest.
    """
    ends = connection.ends
    if ends.loss is not None or ends.phase in _FIN_IS_OUT:
        return False
    intake = connection.intake
    if intake.served and intake.watch is not None and not intake.watch.hung_up:
        return connection.outlet.ledger.open and transport.was_reset()
    return transport.was_reset()


def has_nothing_to_send(connection: Connection, transport: Transport) -> bool:
    """Whether closing the descriptor ends our direction, with nothing to be sent before that."""
    return transport.closes_silently and not connection.outlet.ledger.open


def lose(connection: Connection, error: SocketError) -> None:
    """The connection is lost; what is buffered stays readable."""
    if connection.closing is not None or _hand_on_rest(connection):
        connection.happens(Happening.LOSS, connection.ends.loss or error)


def lose_to(connection: Connection, exc: OSError) -> None:
    """The OS, or TLS, says that the connection is lost."""
    lose(connection, _loss(connection, exc))


def break_down(connection: Connection, error: Exception) -> None:
    """The library itself failed for this connection: it is lost, and that is posted."""
    if connection.link.transport is not None:
        text = f"{connection.endpoint}: connection lost: internal error: {error!r}"
        loss = LostConnectionError(text)
        loss.__cause__ = error.with_traceback(None)  # its frames hold the socket
        lose(connection, loss)
        connection.delivery.run(connection)


def send_failed(connection: Connection, exc: OSError) -> None:
    """Sending found the connection dead.

    The send got the error of the OS, and a reader would now see a clean end. So the cause is kept,
    and what arrived before is read first.
    """
    connection.happens(Happening.SEND_FAILED, _loss(connection, exc))


def refuse(connection: Connection, error: FramingError) -> None:
    """The peer has sent an invalid message."""
    loss = LostConnectionError(f"{connection.endpoint}: {error}", reason=LossReason.RESET)
    loss.__cause__ = error.with_traceback(None)
    # These bytes arrived before any other loss that was found.
    connection.ends.note_earlier_cause(loss)
    connection.happens(Happening.LOSS, loss)


def _loss(connection: Connection, exc: OSError) -> SocketError:
    """The first cause of the loss: the known one, or that of the OS."""
    # Their frames hold sockets, and the context may be what the user's code is handling.
    exc.__cause__ = exc.__context__ = None
    return connection.ends.loss or translate_loss(exc, f"{connection.endpoint}: connection lost")


def _hand_on_rest(connection: Connection) -> bool:
    """Deliver the input before the end; False if that has ended the connection itself."""
    try:
        connection.inbox.hand_on_rest()
    except FramingError as error:
        refuse(connection, error)
    return connection.link.transport is not None
