"""Carries out the end of a connection: one function for each effect of ``Ends``, in order."""

from __future__ import annotations

import functools
import socket as stdlib_socket
from typing import TYPE_CHECKING, Final

import trio

from trio_xsock._machines.ends import Effect, Happening, Phase
from trio_xsock._machines.state import CLOSING, CONNECTED
from trio_xsock._runtime.faults import give_back
from trio_xsock._runtime.tracebacks import forget_traceback
from trio_xsock._values.errors import SocketError

from .by_caller import look, serve
from .closing import Closing
from .losing import has_nothing_to_send, send_failed
from .reasons import verdict, why_not_sending
from .writing import drop_queue

if TYPE_CHECKING:
    from .connection import Connection

GRACE: Final = 5.0
"""Seconds that a close without a waiting call may take."""

# As constants, because an attribute of an enum costs 0.2 us on Python 3.11.
_OPEN: Final = Phase.OPEN
_THEIRS_ENDED: Final = Phase.THEIRS_ENDED
_GONE: Final = Phase.GONE
_CLOSE: Final = Happening.CLOSE
_DELIVERED: Final = Happening.DELIVERED


def carry_out(connection: Connection, effects: tuple[Effect, ...]) -> None:
    for effect in effects:
        _STEPS[effect](connection)


def close(
    connection: Connection, grace: float | None = None, *, farewell: SocketError | None = None
) -> None:
    """End a connection, or the attempt at one.

    Args:
        connection: the connection.
        grace: seconds for a graceful close; ``None`` to end it at once.
        farewell: the error to announce when it is closed.
    """
    ends = connection.ends
    if ends.phase is _GONE and ends.closed_by_us:
        return
    if connection.state is CONNECTED and ends.may_receive and not connection.intake.served:
        look(connection)  # what has arrived stays readable
    if (
        grace is None
        or connection.state not in (CONNECTED, CLOSING)
        or (farewell is None and _nothing_is_left(connection))
    ):
        connection.happens(_CLOSE)
        return
    kind = Happening.ACLOSE if farewell is None else Happening.DISCONNECT
    connection.happens(kind, farewell)
    if connection.closing is not None and connection.link.transport is not None:
        _limit_closing(connection, connection.closing, grace)


def _nothing_is_left(connection: Connection) -> bool:
    """Whether a graceful close would be done at once, which saves it half of the work."""
    transport, ends = connection.link.transport, connection.ends
    if transport is None or not has_nothing_to_send(connection, transport):
        return False
    if ends.phase is _THEIRS_ENDED:
        return True
    if ends.phase is not _OPEN or connection.inbox.size:
        return False
    try:
        return not transport.has_unread_input()
    except OSError:
        return False


def give_up(connection: Connection, who: object) -> None:
    """End a connection after a step of that has raised: take all steps again, whatever they raise.

    Args:
        connection: the connection; it may have ended, in part or as a whole.
        who: the socket, for texts.
    """
    give_back(functools.partial(connection.happens, Happening.CLOSE))
    why = why_not_sending(connection, who)
    give_back(
        functools.partial(drop_queue, connection),
        functools.partial(connection.inbox.end, why, closed_by_us=True),
        functools.partial(connection.inbox.tell_loss, why, clean=False),
        functools.partial(connection.release, say_so=False),
        connection.outlet.end_waits,
        functools.partial(_tell_closed, connection),
        connection.delivery.close,
    )


def _serve_reader(connection: Connection) -> None:
    inbox, closed_by_us = connection.inbox, connection.ends.closed_by_us
    if not inbox.waiting:  # a later reader gets the error when it calls
        if not closed_by_us:
            inbox.announce_unread()
        return
    ended = verdict(connection, connection.delivery.socket)
    if ended is not None:
        inbox.end(ended, closed_by_us=closed_by_us)


def _announce_end(connection: Connection) -> None:
    error = connection.ends.announced
    if error is not None:
        connection.delivery.post_error(error)
        connection.inbox.tell_loss(error, clean=connection.ends.their_end)


def _start_closing(connection: Connection) -> None:
    closing = connection.start_closing(discarding=connection.inbox.size > 0)
    connection.outlet.wake_for_room()
    if connection.owner is not None:
        connection.owner.connection_ending(connection)
    if not connection.ends.closed_by_us:
        closing.shorten(trio.current_time(), GRACE)


def keep_closing(connection: Connection) -> None:
    """A graceful close has begun, and unlike most is not done at once: discard input until it is.

    The keeper task ends it when its grace is over, and reads what the OS does not report.
    """
    if not connection.ends.their_end:
        serve(connection)
        connection.intake.start()
    connection.wake_keeper()


def _limit_closing(connection: Connection, closing: Closing, grace: float) -> None:
    """It may take ``grace`` seconds from now, or less if it was limited before."""
    if closing.shorten(trio.current_time(), grace):
        connection.wake_keeper()


def _send_fin(connection: Connection) -> None:
    transport, closing = connection.link.transport, connection.closing
    if transport is None:
        return
    try:
        if not transport.end():
            return  # ``tick`` tries again when the OS took all
        connection.link.wake_drainers(transport)
        # If nothing is left to be done the OS ends our direction as it closes.
        last = connection.ends.their_end
        if last or (closing is not None and not closing.must_linger(transport)):
            connection.happens(_DELIVERED)
            return
        transport.shutdown(stdlib_socket.SHUT_WR)
    except OSError as exc:
        send_failed(connection, exc)
        return
    if connection.watchdogs is not None and connection.watchdogs.note_end():
        connection.wake_keeper()
    connection.happens(Happening.FIN_SENT)


def _linger(connection: Connection) -> None:
    transport, closing = connection.link.transport, connection.closing
    if transport is None or closing is None:
        return
    if not closing.must_linger(transport):
        connection.happens(_DELIVERED)
    elif closing.linger():
        connection.wake_keeper()


def _end_channels(connection: Connection) -> None:
    if connection.ends.phase is _GONE:
        connection.delivery.close()
    else:
        connection.delivery.end()


def _release(connection: Connection) -> None:
    """Close the descriptor; the connection is closed."""
    connection.inbox.settle()
    # With nothing left to send TLS may send close_notify. If something is dropped, the peer must
    # see that the stream was truncated.
    ends, outlet = connection.ends, connection.outlet
    say_so = ends.closed_by_us and ends.loss is None and not outlet.ledger.open
    connection.release(say_so=say_so)
    outlet.end_waits()
    _tell_closed(connection)


def _tell_closed(connection: Connection) -> None:
    """Wake the tasks that wait for the end, and notify the block and the server."""
    link, closing, owner = connection.link, connection.closing, connection.owner
    if link.drainers:
        _fail_drainers(connection)
    if closing is not None:
        closing.done()
    keeper = connection.delivery.keeper
    if keeper is None:  # nothing was begun
        return
    keeper.note_closed()
    if owner is not None:
        owner.connection_closed(connection)
        keeper.retire()


def _fail_drainers(connection: Connection) -> None:
    who = connection.delivery.socket
    connection.link.fail_drainers(lambda: why_not_sending(connection, who))


_STEPS: Final = {
    Effect.RELEASE: _release,
    Effect.DROP_QUEUE: drop_queue,
    Effect.SERVE_READER: _serve_reader,
    Effect.ANNOUNCE: _announce_end,
    Effect.START_CLOSING: _start_closing,
    Effect.SEND_FIN: _send_fin,
    Effect.LINGER: _linger,
    Effect.END_CHANNELS: _end_channels,
}


def forget_tracebacks(connection: Connection) -> None:
    """The block is left: clear the tracebacks of the errors that are kept, which hold sockets."""
    for error in (connection.ends.loss, connection.delivery.last_error):
        if error is not None:
            forget_traceback(error)
