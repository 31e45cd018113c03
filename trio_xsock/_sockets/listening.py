"""Incoming connections: ``listen()``, ``from_socket()``, and those that a server accepts.

With TLS, the handshake comes before the connection is announced.
"""

from __future__ import annotations

import socket as stdlib_socket
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

import trio

from trio_xsock._engine.connection import Connection
from trio_xsock._engine.losing import lose
from trio_xsock._engine.owner import Owner
from trio_xsock._engine.reasons import closed_error, why_not_sending
from trio_xsock._engine.upgrade import Over, Upgrade
from trio_xsock._machines.endpoint import address_text
from trio_xsock._machines.state import LISTENING, Move
from trio_xsock._network.acceptor import Acceptor
from trio_xsock._network.foreign import Listener
from trio_xsock._network.given import check_given, peer_of
from trio_xsock._network.handshake import TLSSetup, shake_hands, wrap
from trio_xsock._network.listen import is_listening, listen_addresses, open_listeners
from trio_xsock._network.transport import PlainTransport, Transport
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._values.errors import InvalidStateError, SocketError, TLSError

from .connected import ConnectedSocket
from .may_stop import MayStop


@protect_from_ki
class ListeningCalls(ConnectedSocket):
    """The calls for incoming connections."""

    __slots__ = ()

    _given: stdlib_socket.socket | None = None
    """What ``from_socket`` was given; ``None`` for sockets that are made otherwise."""

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
        self._check_service()
        connection = self._begin(Move.LISTEN, accepted=True)
        attempt = connection.attempt()
        scope = attempt.open_scope()
        try:
            with scope:
                interface = self._network_interface
                network = self._network
                if network is not None:
                    await network.resolve()
                    addresses = []
                else:
                    addresses = await listen_addresses("", self._port, interface=interface)
                if connection.state is LISTENING:
                    if network is not None:
                        self._await_peer(network.listen(self._port))
                    else:
                        self._await_peer(open_listeners(addresses, backlog=1))
                    attempt.close_scope(scope)
                    return
        finally:
            if connection.state is LISTENING and self._acceptor is None:  # failed, or cancelled
                connection.fail(None)
        await trio.lowlevel.checkpoint_if_cancelled()  # by the failure that closed the socket
        raise closed_error(connection, self, "closed while it began to listen")

    def _await_peer(self, listeners: Sequence[stdlib_socket.socket | Listener]) -> None:
        acceptor = Acceptor(
            self._delivery.require_keeper(),
            listeners,
            may_accept=lambda: self._connection.state is LISTENING,
            welcome=self._welcome,
            failed=self._accepting_failed,
        )
        self._listen_with(acceptor)

    def _accepting_failed(self, error: SocketError, final: bool) -> None:
        if final:
            self._stop_listening()
            self._connection.fail(error)
        else:
            self._delivery.post_error(error)

    def _welcome(self, transport: Transport, peer: tuple[Any, ...]) -> None:
        """A peer came, or somebody else has opened the connection."""
        self._stop_listening()
        connection = self._connection
        setup = self._wants_tls()
        connection.open(transport, (address_text(peer), peer[1]), hold=setup)
        if setup:
            self._delivery.require_keeper().serve(self._introduce, "trio_xsock handshake")
        else:
            connection.announce()
            self._delivery.schedule()

    def _is_given_server(self) -> bool:
        """Whether a connection that somebody else has opened is that of a server."""
        return self._security is not None and self._security.is_server(self._address)

    async def _introduce(self) -> None:
        """Do the handshake, and announce the connection."""
        connection = self._connection
        try:
            assert self._security is not None
            setup = self._security.setup(self._address, server_side=connection.accepted)
            await self._secure(connection, setup)
        except SocketError as error:
            if connection.transport is not None:
                lose(connection, error)
        else:
            connection.announce()
        self._run_handlers()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _secure(self, connection: Connection, setup: TLSSetup) -> None:
        """Have the handshake of a connection that is held; it goes on through TLS.

        Raises:
            TLSError: it failed.
            SocketError: the connection ended meanwhile; why.

        Cancellation: the descriptor is closed, and the connection has to be.
        """
        keeper, transport = connection.delivery.require_keeper(), connection.transport
        if transport is None:  # it was closed before this task began
            await trio.lowlevel.checkpoint_if_cancelled()
            raise why_not_sending(connection, self)
        encrypted = wrap(transport, setup, connection.endpoint)
        connection.link.take(encrypted)
        attempt = connection.attempt()
        scope = attempt.open_scope()
        try:
            with scope:
                await shake_hands(keeper, encrypted, setup, connection.endpoint)
                if connection.transport is not None:
                    connection.go_on(encrypted)
                    connection.link.end_handshake()
                    return
        except TLSError:
            if connection.transport is not None:
                raise
            # It was closed, and the handshake has found it so before it was called off.
        finally:
            attempt.close_scope(scope)
        await trio.lowlevel.checkpoint_if_cancelled()  # by the failure that closed the socket
        raise why_not_sending(connection, self)

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

    def _check_service(self) -> None:
        """Raise if this socket cannot take an accepted connection.

        Raises:
            TLSError: a file of the TLS options cannot be used.
        """
        if self._wants_tls():
            assert self._security is not None
            self._security.setup(self._address, server_side=True)

    def _begin_accepted(self, owner: Owner, keeper: Keeper) -> Connection:
        """Begin a connection that a server has accepted; its scope is in the server's.

        The server opens it, and announces it: at once, or when the handshake is done and there
        is a place.
        """
        self._live_in(keeper.child(self))
        connection = self._connection
        connection.begin(Move.LISTEN, owner, accepted=True)
        return connection

    def _begin_handshake(self, over: Over) -> float:
        """Begin TLS's handshake of an accepted connection; by steps, without a task.

        Args:
            over: called once, from a step: with ``None``, or with what went wrong; of that
                nobody else is told, and the server closes the socket.

        Returns:
            How many seconds the socket itself allows.

        Raises:
            SocketError: it cannot begin.
        """
        assert self._security is not None
        setup = self._security.setup(self._address, server_side=True)
        connection, transport = self._connection, self._connection.transport
        if transport is None:
            raise closed_error(connection, self)
        Upgrade(connection, transport, setup, over).begin()
        return setup.timeout

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
        given = self._given
        if given is not None:
            try:
                if given.fileno() < 0:
                    text = "the socket given to from_socket() was closed"
                    raise InvalidStateError(f"{self!r}: {text}")
                self._take_over_given(given)
            except BaseException as exc:
                # Its waits are shielded.
                await self.__aexit__(type(exc), exc, exc.__traceback__)  # noqa: ASYNC102
                raise
        return self

    def _take_over_given(self, given: stdlib_socket.socket) -> None:
        given.setblocking(False)
        if is_listening(given):
            self._begin(Move.LISTEN, accepted=True)
            self._await_peer([given])
        else:
            peer = peer_of(given) or ("", 0)
            self._take_over(PlainTransport.of(given), peer)

    def _take_over(self, transport: Transport, peer: tuple[Any, ...]) -> None:
        """Be connected by way of a transport that somebody else has opened."""
        self._begin(Move.LISTEN, accepted=self._is_given_server())
        self._welcome(transport, peer)
