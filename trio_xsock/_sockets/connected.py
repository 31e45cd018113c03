"""``ConnectedSocket``: how a socket's connections begin and end; the base of the TCP sockets."""

from __future__ import annotations

import socket as stdlib_socket
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Self

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._engine.ending import GRACE, close
from trio_xsock._engine.intake import MakesInbox
from trio_xsock._engine.owner import Owner
from trio_xsock._engine.reasons import closed_error
from trio_xsock._engine.ticking import poll, tick
from trio_xsock._engine.upgrade import Over, begin_upgrade
from trio_xsock._machines.endpoint import check_port
from trio_xsock._machines.ends import Phase
from trio_xsock._machines.ledger import SendLedger
from trio_xsock._machines.state import Move
from trio_xsock._network.foreign import ForeignNetwork
from trio_xsock._network.given import check_given, peer_of
from trio_xsock._network.listen import is_listening
from trio_xsock._network.routes import Origin
from trio_xsock._network.transport import PlainTransport, Transport
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._values.errors import InvalidStateError, SocketError

from . import outgoing
from .closing_calls import close_gracefully, disconnect, end_scope
from .facts import ConnectionFacts
from .incoming import Incoming
from .may_stop import MayStop
from .outgoing import Target
from .totals import NONE_YET

_LISTEN: Final = Move.LISTEN  # because an attribute of an enum costs 0.2 us on Python 3.11


@protect_from_ki
class ConnectedSocket(ConnectionFacts, trio.abc.AsyncResource):
    """One connection at a time; the base of ``TCPSocket`` and ``EasyTCPSocket``."""

    __slots__ = ()

    _INBOX: MakesInbox
    """Where received bytes go."""
    _LEDGER: type[SendLedger] = SendLedger
    """The send queue of one connection."""

    _network: ForeignNetwork | None = None
    """A simulated network in place of the OS's; ``None`` for the OS."""
    _given: stdlib_socket.socket | None = None
    """What ``from_socket`` was given; ``None`` for sockets that are made otherwise."""

    def __init__(self, address: str, port: int, given: Mapping[str, Any]) -> None:
        super().__init__(address, port, given)
        self._incoming: Incoming | None = None
        self._earlier = NONE_YET
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
            self._earlier = self._earlier.plus(connection)
            self._connection = connection = self._new_connection(connection.peer)
        self._delivery.open(self, keeper)
        connection.begin(move, accepted=accepted)
        self._incoming = None
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
        try:
            connected = await outgoing.connect(connection, self._target)
        except SocketError:
            await self._settle()  # noqa: ASYNC120 - cancelled only if a handler failed
            raise
        if not connected:
            raise closed_error(connection, self, "closed while it was connecting")
        await self._settle()

    def _target(self) -> Target:
        """What ``connect()`` connects to."""
        origin = Origin(self._bind_address, self._bind_port, self._network_interface)
        setup = self._tls_setup(server_side=False)
        return Target(self._address, self._port, origin, self._network, setup)

    # A peer that comes

    async def listen(self) -> None:
        """Wait for one peer on ``port``; returns as soon as the socket listens. Xojo: ``Listen``.

        When a peer connects, this same socket becomes the connection, and nothing listens on the
        port any more; for many peers there is ``ServerSocket``. ``port`` is known when this
        returns, also if it was 0. The socket listens on all addresses of the machine, or of
        ``network_interface``.

        With TLS the handshake comes between the peer and ``Connected``.

        Raises:
            InvalidStateError: not closed, or outside the block.
            AddressInUseError: the port is taken.
            InvalidPortError: the port needs privileges.
            TLSError: a file of the TLS options cannot be used; nothing was opened.
            OpenDriverError, OutOfMemoryError, SocketError: another error of the OS.

        Cancellation: nothing is left over; the socket is closed.
        Events: ``Connected`` when the peer is connected, and verified; ``ErrorOccurred`` if none
        can be accepted, or the handshake fails.
        """
        self._check_attempt(Move.LISTEN)
        self._require_block("listen()")
        self._tls_setup(server_side=True)  # so that a bad file is found before anything is opened
        incoming = self._begin_incoming(accepted=True)
        if not await incoming.listen(self._port, self._network_interface, self._network):
            raise closed_error(self._connection, self, "closed while it began to listen")

    def _begin_incoming(self, *, accepted: bool) -> Incoming:
        """Begin a connection that the peer, or somebody else, opens."""
        connection = self._begin(Move.LISTEN, accepted=accepted)
        security = self._security if self._wants_tls() else None
        self._incoming = incoming = Incoming(connection, security, self._address)
        return incoming

    # Of a server

    def may_stop(self) -> AbstractContextManager[None]:
        r"""Mark where a ``serve`` handler waits for its next request: ``with sock.may_stop():``.

        When the server begins to stop (``aclose``, ``close``, or the end of its block) such a
        wait is cancelled at once, and with it the whole handler; what is queued is still sent,
        within the server's ``grace``. Entered while the server stops, it is cancelled at its first
        checkpoint. A handler that is elsewhere continues until it enters such a block again. So
        idle clients never delay a graceful stop, and no request is interrupted::

            async def handle(sock):
                while True:
                    with sock.may_stop():
                        request = await sock.receive_until(b"\n")
                    await sock.send_all(answer(request))

        For a socket without a ``serve`` handler it changes nothing. Xojo has no counterpart.

        Returns:
            A context manager, to be entered once; its value is ``None``.

        Cancellation: passes through, like any other.
        """
        return MayStop(self._connection)

    def _begin_accepted(self, owner: Owner, keeper: Keeper) -> Connection:
        """Begin a connection that a server has accepted; its scope is in the server's.

        The server opens it, and announces it: at once, or when the handshake is done and there
        is a place.
        """
        self._live_in(keeper.child(self))
        connection = self._connection
        connection.begin(_LISTEN, owner, accepted=True)
        return connection

    def _begin_handshake(self, over: Over) -> float:
        """Begin TLS's handshake of an accepted connection; see ``begin_upgrade``."""
        setup = self._tls_setup(server_side=True)
        assert setup is not None
        return begin_upgrade(self._connection, setup, over, self)

    # From outside

    @classmethod
    def from_socket(cls, sock: stdlib_socket.socket, **options: Any) -> Self:
        """Make a socket of a standard library socket that is connected or listening.

        For socket activation and tests. The block takes over the descriptor, and the socket is
        connected, or listens for one peer. Until the block is entered, the descriptor stays the
        caller's.

        Args:
            sock: a stream socket, connected or listening.
            options: as for the constructor, without address and port.

        Raises:
            TypeError: not a ``socket.socket``, one that does TLS, or a wrong option.
            ValueError: not a stream socket, or neither connected nor listening.

        Raises (entering the block):
            InvalidStateError: the socket was closed meanwhile.
        """
        check_given(sock)
        socket = cls(**options)
        socket._given = sock
        return socket

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        if self._given is not None:
            try:
                self._take_over_given(self._given)
            except BaseException as exc:
                # Its waits are shielded.
                await self.__aexit__(type(exc), exc, exc.__traceback__)  # noqa: ASYNC102
                raise
        return self

    def _take_over_given(self, given: stdlib_socket.socket) -> None:
        if given.fileno() < 0:
            text = "the socket given to from_socket() was closed"
            raise InvalidStateError(f"{self!r}: {text}")
        given.setblocking(False)
        if is_listening(given):
            self._begin_incoming(accepted=True).listen_with([given])
        else:
            peer = peer_of(given) or ("", 0)
            self._take_over(PlainTransport.of(given), peer)

    def _take_over(self, transport: Transport, peer: tuple[Any, ...]) -> None:
        """Be connected by way of a transport that somebody else has opened."""
        security = self._security
        is_server = security is not None and security.is_server(self._address)
        self._begin_incoming(accepted=is_server).take_over(transport, peer)

    # The end

    def close(self) -> None:
        """End the connection, or the attempt at one, at once. Always legal, idempotent.

        What was queued is dropped. Xojo: ``Close``.

        Events: ``SendComplete(user_aborted=True)`` if something was queued; nothing more.
        """
        self._check_thread()
        self._stop_listening()
        close(self._connection)

    def _stop_listening(self) -> None:
        if self._incoming is not None:
            self._incoming.stop_listening()

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
        await close_gracefully(self, grace)

    async def disconnect(self, grace: float = GRACE) -> None:
        """``aclose``, and post an ``ErrorOccurred`` at the end. Xojo: ``Disconnect``.

        Args:
            grace: how many seconds this may take; then as ``close()``.

        Cancellation: the socket is closed at once.
        Events: those of the sends, then one ``ErrorOccurred`` with a ``LostConnectionError``
        whose ``reason`` is ``LOCAL``; none if the socket was not connected.
        """
        await disconnect(self, grace)

    async def poll(self) -> bool:
        """Read, send and deliver events once, without waiting. Xojo: ``Poll``.

        Returns:
            Whether anything happened.

        Cancellation: seen before anything is done.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_thread()
        connection = self._connection
        before = connection.outlet.bytes_sent
        happened = poll(connection)
        await self._settle()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return happened or connection.outlet.bytes_sent != before

    async def _end_scope(self) -> None:
        await end_scope(self)

    # Called by the keeper

    def _next_deadline(self) -> float:
        deadline = tick(self._connection)
        incoming = self._incoming
        return deadline if incoming is None else min(deadline, incoming.retry())

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
