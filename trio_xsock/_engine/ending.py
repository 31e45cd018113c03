"""The ends of a connection: ours, the peer's, the network's."""

from __future__ import annotations

import errno as errnos
import math
import os
import socket as stdlib_socket
import sys

import trio

from trio_xsock._machines.state import CLOSING, CONNECTED, Move, next_state
from trio_xsock._machines.time_limit import TimeLimit
from trio_xsock._network.kernel import has_unread_input, unacknowledged_bytes, was_reset
from trio_xsock._network.options import check_seconds
from trio_xsock._runtime.clock import runs_by_itself
from trio_xsock._runtime.faults import give_back
from trio_xsock._runtime.groups import as_group
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._values.errors import (
    LossReason,
    LostConnectionError,
    SocketError,
    forget_frames,
    translate_loss,
)
from trio_xsock._values.events import ErrorOccurred

from .link import SMALLEST_READ
from .outlet import Outlet

_GRACE = 5.0
_FIRST_ACK_POLL = 0.001
_LAST_ACK_POLL = 0.05


@protect_from_ki
class Ending(Outlet):
    """How a connection ends."""

    __slots__ = ()

    def _end_input(self) -> None:
        """The OS says that nothing more will come."""
        if self._loss is None and not self._eof_sent and was_reset(self._transport):
            exc = ConnectionResetError(errnos.ECONNRESET, os.strerror(errnos.ECONNRESET))
            self._loss = translate_loss(exc, f"{self._endpoint()}: connection lost")
        if self._loss is not None:
            self._lose(self._loss)
            return
        self._input_ended = True
        self._stop_reading()
        if self._state is CLOSING:
            self._advance_closing()  # what is queued is still sent
            return
        error = self._peer_closed()
        half_close = self._may_half_close() or self._output_ended
        if not half_close:
            self._sender_refusal = error
        self._serve_end()
        self._announce_unread()
        self._announce_loss(error)
        if self._eof_sent:
            self._release()
        elif not half_close:
            self._begin_closing(_GRACE)
        self._end_channels()

    def _peer_closed(self) -> LostConnectionError:
        """What the peer's clean end is told as, to everybody."""
        text = f"{self._endpoint()}: the peer closed the connection"
        return LostConnectionError(text, reason=LossReason.REMOTE_CLOSED)

    def _may_half_close(self) -> bool:
        if self._allow_half_close is None:
            return self._handler is None
        return self._allow_half_close

    def _announce_loss(self, error: SocketError) -> None:
        if not self._loss_announced:
            self._loss_announced = True
            self._last_error = error
            self._post_if_active(ErrorOccurred, error)

    def _lose(self, error: SocketError) -> None:
        """The connection is gone; what is buffered stays readable.

        If a send has found it dead before, that is the cause that callers have been told.
        """
        self._loss = error = self._loss or error
        self._drop_queue()
        if self._state is not CLOSING:
            self._serve_end(error)
            self._announce_unread()
            self._announce_loss(error)
        self._release()

    def _release(self) -> None:
        """Give the descriptor back; the socket is closed."""
        self._settle()
        transport, watch = self._transport, self._watch
        self._transport = self._watch = None
        self._reading = self._blocked = False
        give_back(*[each.close for each in (watch, transport) if each is not None])
        self._state = next_state(self._state, Move.CLOSE)
        self._drop_queue()
        if self._announce_local_end:
            self._announce_local_end = False
            text = f"{self._endpoint()}: we disconnected"
            self._announce_loss(LostConnectionError(text, reason=LossReason.LOCAL))
        self._serve_end()
        self._set_closed()
        if self._owner is not None:
            self._owner._connection_closed(self)
            assert self._keeper is not None
            if not self._keeper.ended:
                self._keeper.retire()
        closings, self._closings = self._closings, None
        for parking in closings or ():
            parking.unpark()
        self._hub.end()
        self._released = True

    def _after_queue(self) -> None:
        """The send queue has run empty: go on with what waited for that."""
        if self._loss is None and self._transport is not None:
            if self._state is CLOSING:
                self._advance_closing()
            elif self._output_ended:
                self._send_fin()
        self._end_channels()

    def _end_channels(self) -> None:
        """Iteration over events ends once the peer's end is announced and all is sent."""
        if self._loss_announced and not self._ledger.open:
            self._hub.end()

    def close(self) -> None:
        """End the connection, or the attempt at one, at once. Always legal, idempotent.

        What was queued is dropped. Xojo: ``Close``.

        Events: ``SendComplete(user_aborted=True)`` if something was queued; nothing more.
        """
        self._check_thread()
        self._closed_by_us = True
        self._close_at_once()

    def _close_at_once(self) -> None:
        scope, self._connect_scope = self._connect_scope, None
        if self._released and scope is None:
            return
        self._announce_local_end = self._announce_local_end and self._transport is not None
        self._release()
        if scope is not None:
            scope.cancel("the socket was closed")

    async def aclose(self, grace: float = _GRACE) -> None:
        """End the connection in good order. Always legal, idempotent.

        What was queued is sent first, then our direction is ended. If input was unread, what
        the OS holds of it and what still arrives is discarded until the peer has ended too or
        has acknowledged all: closing with unread input would make the kernel send a reset,
        which destroys what was sent (RFC 2525, 2.17). So it is for a client of TLS 1.3 whose
        server has said nothing since the handshake: its tickets are still to come.

        Args:
            grace: how many seconds this may take; then as ``close()``.

        Cancellation: the socket is closed at once.
        Events: those of the sends; nothing more.
        """
        check_seconds("grace", grace)
        self._check_thread()
        self._start_closing(grace)
        if self._state is not CLOSING:
            self.close()
            keeper = self._keeper
            if keeper is not None and keeper.exiting and not keeper.ended:
                await trio.lowlevel.checkpoint_if_cancelled()  # others have their turn right after
            else:
                await trio.lowlevel.checkpoint()
        else:
            try:
                await self._wait_until_closed()
            finally:
                self.close()
                self._pump()
        await self._delivered()

    async def _wait_until_closed(self) -> None:
        parking: Parking[None] = Parking()
        if self._closings is None:
            self._closings = []
        self._closings.append(parking)
        await parking.park()

    async def disconnect(self, grace: float = _GRACE) -> None:
        """``aclose``, and tell our own consumers. Xojo: ``Disconnect``.

        Args:
            grace: how many seconds this may take; then as ``close()``.

        Cancellation: the socket is closed at once.
        Events: those of the sends, then one ``ErrorOccurred`` with a ``LostConnectionError``
        whose ``reason`` is ``LOCAL``; none if the socket was not connected.
        """
        check_seconds("grace", grace)
        self._check_thread()
        if self._state is CONNECTED:
            self._announce_local_end = True
        await self.aclose(grace)

    # Closing in good order

    def _start_closing(self, grace: float) -> None:
        """``aclose`` without waiting for it."""
        self._closed_by_us = True
        self._serve_end()
        if self._state is CONNECTED:
            self._begin_closing(grace)
        elif self._state is CLOSING:
            self._limit_closing(grace)

    def _begin_closing(self, grace: float) -> None:
        self._state = next_state(self._state, Move.DRAIN)
        self._output_ended = True
        if self._owner is not None:
            self._owner._connection_ending(self)
        self._discarded = self._buffer.size > 0
        self._reading = True
        if self._watch is not None and not self._input_ended:
            self._watch.reading(True)
        self._advance_closing()
        if self._transport is not None:
            self._limit_closing(grace)

    def _limit_closing(self, grace: float) -> None:
        """Closing in good order may take so many seconds from now, or less as was said before."""
        limit = TimeLimit(trio.current_time(), grace)
        if self._closing_limit is None or limit.deadline < self._closing_limit.deadline:
            self._closing_limit = limit
            self._wake_keeper()

    def _advance_closing(self) -> None:
        """The queue is empty, or may be: end our direction, then ourselves."""
        if self._ledger.open:
            return
        self._send_fin()
        transport = self._transport
        if transport is None or not self._eof_sent:
            return
        if self._input_ended or not self._has_to_linger(transport):
            self._release()
        elif not self._ack_poll:
            self._ack_poll = _FIRST_ACK_POLL
            self._wake_keeper()

    def _has_to_linger(self, transport: stdlib_socket.socket) -> bool:
        """Whether closing now could make the OS send a reset, for input that nobody has read."""
        return self._discarded or has_unread_input(transport)

    def _send_fin(self) -> None:
        """Our direction ends; the peer reads to the end of what was sent."""
        transport = self._transport
        if self._eof_sent or transport is None:
            return
        self._eof_sent = True
        # Where nothing is left to be done the OS ends our direction as it closes.
        if self._input_ended or (self._state is CLOSING and not self._has_to_linger(transport)):
            self._release()
            return
        try:
            transport.shutdown(stdlib_socket.SHUT_WR)
        except OSError as exc:  # ENOTCONN: the peer has reset the connection
            self._output_failed(exc)

    def _discard_step(self, transport: stdlib_socket.socket) -> bool:
        """While closing: keep unread input from turning our FIN into a reset."""
        try:
            data = transport.recv(SMALLEST_READ)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            self._lose(translate_loss(exc, f"{self._endpoint()}: connection lost"))
            return True
        if data:
            self._discarded = True
        else:
            self._end_input()
        return True

    def _next_deadline(self) -> float:
        limit = self._closing_limit
        if limit is not None and trio.current_time() >= limit.deadline:
            self._take_stock()
        if self._state is not CLOSING or self._transport is None or limit is None:
            return math.inf
        now = trio.current_time()
        acknowledged = self._ack_poll and unacknowledged_bytes(self._transport) == 0
        if acknowledged or limit.is_over(now, counts_lateness=runs_by_itself()):
            self._release()
            self._pump()
            return math.inf
        if not self._ack_poll:
            return limit.deadline
        self._ack_poll = min(self._ack_poll * 2, _LAST_ACK_POLL)
        return min(limit.deadline, now + self._ack_poll)

    async def _end_scope(self) -> None:
        await super()._end_scope()
        for error in (self._loss, self._last_error):
            if error is not None:
                _forget(error)


def _forget(error: SocketError) -> None:
    """Keep an error without its traceback, whose frames, a user's too, refer to the socket.

    What is on its way to somebody keeps it, less the frames of ours.
    """
    forget_frames(error)
    if not _is_on_its_way(error):
        error.__traceback__ = None


def _is_on_its_way(error: BaseException) -> bool:
    """Whether ``error`` is, or belongs to, what is just being raised."""
    found: list[BaseException | None] = [sys.exception()]
    for each in found:
        if each is error:
            return True
        if each is not None:
            group = as_group(each)
            parts = group.exceptions if group is not None else ()
            found += [one for one in (each.__cause__, each.__context__, *parts) if one not in found]
    return False
