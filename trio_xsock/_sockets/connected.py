"""``ConnectedSocket``: how a socket's connections begin and end; the base of the TCP sockets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._engine.ending import GRACE, close, forget_tracebacks, give_up
from trio_xsock._engine.intake import MakesInbox
from trio_xsock._engine.reading import is_behind, read_step
from trio_xsock._engine.reasons import closed_error
from trio_xsock._engine.security import Security
from trio_xsock._engine.ticking import look, tick
from trio_xsock._engine.writing import abort, write_step
from trio_xsock._machines.endpoint import address_text, check_port, format_endpoint
from trio_xsock._machines.ends import Phase
from trio_xsock._machines.ledger import SendLedger
from trio_xsock._machines.state import CLOSED, CLOSING, CONNECTING, Move
from trio_xsock._network.acceptor import Acceptor
from trio_xsock._network.dial import dial
from trio_xsock._network.foreign import ForeignNetwork
from trio_xsock._network.handshake import shake_hands, wrap
from trio_xsock._network.options import check_seconds
from trio_xsock._network.routes import Origin
from trio_xsock._network.transport import PlainTransport, Transport
from trio_xsock._runtime.guard import Parking, protect_from_ki
from trio_xsock._runtime.scoped import finish
from trio_xsock._values.errors import (
    InvalidStateError,
    LossReason,
    LostConnectionError,
    SocketError,
)
from trio_xsock._values.typing import Address

from .facts import ConnectionFacts


@protect_from_ki
class ConnectedSocket(ConnectionFacts, trio.abc.AsyncResource):
    """One connection at a time; the base of ``TCPSocket`` and ``EasyTCPSocket``."""

    __slots__ = ()

    _INBOX: MakesInbox
    """Where received bytes go."""
    _LEDGER: type[SendLedger] = SendLedger
    """The send queue of one connection."""

    _security: Security | None = None
    """How to do TLS; ``None`` for sockets that do none."""
    _network: ForeignNetwork | None = None
    """A simulated network in place of the OS's; ``None`` for the OS."""

    def __init__(self, address: str, port: int, given: Mapping[str, Any]) -> None:
        super().__init__(address, port, given)
        self._acceptor: Acceptor | None = None
        self._before = (0, 0, 0)  # bytes in and out, and pauses, of earlier connections
        self._inbox = self._INBOX(self._delivery)
        self._connection = self._new_connection(("", 0))

    def _new_connection(self, peer: tuple[str, int]) -> Connection:
        ledger = self._delivery.hub.ledger = self._LEDGER()
        return Connection(self._delivery, self._inbox, ledger, self._options, peer)

    def _begin(self, move: Move, *, accepted: bool = False) -> Connection:
        """Start a new connection; raises if that is illegal now."""
        self._check_attempt(move)
        connection = self._connection
        keeper = self._require_block(move.value)
        if connection.begun or connection.ends.phase is not Phase.OPEN:  # or closed before that
            received, sent, pauses = self._before
            received += connection.intake.bytes_received
            sent += connection.outlet.bytes_sent
            self._before = received, sent, pauses + connection.intake.pauses
            self._connection = connection = self._new_connection(connection.peer)
        self._delivery.open(self, keeper)
        connection.begin(move, accepted=accepted)
        return connection

    def _check_attempt(self, move: Move) -> None:
        """Raise if ``move`` is illegal now."""
        if self._connection.owner is not None:
            # Its tasks run in the server's block.
            raise InvalidStateError(
                f"{self!r}: {move.value} is not possible: the socket was made by a server for "
                "one connection; make a new one"
            )
        self._after(move)

    def _wants_tls(self) -> bool:
        """Whether the connection is to be encrypted from its beginning."""
        return self._security is not None and self._security.enabled

    # A client

    async def connect(self) -> None:
        """Connect to ``address`` and ``port``; returns when connected. Xojo: ``Connect``.

        All addresses of the host are tried, IPv6 and IPv4 in turns, a quarter of a second
        apart (RFC 8305).

        Raises:
            InvalidPortError: the port is 0, or ``bind_port`` needs privileges.
            AddressInUseError: another socket has ``bind_port``.
            InvalidStateError: not closed, outside the block, or made by a server.
            NameResolutionError: the host has no address, or its name is empty or malformed.
            ConnectError: no address could be reached, or not from ``bind_address``; ``errors``
                has each attempt.
            SocketClosedError: ``close()`` was called meanwhile.
            OpenDriverError, OutOfMemoryError: the OS gave no socket.

        Cancellation: nothing is left over; the socket is closed and may connect again.
        Events: ``Connected``, or ``ErrorOccurred`` for what is raised after the first two.
        """
        self._check_attempt(Move.CONNECT)
        check_port(self._port, allow_zero=False, host=self._address)
        connection = self._begin(Move.CONNECT)
        scope = connection.attempt().open_scope()
        try:
            with scope:
                await trio.lowlevel.checkpoint_if_cancelled()
                self._establish(connection, *await self._dial(connection))
        except SocketError as error:
            if connection.state is CONNECTING:
                connection.fail(error)
                await self._settle()  # noqa: ASYNC120 - cancelled only if a handler failed
                raise
        finally:
            if connection.state is CONNECTING:  # cancelled
                connection.fail(None)
        if connection.state is CLOSED:
            await trio.lowlevel.checkpoint_if_cancelled()  # by the failure that closed the socket
            raise closed_error(connection, self, "closed while it was connecting")
        await self._settle()

    async def _dial(self, connection: Connection) -> tuple[Transport, tuple[str, int]]:
        """A transport to ``address`` and ``port``, ready for use, and the peer."""
        security = self._security
        setup = None
        if security is not None and security.enabled:
            setup = security.setup(self._address, server_side=False)
        transport, peer = await self._reach()
        if setup is None:
            return transport, peer
        keeper = connection.delivery.require_keeper()
        endpoint = format_endpoint(self._address, self._port)
        encrypted = wrap(transport, setup, endpoint)
        connection.link.begin_handshake()
        try:
            await shake_hands(keeper, encrypted, setup, endpoint)
        finally:
            connection.link.end_handshake()
        return encrypted, peer

    async def _reach(self) -> tuple[Transport, tuple[str, int]]:
        """A connection to ``address`` and ``port``, and the peer."""
        origin = Origin(self._bind_address, self._bind_port, self._network_interface)
        if self._network is not None:
            return await self._network.connect(self._address, self._port, origin)
        reached: list[Address] = []
        sock = await dial(self._address, self._port, origin=origin, reached=reached.append)
        # The peer may have reset it since; earlier input can be read, and then the loss is seen.
        return PlainTransport.of(sock), (address_text(reached[-1]), reached[-1][1])

    def _establish(
        self, connection: Connection, transport: Transport, peer: tuple[str, int]
    ) -> None:
        """Continue with a connected transport, unless ``close()`` was called meanwhile."""
        if connection.state is not CONNECTING:
            transport.close()
            return
        self._delivery.held = True  # handlers are called when connect() returns, not by a task
        try:
            connection.open(transport, peer)
            connection.announce()
        finally:
            self._delivery.held = False

    # The end

    def close(self) -> None:
        """End the connection, or the attempt at one, at once. Always legal, idempotent.

        What was queued is dropped. Xojo: ``Close``.

        Events: ``SendComplete(user_aborted=True)`` if something was queued; nothing more.
        """
        self._check_thread()
        self._stop_listening()
        close(self._connection)

    def _listen_with(self, acceptor: Acceptor) -> None:
        self._acceptor = acceptor
        acceptor.update()

    def _stop_listening(self) -> None:
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.close()

    async def aclose(self, grace: float = GRACE) -> None:
        """End the connection gracefully. Always legal, idempotent.

        What is queued is sent first; what the peer sends meanwhile is discarded. What was
        received before stays readable by plain calls. An attempt to connect, or to listen, is
        given up.

        Args:
            grace: how many seconds this may take; then as ``close()``.

        Cancellation: the socket is closed at once.
        Events: those of the sends; nothing more.
        """
        await self._aclose(grace, None)

    async def disconnect(self, grace: float = GRACE) -> None:
        """``aclose``, and post an ``ErrorOccurred`` at the end. Xojo: ``Disconnect``.

        Args:
            grace: how many seconds this may take; then as ``close()``.

        Cancellation: the socket is closed at once.
        Events: those of the sends, then one ``ErrorOccurred`` with a ``LostConnectionError``
        whose ``reason`` is ``LOCAL``; none if the socket was not connected.
        """
        text = f"{self._connection.endpoint}: we disconnected"
        await self._aclose(grace, LostConnectionError(text, reason=LossReason.LOCAL))

    async def _aclose(self, grace: float, farewell: SocketError | None) -> None:
        check_seconds("grace", grace)
        self._check_thread()
        self._stop_listening()
        connection = self._connection
        close(connection, grace, farewell=farewell)
        if connection.closing is None or connection.state is not CLOSING:
            keeper = self._keeper
            if keeper is not None and keeper.exiting and not keeper.ended:
                await trio.lowlevel.checkpoint_if_cancelled()  # a full checkpoint follows
            else:
                await trio.lowlevel.checkpoint()
        else:
            try:
                parking: Parking[None] = Parking()
                connection.closing.wait(parking)
                await parking.park()
            finally:
                close(connection)
                self._run_handlers()
        await self._settle()

    async def poll(self) -> bool:
        """Read, send and deliver events once, without waiting. Xojo: ``Poll``.

        Returns:
            Whether anything happened.

        Cancellation: seen before anything is done.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_thread()
        connection, hub = self._connection, self._delivery.hub
        due = bool(hub.calls)
        read = read_step(connection)
        before = connection.outlet.bytes_sent
        if connection.outlet.ledger.left:
            write_step(connection)
        due = due or bool(hub.calls)
        await self._settle()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return read or due or connection.outlet.bytes_sent != before

    async def _end_scope(self) -> None:
        connection = self._connection
        try:
            if connection.transport is not None or connection.state is not CLOSED:
                self.close()
        finally:
            if connection.begun and self._delivery.socket is not None:
                give_up(connection, self)  # a step of the end has raised
        await finish(self._delivery, self)
        forget_tracebacks(self._connection)

    # Called by the keeper and by ``Delivery``

    def _send_some(self) -> bool:
        """See ``Sender``; not for users."""
        return self._connection._send_some()

    def _abort_from_handler(self) -> None:
        """See ``Sender``; not for users."""
        abort(self._connection)

    def _next_deadline(self) -> float:
        deadline = tick(self._connection)
        acceptor = self._acceptor
        if acceptor is None:
            return deadline
        if trio.current_time() >= acceptor.retry_at:
            acceptor.retry()
        return min(deadline, acceptor.retry_at)

    def _take_stock(self) -> None:
        look(self._connection)

    def _is_behind(self) -> bool:
        return is_behind(self._connection)

    def _contain(self, error: Exception) -> bool:
        """See ``Kept``: of a connection that a server accepted, the server is told."""
        owner = self._connection.owner
        if owner is not None:
            owner.connection_broke(self._connection, error)
        return owner is not None

    def _handle_failure(self) -> None:
        super()._handle_failure()
        owner = self._connection.owner
        if owner is not None and self._block is None:
            owner.connection_failed(self._connection)
