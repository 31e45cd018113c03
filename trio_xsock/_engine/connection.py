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
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import trio

from trio_xsock._machines.endpoint import format_endpoint
from trio_xsock._machines.ends import Ends, Happening, Phase
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
from trio_xsock._runtime.guard import Parking, call_unprotected, protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Watch
from trio_xsock._values.errors import (
    FramingError,
    LossReason,
    LostConnectionError,
    SocketError,
    translate_loss,
)
from trio_xsock._values.events import Connected

from .closing import Closing
from .ending import carry_out
from .intake import SMALLEST_READ, Inbox, Intake
from .options import ConnectionOptions
from .outlet import Outlet
from .reasons import why_not_sending, why_removed
from .watchdogs import Watchdogs

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
        begun: it was used: there was at least an attempt at it.
        attempt: the scope of ``connect()`` or ``listen()`` while that is going on.
        closing: what a graceful close needs, once it has begun.
        ends: how far the ends are.
        failure: why it never came to be.
        handshake: that of a connection that a server has accepted, while it goes on.
        intake, outlet: its halves.
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
        "begun",
        "closing",
        "delivery",
        "ends",
        "failure",
        "handshake",
        "inbox",
        "intake",
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
        self.begun = False
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

    def begin(self, move: Move, owner: Owner | None = None) -> None:
        """An attempt begins: ``connect()``, ``listen()``, or a server's accept."""
        self.state = next_state(self.state, move)
        self.begun = True
        self.owner = owner

    def fail(self, error: SocketError | None) -> None:
        """The attempt failed, or was cancelled if there is no ``error``."""
        self.state = next_state(self.state, Move.FAIL)
        self.attempt = None
        self.failure = error
        self.wake_waiters(False)
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
        keeper = self.delivery.keeper
        assert keeper is not None
        self.transport = transport
        transport.on_wake(self.wake)
        watch = transport.make_watch(keeper, self.on_readable, self.on_writable)
        self._watch = watch
        self.intake.attach(watch)
        self.outlet.attach(watch)

    def leave_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def swap(self, transport: Transport) -> None:
        """Go on through another transport."""
        self.leave_watch()
        self._use(transport)
        self.wake()

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
        self.leave_watch()
        self.intake.attach(None)
        self.outlet.attach(None)
        self.transport = transport
        self.handshake = handshake

    def go_on(self, transport: Transport) -> None:
        """The handshake is done; ``end_handshake`` follows."""
        self.handshake = None
        self.happens(Happening.GO_ON)
        self._use(transport)

    def end_handshake(self) -> None:
        """What the transport holds may be read from now on."""
        self.securing = False

    def announce(self) -> None:
        """It is up: post ``Connected`` and begin to read."""
        self.state = next_state(self.state, Move.ESTABLISH)
        self.wake_waiters(True)
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

    def wake_waiters(self, up: bool) -> None:
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
        """Begin to count the time-outs again."""
        idle, unacknowledged = self.options.timeouts
        if idle is None and unacknowledged is None:
            self.watchdogs = None
        else:
            self.watchdogs = Watchdogs(idle, unacknowledged, trio.current_time())
            self.wake_keeper()

    # Facts

    @property
    def keeper(self) -> Keeper | None:
        """The tasks of the block that it lives in; ``None`` before that was entered."""
        return self.delivery.keeper

    @property
    def is_connected(self) -> bool:
        """Connected, and our direction is open."""
        return self.state is CONNECTED and self.ends.may_send

    @property
    def endpoint(self) -> str:
        """The peer, as messages name it."""
        return format_endpoint(*self.peer)

    # Reading

    def wake_keeper(self) -> None:
        """Have ``tick`` called soon."""
        keeper = self.delivery.keeper
        if keeper is not None:
            keeper.wake()

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
                self.wake()

    def on_readable(self) -> None:
        """Take in what has come, and let the handler have it at once.

        Where a handler alone listens, as in most servers, it is called without detours: the rest
        costs as much again as all of this.
        """
        delivery, inbox, transport = self.delivery, self.inbox, self.transport
        hub = delivery.hub
        method = hub.data_method
        more = False
        delivery.held = True
        try:
            if (
                method is None
                or hub.calls
                or inbox.waiting
                or self.ends.phase is not _OPEN
                or transport is None
            ):
                self.read_step()
            else:
                self._read_for(method, transport)
            if self.watchdogs is not None:
                self.note_activity()
            if self.outlet.ledger.left:
                more = self._send_some()
        finally:
            delivery.held = False
        if hub.calls or more:
            delivery.run(self)

    def _read_for(self, method: Callable[..., object], transport: Transport) -> None:
        """Take in what has come, and call the handler's method for it."""
        intake = self.intake
        try:
            data = intake.take_in(transport, self.inbox.buffer, intake.limit)
        except OSError as exc:
            self._lose_to(exc)
            return
        if data:
            delivery, keeper = self.delivery, self.delivery.keeper
            delivery.hub.posted += 1
            delivery.hub.called += 1
            assert keeper is not None
            try:  # as Delivery.call does, whose call costs an eighth of all this
                keeper.context.run(call_unprotected, method, delivery.socket)
            except BaseException as exc:  # noqa: ASYNC103 - nothing here awaits
                keeper.fail(exc)
        elif data is not None:
            self._their_end()

    def read_step(self) -> bool:
        """Take in what the transport has, once; whether anything happened."""
        transport, ends = self.transport, self.ends
        if transport is None:
            return False
        if self.closing is not None:
            return not ends.their_end and self._discard(transport, self.closing)
        if not ends.may_receive or ends.phase is _HELD:
            return False
        inbox, intake = self.inbox, self.intake
        try:
            data = intake.take_in(transport, inbox.buffer, inbox.room_for(intake.limit))
        except OSError as exc:
            self._lose_to(exc)
            return True
        if data:
            self.hand_on()
        elif data is not None:
            self._their_end()
        return data is not None

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
            # If handler calls are due, the keeper task goes on when they were made.
            if self.delivery.hub.calls or inbox.may_hand_on(intake.limit):
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

    def send_now(self) -> None:
        """After something was queued in a plain call: try the OS, unless a handler runs."""
        outlet, delivery = self.outlet, self.delivery
        if not outlet.refused and not delivery.held:
            self.write_step()
            if delivery.hub.watches_progress and outlet.ledger.left:
                self.wake_keeper()  # the rest goes when the handler has seen this chunk
            delivery.schedule()

    def _send_some(self) -> bool:
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
            if self.watchdogs is not None or self.ends.phase is not _OPEN:
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

    def _why_removed(self, ticket: Ticket) -> SocketError:
        return why_removed(self, ticket, self.delivery.socket)

    def drop_queue(self) -> None:
        """The connection is lost: take all that is queued out of the queue."""
        lost = why_not_sending(self, self.delivery.socket)
        self.outlet.drop(self._why_removed, lost)

    def _abort_from_handler(self) -> None:
        """See ``Sender``."""
        self.outlet.abort(self._why_removed)
        self.after_sending()

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

    def wake(self) -> None:
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
        self.ends.note_earlier_cause(loss)  # these bytes came before whatever else was found
        self.happens(Happening.LOSS, loss)

    def _lose_to(self, exc: OSError) -> None:
        """The OS, or TLS, says that the connection is lost."""
        self.intake.stop()
        self.lose(self.ends.loss or translate_loss(exc, f"{self.endpoint}: connection lost"))

    def lose(self, error: SocketError) -> None:
        """The connection is lost; what is buffered stays readable."""
        if self.closing is not None or self._hand_on_rest():
            self.happens(Happening.LOSS, self.ends.loss or error)

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

    def _read_the_rest(self) -> None:
        """Read what arrived before the loss; the connection is over when all is read."""
        more = True
        while more and self.transport is not None:
            # What a read brings may be no whole record: then it had nothing, but there is more.
            more = self.intake.reading and self.transport.holds_input()
            more = self.read_step() or more
        # If reading has paused, it goes on when there is room again.
        if self.transport is not None and self.intake.reading and self.ends.loss is not None:
            self.lose(self.ends.loss)

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
            if self.closing is not None and self.transport is not None:
                self.limit_closing(self.closing, grace)

    def limit_closing(self, closing: Closing, grace: float) -> None:
        """It may take so many seconds from now, or less as was said before."""
        if closing.shorten(trio.current_time(), grace):
            self.wake_keeper()

    def happens(self, what: Happening, cause: SocketError | None = None) -> None:
        """Something happened to an end: do what follows from it, in order."""
        if self._later is not None:  # in the midst of effects, of which this is a consequence
            self._later.append((what, cause))
            return
        before = self.ends.phase
        effects = self.ends.happens(what, cause, queued=self.outlet.ledger.open)
        if effects:
            later = self._later = deque[tuple[Happening, SocketError | None]]()
            try:
                carry_out(self, effects)
                while later:
                    next_one, cause = later.popleft()
                    carry_out(
                        self, self.ends.happens(next_one, cause, queued=self.outlet.ledger.open)
                    )
            finally:
                self._later = None
        if self.ends.phase is Phase.DYING and before is not Phase.DYING:
            self._read_the_rest()
