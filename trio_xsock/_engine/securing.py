"""From a connection to a secured one: the handshake comes before anybody hears of it."""

from __future__ import annotations

import abc
import functools
import socket as stdlib_socket
from collections.abc import Callable
from typing import Any, cast

import trio

from trio_xsock._machines.endpoint import format_endpoint
from trio_xsock._machines.state import Move
from trio_xsock._network.handshake import Handshake, TLSSetup, shake_hands, wrap
from trio_xsock._network.tls_transport import TLSTransport
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.readiness import watch_socket
from trio_xsock._values.errors import SocketError, TLSError

from .secured import Secured


@protect_from_ki
class Securing(Secured):
    """Sees to the handshake, whichever way a connection came about."""

    __slots__ = ()

    _accepted: bool = False
    """The connection was accepted, as opposed to dialled."""

    _handshake_scope: trio.CancelScope | None = None
    """Of the handshake of a connection that is ours already, while a task waits for it."""

    _handshake: Handshake | None = None
    """That of a connection that a server has accepted."""

    @abc.abstractmethod
    def _wants_tls(self) -> bool:
        """Whether TLS is to be there from the beginning."""

    @abc.abstractmethod
    def _make_setup(self, *, server_side: bool) -> TLSSetup:
        """How to begin TLS.

        Raises:
            TLSError: the options do not make sense, or a file does not.
            NameResolutionError: the server's name is malformed.
        """

    @abc.abstractmethod
    def _given_server_side(self) -> bool:
        """Whether a connection that somebody else has opened is that of a server."""

    def _tls_setup(self) -> TLSSetup | None:
        """As ``_make_setup``; ``None`` for no TLS."""
        return self._make_setup(server_side=self._accepted) if self._wants_tls() else None

    @property
    def ssl_connecting(self) -> bool:
        """The handshake is going on. Xojo: ``SSLConnecting``."""
        return self._ssl_connecting

    # A client

    async def _dial(self) -> stdlib_socket.socket:
        self._accepted = False
        setup = self._tls_setup()
        sock = await super()._dial()
        if setup is None:
            return sock
        endpoint = format_endpoint(self._address, self._port)
        transport = wrap(sock, setup, endpoint)
        await self._shake_hands(transport, setup, endpoint)
        return cast("stdlib_socket.socket", transport)

    async def _shake_hands(self, transport: TLSTransport, setup: TLSSetup, endpoint: str) -> None:
        assert self._keeper is not None
        self._ssl_connecting = True
        try:
            await shake_hands(self._keeper, transport, setup, endpoint)
        finally:
            self._ssl_connecting = False

    # A connection that is ours already

    async def _secure(self, setup: TLSSetup) -> None:
        """Have the handshake; the transport is replaced by one that encrypts.

        Raises:
            TLSError: it failed.
            SocketError: the connection ended meanwhile; why.

        Cancellation: the descriptor is closed, and the socket has to be.
        """
        transport = self._wrap_transport(setup)
        scope = self._handshake_scope = trio.CancelScope()
        try:
            with scope:
                await self._shake_hands(transport, setup, self._endpoint())
                if self._transport is not None:
                    self._go_on(transport)
                    return
        except TLSError:
            if self._transport is not None:
                raise
            # It was closed, and the handshake has found it so before it was called off.
        finally:
            self._handshake_scope = None
        await trio.lowlevel.checkpoint_if_cancelled()  # by the failure that closed the socket
        raise self._why_not_sending()

    def _wrap_transport(self, setup: TLSSetup) -> TLSTransport:
        """Put a transport that is to encrypt over the one there is."""
        assert self._watch is not None
        self._watch.close()
        self._watch = None
        transport = wrap(self._transport, setup, self._endpoint())
        transport.stirred = self._note_stir
        self._transport = cast("stdlib_socket.socket", transport)
        return transport

    def _go_on(self, transport: TLSTransport) -> None:
        assert self._keeper is not None
        self._reading = False
        self._use(transport)
        self._watch = watch_socket(self._keeper, transport, self._on_readable, self._on_writable)

    def _take_stock(self) -> None:
        if self._handshake is not None:
            self._handshake.look()
            self._pump()
        elif not self._ssl_connecting:  # else a task looks after the handshake
            super()._take_stock()

    def _release(self) -> None:
        handshake = self._handshake
        if handshake is not None:
            self._handshake = None
            handshake.close()
        super()._release()
        if self._handshake_scope is not None:
            self._handshake_scope.cancel("the connection ended")

    # Of a server

    @property
    def _has_handshake(self) -> bool:
        return self._wants_tls()

    def _check_service(self) -> None:
        self._accepted = True
        self._tls_setup()

    def _begin_handshake(self, over: Callable[[BaseException | None], None]) -> float:
        """See ``Connection``; it goes by steps, without a task."""
        setup = self._make_setup(server_side=True)
        transport = self._wrap_transport(setup)
        assert self._keeper is not None
        self._ssl_connecting = True
        ended = functools.partial(self._handshake_over, over)
        self._handshake = Handshake(self._keeper, transport, setup, self._endpoint(), ended)
        self._handshake.begin()
        return setup.timeout

    def _handshake_over(
        self, over: Callable[[BaseException | None], None], error: BaseException | None
    ) -> None:
        """The last step of the handshake."""
        handshake = self._handshake
        assert handshake is not None
        if error is not None:
            assert self._keeper is not None
            refuse = functools.partial(self._refuse_peer, handshake, over, error)
            self._keeper.serve(refuse, "trio_xsock refusal")
            return
        handshake.close()
        self._handshake = None
        self._go_on(handshake.transport)
        self._pumping = True  # what comes of it is delivered below, not by a task
        try:
            over(None)
        finally:
            self._pumping = self._ssl_connecting = False
        if self._has_input():  # as a rule the peer goes on at once
            self._on_readable()
        elif self._hub.calls:
            self._pump()

    async def _refuse_peer(  # noqa: ASYNC910 - a task of its own
        self,
        handshake: Handshake,
        over: Callable[[BaseException | None], None],
        error: BaseException,
    ) -> None:
        try:
            await handshake.refuse()
        finally:
            over(error)

    # Of a socket that listens by itself, or was opened by somebody else

    async def listen(self) -> None:
        """As for ``TCPSocket``; the handshake comes between the peer and ``Connected``.

        Raises:
            TLSError: a file that an option names does not do, before anything is opened.
            InvalidStateError, AddressInUseError, InvalidPortError, OpenDriverError,
            OutOfMemoryError, SocketError: as for ``TCPSocket.listen``.

        Cancellation: nothing is left over; the socket is closed.
        Events: ``Connected`` when the peer is there and verified; ``ErrorOccurred`` if none can
        be accepted, or the handshake fails.
        """
        self._after(Move.LISTEN)
        self._require_block("listen()")
        self._check_service()
        await super().listen()

    def _welcome(self, sock: stdlib_socket.socket, peer: Any) -> None:
        self._accepted = self._acceptor is not None or self._given_server_side()
        if not self._wants_tls():
            super()._welcome(sock, peer)
            return
        self._stop_listening()
        self._adopt(sock, peer)
        assert self._keeper is not None
        self._keeper.serve(self._introduce, "trio_xsock handshake")

    async def _introduce(self) -> None:
        """Have the handshake, and tell of the connection."""
        try:
            await self._secure(self._make_setup(server_side=self._accepted))
        except SocketError as error:
            if self._transport is not None:
                self._lose(error)
        else:
            self._announce_connected()
        self._pump()
        await trio.lowlevel.cancel_shielded_checkpoint()
