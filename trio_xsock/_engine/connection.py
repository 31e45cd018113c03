"""``Connection``: one connection from its beginning to its end; each has an object of its own.

It owns the transport and its watch, and joins the parts: ``Intake`` and an inbox for receiving,
``Outlet`` for sending, ``Ends`` for how it ends. The work is done by *steps*, plain functions that
never wait, in modules of their own:

* ``reading`` and ``writing``: when the descriptor is ready, or a caller has made room or queued;
* ``losing``: what these two find out about the end of the connection;
* ``ending``: what follows from that, effect by effect;
* ``requests``: the calls of the socket;
* ``ticking``: the work of the keeper task.

Cancellation can only come between steps, so the counts are exact.
"""

from __future__ import annotations

from typing import Final

import trio

from trio_xsock._machines.endpoint import format_endpoint
from trio_xsock._machines.ends import Ends, Happening, Phase
from trio_xsock._machines.ledger import SendLedger
from trio_xsock._machines.state import CLOSED, CONNECTED, Move, SocketState, next_state
from trio_xsock._network.tcp_info import set_keepalive
from trio_xsock._network.transport import Transport
from trio_xsock._runtime.delivery import Delivery
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._values.errors import SocketError
from trio_xsock._values.events import Connected

from .attempt import Attempt
from .by_caller import is_listened_to, serve
from .closing import Closing
from .ending import carry_out, keep_closing
from .intake import Inbox, Intake
from .link import Link
from .options import ConnectionOptions
from .outlet import Outlet
from .owner import Owner
from .reading import (
    read_for_caller,
    read_for_listener,
    read_open,
    read_step,
    read_the_rest,
    resume_reading,
)
from .watchdogs import Watchdogs, note_activity
from .writing import abort, send_some, write_on

# As constants, because an attribute of an enum costs 0.2 us on Python 3.11.
_OPEN: Final = Phase.OPEN
_DYING: Final = Phase.DYING
_GONE: Final = Phase.GONE
_ESTABLISH: Final = Move.ESTABLISH
_DRAIN: Final = Move.DRAIN
_CLOSE: Final = Move.CLOSE


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
        accepted: it was opened by the peer.
        begun: it was used: there was at least an attempt at it.
        closing: the state of a graceful close, once it has begun.
        ends: the phase of both directions.
        failure: why the attempt failed.
        intake, outlet: its receiving and its sending half.
        link: the transport and its watch.
        owner: the server that accepted it.
        state: the state of the socket.
        watchdogs: the time-outs for a silent peer; ``None`` for none.
    """

    __slots__ = (
        "_attempt",
        "_later",
        "accepted",
        "begun",
        "closing",
        "delivery",
        "ends",
        "failure",
        "inbox",
        "intake",
        "link",
        "options",
        "outlet",
        "owner",
        "peer",
        "state",
        "watchdogs",
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
        self.link = Link(self.intake, self.outlet)
        self.state: SocketState = CLOSED
        self.begun = self.accepted = False
        self.owner: Owner | None = None
        self.closing: Closing | None = None
        self.failure: SocketError | None = None
        self.watchdogs: Watchdogs | None = None
        self._attempt: Attempt | None = None
        self._later: list[tuple[Happening, SocketError | None]] | None = None

    # Beginning

    def begin(self, move: Move, owner: Owner | None = None, *, accepted: bool = False) -> None:
        """An attempt begins: ``connect()``, ``listen()``, or a server's accept."""
        self.state = next_state(self.state, move)
        self.begun = True
        self.owner = owner
        self.accepted = accepted

    def attempt(self) -> Attempt:
        """The attempt until the connection is up, or encrypted; made when first needed."""
        if self._attempt is None:
            self._attempt = Attempt()
        return self._attempt

    def fail(self, error: SocketError | None) -> None:
        """The attempt failed, or was cancelled if there is no ``error``."""
        self.state = next_state(self.state, Move.FAIL)
        self.failure = error
        if self._attempt is not None:
            self._end_attempt(self._attempt, up=False)
        if error is not None:
            self.delivery.post_error(error)
        self.delivery.close()

    def open(self, transport: Transport, peer: tuple[str, int], *, hold: bool = False) -> None:
        """Take over a connected transport.

        Args:
            transport: owned from now on.
            peer: the peer's address and port.
            hold: a handshake comes first: nothing is read or written until ``go_on``.
        """
        self.peer = peer
        self.inbox.restart()
        if self.options.keepalive is not None:
            set_keepalive(transport, self.options.keepalive)
        if hold:
            self.link.take(transport)
            self.hold()
        else:
            self._use(transport)
        self._start_watchdogs()

    def announce(self) -> None:
        """The connection is up: post ``Connected`` and begin to read."""
        self.state = next_state(self.state, _ESTABLISH)
        if self._attempt is not None:
            self._end_attempt(self._attempt, up=True)
        self.delivery.post(Connected)
        self.intake.start()
        transport = self.link.transport
        if transport is not None and transport.ready:  # it has read on, behind the handshake
            self.wake()

    def _end_attempt(self, attempt: Attempt, *, up: bool) -> None:
        self._attempt = None
        attempt.end(up=up)

    # Its transport

    def _use(self, transport: Transport) -> None:
        keeper = self.delivery.require_keeper()
        served = is_listened_to(self)
        crowded = not served and self.owner is not None  # a server's, which has many
        self.link.use(transport, keeper, self, served=served or crowded, crowded=crowded)

    def swap(self, transport: Transport) -> None:
        """Continue with another transport."""
        self._use(transport)
        self.wake()

    def hold(self) -> None:
        """TLS is about to begin: nothing is read or written until ``go_on``."""
        self.link.begin_handshake()
        self.happens(Happening.HOLD)
        self.intake.stop()

    def go_on(self, transport: Transport) -> None:
        """The handshake is done; ``Link.end_handshake`` follows."""
        self.happens(Happening.GO_ON)
        self._use(transport)

    def release(self, *, say_so: bool) -> None:
        """Close the transport, if there is one, and cancel the attempt; the state is CLOSED.

        Args:
            say_so: end our direction first, so that TLS sends close_notify.
        """
        self.link.close(say_so=say_so)
        self.state = next_state(self.state, _CLOSE)
        if self._attempt is not None:
            self._end_attempt(self._attempt, up=False)

    # Called by the watch, the transport, and ``Delivery``

    def on_readable(self) -> None:
        """Read what has arrived, and call the handler; if it is alone, at half of the cost."""
        delivery, intake, transport = self.delivery, self.intake, self.link.transport
        hub, wait = delivery.hub, intake.own_wait
        if not intake.served:  # the watch reports nothing but a hang-up then
            serve(self)
        delivery.held = True
        try:
            if hub.calls or self.ends.phase is not _OPEN or transport is None:
                read_step(self)
            elif wait is not None and wait.task is not None:
                read_for_caller(self, transport, wait)
            elif self.inbox.waiting or not (hub.data_method or hub.data_source):
                read_open(self, transport)
            else:
                read_for_listener(self, transport, hub)
            if self.watchdogs is not None:
                note_activity(self)
            more = self.outlet.ledger.left > 0 and send_some(self)
        finally:
            delivery.held = False
        if hub.calls or more:
            delivery.run(self)

    def on_writable(self) -> None:
        """The OS takes bytes again."""
        self.delivery.run_step(self, write_on, self)

    def wake(self) -> None:
        """The transport has something that the OS does not report: handle it in ``tick``."""
        link = self.link
        if link.transport is not None and (link.has_news or self.ends.phase is not _OPEN):
            self.wake_keeper()

    def _send_some(self) -> bool:
        """See ``Sender``."""
        return self.outlet.ledger.left > 0 and send_some(self)

    def _abort_from_handler(self) -> None:
        """See ``Sender``."""
        abort(self)

    # Facts

    @property
    def keeper(self) -> Keeper | None:
        """The keeper of its block; ``None`` before that was entered."""
        return self.delivery.keeper

    @property
    def transport(self) -> Transport | None:
        """Its transport; ``None`` when it is not open."""
        return self.link.transport

    @property
    def is_connected(self) -> bool:
        """Connected, and our direction is open."""
        return self.state is CONNECTED and self.ends.may_send

    @property
    def endpoint(self) -> str:
        """The peer's endpoint, for messages."""
        return format_endpoint(*self.peer)

    # Its keeper, time-outs, and options

    def wake_keeper(self) -> None:
        """Have ``tick`` called soon."""
        keeper = self.delivery.keeper
        if keeper is not None:
            keeper.wake()

    def set_options(self, options: ConnectionOptions) -> None:
        """Change limits and time-outs."""
        before, self.options = self.options, options
        self.intake.limit = options.receive_buffer_limit
        self.outlet.progress_interval = options.progress_interval
        if self.transport is None:
            return
        if options.keepalive != before.keepalive:
            set_keepalive(self.transport, options.keepalive)
        if options.timeouts != before.timeouts:
            self._start_watchdogs()
        resume_reading(self)

    def _start_watchdogs(self) -> None:
        """Start the time-outs again."""
        options, self.watchdogs = self.options, None
        if options.idle_timeout is not None or options.unacknowledged_timeout is not None:
            self.watchdogs = Watchdogs(*options.timeouts, trio.current_time())
            self.wake_keeper()

    # The end

    def start_closing(self, *, discarding: bool) -> Closing:
        """A graceful close begins; ``discarding`` if input was unread."""
        self.state = next_state(self.state, _DRAIN)
        self.closing = Closing(discarding=discarding)
        return self.closing

    def happens(self, what: Happening, cause: SocketError | None = None) -> None:
        """Report what happened to ``Ends``, and carry out the effects, in order."""
        if self._later is not None:  # effects are being carried out, and one has caused this
            self._later.append((what, cause))
            return
        ends = self.ends
        before = ends.phase
        later = self._later = [(what, cause)]
        try:
            for each, error in later:  # grows meanwhile
                carry_out(self, ends.happens(each, error, self.outlet.ledger.open))
        finally:
            self._later = None
        if ends.phase is before or ends.phase is _GONE:
            return
        if ends.phase is _DYING:
            read_the_rest(self)
        elif ends.closing:
            keep_closing(self)


protect_from_ki(Connection)
