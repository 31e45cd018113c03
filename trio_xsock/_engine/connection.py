"""``Connection``: one connection from its beginning to its end; each has an object of its own.

It owns the transport and its watch, and joins the parts: ``Intake`` and an inbox for what comes,
``Outlet`` for what goes, ``Ends`` for how it ends. All of it is *steps*, plain functions that
never wait. The watch, the keeper task and the transport call them when something is ready; the
socket calls them for its user. Cancellation can only come between steps, so the books are exact.

What happens to an end is reported to ``Ends``; what has to be done then is done in ``_apply``.
"""

from __future__ import annotations

import errno as errnos
import os
import socket as stdlib_socket
from collections import deque
from typing import Any, Final, Protocol

import trio

from trio_xsock._machines.endpoint import format_endpoint
from trio_xsock._machines.ends import Effect, Ends, Happening, Phase, Why
from trio_xsock._machines.ledger import SendLedger, Ticket
from trio_xsock._machines.state import (
    CLOSED,
    CLOSING,
    CONNECTED,
    Move,
    SocketState,
    next_state,
)
from trio_xsock._network.handshake import Handshake
from trio_xsock._network.tcp_info import set_keepalive
from trio_xsock._network.transport import Transport
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.faults import give_back
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Watch
from trio_xsock._values.errors import (
    FramingError,
    InvalidStateError,
    LossReason,
    LostConnectionError,
    OutOfMemoryError,
    SocketClosedError,
    SocketError,
    translate_loss,
)
from trio_xsock._values.events import Connected

from .closing import Closing
from .intake import CLEAN_END, SMALLEST_READ, Inbox, Intake
from .options import ConnectionOptions
from .outlet import Outlet
from .reasons import closed_error, not_connected
from .watchdogs import Watchdogs

GRACE: Final = 5.0
"""Seconds that a close which nobody waits for may take."""

_OPEN: Final = Phase.OPEN
_HELD: Final = Phase.HELD
_FIN_IS_OUT: Final = (Phase.OURS_ENDED, Phase.LINGERING)


class Owner(Protocol):
    """A server, as far as the connections that it accepted need it."""

    def _connection_ending(self, socket: Any, /) -> None:
        """The connection gives its place back; it may still linger."""

    def _connection_closed(self, socket: Any, /) -> None:
        """The connection has no descriptor any more."""

    def _connection_failed(self, socket: Any, /) -> None:
        """The connection's handler object, or a task of its, raised."""

    def _peer_failed(self, socket: Any, error: Exception, /) -> None:
        """The library's own work for the connection raised; never raises itself."""

    def _handler_waits(self, socket: Any, scope: trio.CancelScope, /) -> None:
        """The connection's handler waits in ``scope``, which is cancelled if the server stops."""

    def _handler_goes_on(self, socket: Any, scope: trio.CancelScope, cancelled: bool, /) -> None:
        """That wait is over; ``cancelled`` says if it ended by the cancellation of ``scope``."""


@protect_from_ki
class Connection:
    """One connection.

    Args:
        delivery: where its events go.
        inbox: where received bytes go; it outlives the connection.
        ledger: the send queue, an empty one.
        options: the limits and time-outs.
        peer: what ``remote_address`` and ``remote_port`` are until it is open.

    Attributes:
        delivery, inbox, options, peer: as above.
        attempt: the scope of ``connect()`` or ``listen()`` while that is going on.
        closing: what a graceful close needs, once it has begun.
        ends: how far the ends are.
        failure: why it never came to be.
        handshake: that of a connection that a server has accepted, while it goes on.
        intake, outlet: its halves.
        keeper: the tasks of the block that it lives in; ``None`` before it begins.
        owner: the server that accepted it.
        securing: TLS's handshake is going on.
        state: where in its life it is.
        watchdogs: what notices that the peer is gone; ``None`` for none.
        transport: what moves its bytes; ``None`` when it is not open.
    """

    __slots__ = (
        "_drainers",
        "_later",
        "_watch",
        "watchdogs",
        "_waiters",
        "attempt",
        "closing",
        "delivery",
        "ends",
        "failure",
        "handshake",
        "inbox",
        "intake",
        "keeper",
        "options",
        "outlet",
        "owner",
        "peer",
        "securing",
        "state",
        "transport",
    )

    def __init__(
        self,
        delivery: Delivery,
        inbox: Inbox,
        ledger: SendLedger,
        options: ConnectionOptions,
        peer: tuple[str, int] = ("", 0),
    ) -> None:
        self.delivery = delivery
        self.inbox = inbox
        self.options = options
        self.peer = peer
        self.ends = Ends()
        self.intake = Intake(options.receive_buffer_limit)
        self.outlet = Outlet(delivery, ledger, options.progress_interval)
        self.state: SocketState = CLOSED
        self.keeper: Keeper | None = None
        self.owner: Owner | None = None
        self.transport: Transport | None = None
        self.attempt: trio.CancelScope | None = None
        self.closing: Closing | None = None
        self.failure: SocketError | None = None
        self.handshake: Handshake | None = None
        self.securing = False
        self._watch: Watch | None = None
        self.watchdogs: Watchdogs | None = None
        self._drainers: list[Parking[None]] | None = None
        self._later: deque[tuple[Happening, SocketError | None]] | None = None
        self._waiters: list[Parking[bool]] | None = None

    # Beginning

    def begin(self, move: Move, keeper: Keeper, owner: Owner | None = None) -> None:
        """An attempt begins: ``connect()``, ``listen()``, or a server's accept."""
        self.state = next_state(self.state, move)
        self.keeper = keeper
        self.owner = owner

    def fail(self, error: SocketError | None) -> None:
        """The attempt failed, or was cancelled if there is no ``error``."""
        self.state = next_state(self.state, Move.FAIL)
        self.attempt = None
        self.failure = error
        self._wake_waiters(False)
        if error is not None:
            self.delivery.post_error(error)
        self.delivery.close()

    def open(self, transport: Transport, peer: tuple[str, int], *, hold: bool = False) -> None:
        """Take a connected transport over.

        Args:
            transport: owned from now on.
            peer: the peer's address and port.
            hold: a handshake comes first: nobody reads or writes until ``go_on``.
        """
        self.attempt = None
        self.transport = transport
        self.peer = peer
        self.inbox.restart()
        if self.options.keepalive is not None:
            set_keepalive(transport, self.options.keepalive)
        if hold:
            self.hold()
        else:
            self._use(transport)
        self.start_watchdogs()

    def _use(self, transport: Transport) -> None:
        keeper = self.keeper
        assert keeper is not None
        self.transport = transport
        transport.on_wake(self._wake)
        watch = transport.make_watch(keeper, self.on_readable, self.on_writable)
        self._watch = watch
        self.intake.attach(watch)
        self.outlet.attach(watch)

    def _leave_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def swap(self, transport: Transport) -> None:
        """Go on through another transport."""
        self._leave_watch()
        self._use(transport)
        self._wake()

    def hold(self) -> None:
        """TLS is about to begin: nobody reads or writes until ``go_on``."""
        self.securing = True
        self.happens(Happening.HOLD)
        self.intake.stop()

    def put_over(self, transport: Transport, handshake: Handshake | None = None) -> None:
        """While it is held: a transport that is to encrypt is put over the one there is.

        Args:
            transport: that transport.
            handshake: closed with the connection.
        """
        self._leave_watch()
        self.intake.attach(None)
        self.outlet.attach(None)
        self.transport = transport
        self.handshake = handshake

    def go_on(self, transport: Transport) -> None:
        """The handshake is done."""
        self.securing = False
        self.handshake = None
        self.happens(Happening.GO_ON)
        self._use(transport)

    def announce(self) -> None:
        """It is up: post ``Connected`` and begin to read."""
        self.state = next_state(self.state, Move.ESTABLISH)
        self._wake_waiters(True)
        self.delivery.post(Connected)
        self.resume_reading()

    def wait_until_up(self, parking: Parking[bool]) -> None:
        """Wake ``parking``: with True when it is announced, with False if that will not be."""
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(parking)

    def forget_waiter(self, parking: Parking[bool]) -> None:
        """Its task was cancelled."""
        if self._waiters and parking in self._waiters:
            self._waiters.remove(parking)

    def _wake_waiters(self, up: bool) -> None:
        waiters, self._waiters = self._waiters, None
        for parking in waiters or ():
            parking.unpark(up)

    def set_options(self, options: ConnectionOptions) -> None:
        """Go on with other limits and time-outs."""
        before, self.options = self.options, options
        self.intake.limit = options.receive_buffer_limit
        self.outlet.progress_interval = options.progress_interval
        if self.transport is None:
            return
        if options.keepalive != before.keepalive:
            set_keepalive(self.transport, options.keepalive)
        if options.timeouts != before.timeouts:
            self.start_watchdogs()
        self.resume_reading()

    def start_watchdogs(self) -> None:
        """Begin to count the time-outs anew."""
        idle, unacknowledged = self.options.timeouts
        if idle is None and unacknowledged is None:
            self.watchdogs = None
        else:
            self.watchdogs = Watchdogs(idle, unacknowledged, trio.current_time())
            self.wake_keeper()

    # Facts

    @property
    def is_connected(self) -> bool:
        """Connected, and our direction is open."""
        return self.state is CONNECTED and self.ends.may_send

    @property
    def endpoint(self) -> str:
        """The peer, as messages name it."""
        return format_endpoint(*self.peer)

    def closed_error(self, who: object, what: str = "the socket was closed") -> SocketClosedError:
        """See ``reasons.closed_error``."""
        return closed_error(who, self.keeper, what, accepted=self.owner is not None)

    def not_connected(self, who: object) -> InvalidStateError:
        """See ``reasons.not_connected``."""
        return not_connected(who, self.keeper, self.state)

    def why_not_sending(self, who: object) -> SocketError:
        """What stands in the way of sending.

        Args:
            who: the socket, for the text.
        """
        why = self.ends.why_not_sending()
        if isinstance(why, SocketError):
            return why.with_traceback(None)
        if why is Why.CLOSED_BY_US:
            return self.closed_error(who)
        if why is Why.TLS_BEGINS and self.state is CONNECTED:
            return InvalidStateError(f"{who!r}: TLS is about to begin; wait for start_tls()")
        if why is Why.OUTPUT_ENDED:
            return SocketClosedError(f"{who!r}: our direction was ended by send_eof()")
        return self.not_connected(who)

    def check_sending(self, who: object) -> None:
        """Raise what stands in the way of sending."""
        if self.state is not CONNECTED or not self.ends.may_send:
            raise self.why_not_sending(who)

    def why_removed(self, ticket: Ticket, who: object = None) -> SocketError:
        """The error for a caller whose bytes were dropped."""
        who = who or self.delivery.socket
        if self.is_connected:
            total = ticket.sent + ticket.left
            return SocketError(f"{who!r}: send aborted after {ticket.sent} of {total} bytes")
        return self.why_not_sending(who)

    def verdict(self, who: object) -> SocketError | None:
        """Why nothing more will come, ``CLEAN_END`` for the peer's end; ``None`` while it may."""
        ends = self.ends
        if self.state is CONNECTED and ends.may_receive:
            return None
        why = ends.verdict()
        if why is Why.CLEAN_END:
            return CLEAN_END
        if why is Why.CLOSED_BY_US:
            return self.closed_error(who)
        return why if isinstance(why, SocketError) else self.not_connected(who)

    # Reading

    def wake_keeper(self) -> None:
        """Have ``tick`` called soon."""
        if self.keeper is not None:
            self.keeper.wake()

    def resume_reading(self) -> None:
        """Something was taken, or is wanted: read on if there is room again."""
        transport, ends = self.transport, self.ends
        if transport is None or not ends.may_receive or ends.phase is _HELD:
            return
        if self.inbox.pending:
            if self.inbox.may_hand_on(self.intake.limit):
                self.wake_keeper()
        elif not self.intake.reading:
            self.intake.resume(self.inbox)
            if transport.ready:
                self._wake()

    def on_readable(self) -> None:
        """Take in what has come, and let the handler have it at once.

        Where a handler alone listens, as in most servers, it is called without detours: the rest
        costs as much again as all of this.
        """
        delivery = self.delivery
        hub = delivery.hub
        method = hub.data_method
        more = False
        delivery.held = True
        try:
            if (
                method is None
                or hub.calls
                or self.inbox.waiting
                or self.ends.phase is not _OPEN
                or self.transport is None
            ):
                self.read_step()
            elif self._take_in(self.transport, self.intake.limit):
                hub.posted += 1
                hub.called += 1
                delivery.call(method, delivery.socket)
            if self.watchdogs is not None:
                self.note_activity()
            if self.outlet.ledger.left:
                more = self.send_some()
        finally:
            delivery.held = False
        if hub.calls or more:
            delivery.run(self)

    def read_step(self) -> bool:
        """Take in what the transport has, once; whether anything happened."""
        transport, ends = self.transport, self.ends
        if transport is None:
            return False
        if self.closing is not None:
            return not ends.their_end and self._discard(transport, self.closing)
        if not ends.may_receive or ends.phase is _HELD:
            return False
        data = self._take_in(transport, self.inbox.room_for(self.intake.limit))
        if data:
            self.hand_on()
        return data is not None

    def _take_in(self, transport: Transport, room: int) -> bytes | None:
        """Put what the transport has into the inbox; see ``Intake.take_in``."""
        inbox = self.inbox
        try:
            data = self.intake.take_in(transport, room, inbox.size)
        except OSError as exc:
            self._lose_to(exc)
            return b""
        if data:
            inbox.put(data)
        elif data is not None:
            self._their_end()
        return data

    def hand_on(self) -> None:
        """Give what is in the inbox to who wants it; the rest when others had their turn."""
        inbox, intake = self.inbox, self.intake
        try:
            inbox.hand_on(intake.limit)
        except FramingError as error:
            self._refuse(error)
            return
        if inbox.pending:
            intake.pause()
            intake.read_small()
            if inbox.may_hand_on(intake.limit):
                self.wake_keeper()
        elif not intake.reading:
            self.resume_reading()

    def decode_some(self) -> bool:
        """Hand on some of what is pending in the inbox; whether there was any."""
        if self.state is not CONNECTED or not self.inbox.may_hand_on(self.intake.limit):
            return False
        self.hand_on()
        return True

    def after_taking(self) -> None:
        """A message was taken: there may be room for more."""
        if not self.inbox.pending:
            self.resume_reading()
        elif self.state is CONNECTED and self.inbox.may_hand_on(max(1, self.intake.limit // 2)):
            self.wake_keeper()

    def _discard(self, transport: Transport, closing: Closing) -> bool:
        """While closing: keep unread input from turning our FIN into a reset."""
        try:
            data = transport.recv(SMALLEST_READ)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            self._lose_to(exc)
            return True
        if data:
            closing.discarding = True
        else:
            self._their_end()
        return True

    # Sending

    def write(self, payload: bytes, who: object, instead: str) -> None:
        """Queue bytes that nobody waits for, and try the OS at once where that is possible.

        Args:
            payload: what to send.
            who: the socket, for texts.
            instead: the call that is not bound by ``send_buffer_limit``.

        Raises:
            OutOfMemoryError: they do not fit into the queue; none of them was queued.
            SocketError: what stands in the way of sending.
        """
        transport = self.transport
        if self.state is not CONNECTED or not self.ends.may_send or transport is None:
            raise self.why_not_sending(who)
        if not payload:
            return
        ledger, delivery = self.outlet.ledger, self.delivery
        if ledger.counted + len(payload) > self.options.send_buffer_limit:
            raise OutOfMemoryError(
                f"{who!r}: {len(payload)} bytes more would exceed send_buffer_limit="
                f"{self.options.send_buffer_limit}; await flush() first, or use {instead}"
            )
        if delivery.held:  # what a handler sends is joined, and goes when it returns
            ledger.queue(payload)
            return
        try:
            self.outlet.offer(transport, payload)
        except OSError as exc:
            self.send_failed(exc)
        self.after_sending()
        if ledger.left:
            self.send_now()
        elif delivery.hub.calls:
            delivery.schedule()

    def send_at_once(self, data: bytes | memoryview) -> int | None:
        """Offer a caller's bytes to the transport; see ``Outlet.send_at_once``.

        Returns:
            ``None`` if the connection turned out to be lost; they count as queued and dropped.
        """
        transport = self.transport
        assert transport is not None  # for who has checked that it may send
        try:
            sent = self.outlet.send_at_once(transport, data)
        except OSError as exc:
            self.outlet.ledger.reserve(data)
            self.send_failed(exc)
            return None
        self.after_sending()
        return sent

    def wait_for(self, ticket: Ticket, parking: Parking[None], who: object) -> None:
        """Wake ``parking`` when ``ticket`` has nothing to send at present, or was dropped."""
        if ticket.removed:
            parking.fail(self.why_removed(ticket, who))
        else:
            self.outlet.wait_for(ticket, parking)

    def end_ticket(self, ticket: Ticket) -> None:
        """Nothing more will be fed to a ticket that was held."""
        ticket.held = False
        self.outlet.account(0)  # it leaves the queue
        self.after_sending()

    def end_output(self, who: object) -> None:
        """``send_eof()``: our direction ends after what is queued. Idempotent.

        Raises:
            SocketError: what stands in the way.
        """
        if self.is_connected:
            self.happens(Happening.SEND_EOF)
        elif self.ends.why_not_sending() is not Why.OUTPUT_ENDED:
            raise self.why_not_sending(who)

    def send_now(self) -> None:
        """After something was queued in a plain call: try the OS, unless a handler runs."""
        outlet, delivery = self.outlet, self.delivery
        if not outlet.refused and not delivery.held:
            self.write_step()
            if delivery.hub.watches_progress and outlet.ledger.left:
                self.wake_keeper()  # the rest goes when the handler has seen this chunk
            delivery.schedule()

    def send_some(self) -> bool:
        """See ``Sender``."""
        outlet, transport, hub = self.outlet, self.transport, self.delivery.hub
        if not outlet.ledger.left or outlet.refused or transport is None:
            return False
        before = outlet.bytes_sent
        try:
            all_went = self.ends.may_send and outlet.offer_again(transport)
        except OSError as exc:
            self.send_failed(exc)
            return bool(hub.calls)
        if all_went:
            self.after_sending()
            return outlet.ledger.left > 0 or bool(hub.calls)
        self.write_step()
        # A connection that turns out to be dead takes nothing, and has news all the same.
        return outlet.bytes_sent != before or bool(hub.calls)

    def on_writable(self) -> None:
        """The OS takes bytes again."""
        delivery = self.delivery
        delivery.held = True
        try:
            self._write_on()
        finally:
            delivery.held = False
        if delivery.hub.calls:
            delivery.run(self)

    def _write_on(self) -> None:
        transport, outlet = self.transport, self.outlet
        if transport is None:
            return
        if transport.unsent:
            try:
                if not transport.flush():
                    return
            except OSError as exc:
                self.send_failed(exc)
                return
        self.write_step()
        if not outlet.ledger.left:
            outlet.wake_for_room()

    def write_step(self) -> None:
        """Give the transport what it takes."""
        transport = self.transport
        if transport is not None:
            try:
                self.outlet.write(transport)
            except OSError as exc:
                self.send_failed(exc)
            self.after_sending()

    def after_sending(self) -> None:
        """Bytes may have gone: go on with what waits for an empty queue."""
        if self.watchdogs is not None:
            self.note_activity()
        if self.ends.phase is not _OPEN and not self.outlet.ledger.open:
            self.happens(Happening.QUEUE_EMPTY)

    def abort_from_handler(self) -> None:
        """See ``Sender``."""
        self.outlet.abort(self.why_removed)
        self.after_sending()

    def remove(self, ticket: Ticket) -> None:
        """A caller was cancelled: its own bytes leave the queue."""
        self.outlet.forget(ticket)
        self.outlet.remove(ticket)
        self.after_sending()
        self.delivery.schedule()

    def wait_until_drained(self, parking: Parking[None]) -> None:
        """Wake ``parking`` when the OS has what the transport holds."""
        if self._drainers is None:
            self._drainers = []
        self._drainers.append(parking)

    def forget_drainer(self, parking: Parking[None]) -> None:
        """Its task was cancelled."""
        if self._drainers and parking in self._drainers:
            self._drainers.remove(parking)

    # The keeper task

    def _wake(self) -> None:
        """The transport has something that the OS does not report: see to it in ``tick``."""
        transport = self.transport
        if transport is None:
            return
        if self.has_input(transport) or self._drainers or self.ends.phase is not _OPEN:
            self.wake_keeper()

    def has_input(self, transport: Transport) -> bool:
        """Whether the transport holds input that may be read now."""
        return transport.ready and self.intake.reading and not self.securing

    def wake_drainers(self, transport: Transport) -> None:
        """If the OS has all that the transport held, go on with what waited for that."""
        if self._drainers and not transport.unsent:
            drainers, self._drainers = self._drainers, None
            for parking in drainers:
                parking.unpark()

    def note_activity(self) -> None:
        """Bytes may have moved; for connections that have watchdogs."""
        watchdogs = self.watchdogs
        if watchdogs is None:
            return
        sent, transport = self.outlet.bytes_sent, self.transport
        moved = self.intake.bytes_received + sent + (transport.moved if transport else 0)
        if watchdogs.note(moved, sent, trio.current_time()):
            self.wake_keeper()

    # Ends

    def _their_end(self) -> None:
        """The OS says that nothing more will come."""
        transport, ends = self.transport, self.ends
        self.intake.stop()
        fin_is_out = ends.phase in _FIN_IS_OUT
        if ends.loss is None and not fin_is_out and transport is not None and transport.was_reset():
            # A send took the OS's error.
            self._lose_to(ConnectionResetError(errnos.ECONNRESET, os.strerror(errnos.ECONNRESET)))
            return
        if self.closing is None and not self._hand_on_rest():
            return
        where = "within a message" if self.inbox.incomplete else ""
        text = f"{self.endpoint}: the peer closed the connection {where}".rstrip()
        error = LostConnectionError(text, reason=LossReason.REMOTE_CLOSED)
        half_close = self.options.allow_half_close
        if half_close is None:
            half_close = self.delivery.handler is None
        self.happens(Happening.THEIR_END if half_close else Happening.THEIR_END_CLOSES, error)

    def _hand_on_rest(self) -> bool:
        """What came before the end comes first; False if that was an end of its own."""
        try:
            self.inbox.hand_on_rest()
        except FramingError as error:
            self._refuse(error)
        return self.transport is not None

    def _refuse(self, error: FramingError) -> None:
        """The peer sent what is no message."""
        loss = LostConnectionError(f"{self.endpoint}: {error}", reason=LossReason.RESET)
        loss.__cause__ = error.with_traceback(None)
        self.happens(Happening.LOSS, loss)

    def _lose_to(self, exc: OSError) -> None:
        """The OS, or TLS, says that the connection is lost."""
        self.lose(self.ends.loss or translate_loss(exc, f"{self.endpoint}: connection lost"))

    def lose(self, error: SocketError) -> None:
        """The connection is lost; what is buffered stays readable."""
        if self.closing is not None or self._hand_on_rest():
            self.happens(Happening.LOSS, error)

    def break_down(self, error: Exception) -> None:
        """The library's own work for this connection raised: it is lost, and all are told."""
        if self.transport is not None:
            text = f"{self.endpoint}: connection lost: internal error: {error!r}"
            loss = LostConnectionError(text)
            loss.__cause__ = error.with_traceback(None)  # its frames hold the socket
            self.lose(loss)
            self.delivery.run(self)

    def send_failed(self, exc: OSError) -> None:
        """Sending found the connection dead.

        That took the OS's error, and a reader would now see a clean end. So the cause is kept,
        and what arrived before is read first.
        """
        loss = self.ends.loss or translate_loss(exc, f"{self.endpoint}: connection lost")
        self.happens(Happening.SEND_FAILED, loss)
        more = True
        while more and self.transport is not None:
            # What a read brings may be no whole record: then it had nothing, but there is more.
            more = self.intake.reading and self.transport.holds_input()
            more = self.read_step() or more
        # Unless reading has paused nothing is left to be read: it is over.
        if self.transport is not None and (self.intake.reading or self.ends.phase is _HELD):
            self.lose(loss)

    def close(self, grace: float | None = None, *, farewell: SocketError | None = None) -> None:
        """End it, or the attempt at it.

        Args:
            grace: seconds for a graceful close; ``None`` to end it at once.
            farewell: what to announce when it is closed.
        """
        if grace is None or self.state not in (CONNECTED, CLOSING):
            self.happens(Happening.CLOSE)
        else:
            kind = Happening.ACLOSE if farewell is None else Happening.DISCONNECT
            self.happens(kind, farewell)
            if self.closing is not None:
                self._limit_closing(self.closing, grace)

    def _limit_closing(self, closing: Closing, grace: float) -> None:
        """It may take so many seconds from now, or less as was said before."""
        if closing.shorten(trio.current_time(), grace):
            self.wake_keeper()

    def happens(self, what: Happening, cause: SocketError | None = None) -> None:
        """Something happened to an end: do what follows from it, in order."""
        if self._later is not None:  # in the midst of effects, of which this is a consequence
            self._later.append((what, cause))
            return
        effects = self.ends.happens(what, cause, queued=self.outlet.ledger.open)
        if not effects:
            return
        later = self._later = deque[tuple[Happening, SocketError | None]]()
        try:
            self._apply(effects)
            while later:
                next_one, cause = later.popleft()
                self._apply(self.ends.happens(next_one, cause, queued=self.outlet.ledger.open))
        finally:
            self._later = None

    def _apply(self, effects: tuple[Effect, ...]) -> None:
        ends = self.ends
        for effect in effects:
            if effect is Effect.RELEASE:
                self._release()
            elif effect is Effect.DROP_QUEUE:
                self.outlet.drop(self.why_removed, self.why_not_sending(self.delivery.socket))
            elif effect is Effect.SERVE_READER:
                self._serve_reader()
            elif effect is Effect.ANNOUNCE:
                self._announce_end()
            elif effect is Effect.START_CLOSING:
                self._start_closing()
            elif effect is Effect.SEND_FIN:
                self._send_fin()
            elif effect is Effect.LINGER:
                self._linger()
            elif ends.phase is Phase.GONE:
                self.delivery.close()
            else:
                self.delivery.end()

    def _serve_reader(self) -> None:
        verdict = self.verdict(self.delivery.socket)
        if verdict is not None:
            self.inbox.end(verdict, closed_by_us=self.ends.closed_by_us)

    def _announce_end(self) -> None:
        error = self.ends.announced
        if error is not None:
            self.delivery.post_error(error)
            self.inbox.tell_loss(error, clean=self.ends.their_end)

    def _start_closing(self) -> None:
        self.state = next_state(self.state, Move.DRAIN)
        self.outlet.wake_for_room()
        if self.owner is not None:
            self.owner._connection_ending(self.delivery.socket)
        closing = self.closing = Closing(discarding=self.inbox.size > 0)
        if not self.ends.closed_by_us:
            self._limit_closing(closing, GRACE)
        if not self.ends.their_end:
            self.intake.start()
            self._wake()

    def _send_fin(self) -> None:
        transport, closing = self.transport, self.closing
        if transport is None:
            return
        try:
            if not transport.end():
                return  # ``tick`` comes back to it when the OS took all
            # Where nothing is left to be done the OS ends our direction as it closes.
            last = self.ends.their_end
            if last or (closing is not None and not closing.must_linger(transport)):
                self.happens(Happening.DELIVERED)
                return
            transport.shutdown(stdlib_socket.SHUT_WR)
        except OSError as exc:  # ENOTCONN: the peer has reset the connection
            self.send_failed(exc)
            return
        if self.watchdogs is not None and self.watchdogs.note_end():
            self.wake_keeper()
        self.happens(Happening.FIN_SENT)

    def _linger(self) -> None:
        transport, closing = self.transport, self.closing
        if transport is None or closing is None:
            return
        if not closing.must_linger(transport):
            self.happens(Happening.DELIVERED)
        elif closing.linger():
            self.wake_keeper()

    def _release(self) -> None:
        """Give the descriptor back; the connection is closed."""
        self.inbox.settle()
        attempt, self.attempt = self.attempt, None
        handshake, self.handshake = self.handshake, None
        if handshake is not None:
            handshake.close()
        transport, self.transport = self.transport, None
        self.securing = False
        if transport is not None:
            # Who closes with nothing left to send may say so. If something is dropped, the peer
            # shall see that the stream was cut off.
            if self.ends.closed_by_us and self.ends.loss is None and not self.outlet.ledger.open:
                give_back(transport.end)
            transport.on_wake(None)
        give_back(self._leave_watch)
        self.intake.attach(None)
        self.outlet.attach(None)
        self.outlet.wake_for_room()
        if transport is not None:
            give_back(transport.close)
        self.state = next_state(self.state, Move.CLOSE)
        if attempt is not None:
            attempt.cancel("the socket was closed")
        self._tell_closed()

    def _tell_closed(self) -> None:
        """Wake those who wait for the end, and tell the block and the server."""
        self._wake_waiters(False)
        drainers, self._drainers = self._drainers, None
        for parking in drainers or ():
            parking.fail(self.why_not_sending(self.delivery.socket))
        if self.closing is not None:
            self.closing.done()
        if self.keeper is not None:
            self.keeper.note_closed()
        if self.owner is not None and self.keeper is not None:
            self.owner._connection_closed(self.delivery.socket)
            if not self.keeper.ended:
                self.keeper.retire()
