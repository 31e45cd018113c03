"""``listen()`` of a single socket, and sockets that were opened by somebody else."""

from __future__ import annotations

import socket as stdlib_socket
import ssl
from collections.abc import Sequence
from typing import Any, Self

import trio

from trio_xsock._machines.state import LISTENING, Move, next_state
from trio_xsock._network.acceptor import Acceptor
from trio_xsock._network.listen import is_listening, listen_addresses, open_listeners
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._values.errors import InvalidStateError, SocketError
from trio_xsock._values.events import ErrorOccurred
from trio_xsock._values.typing import Address

from .watchdogs import WatchedConnection


@protect_from_ki
class ListeningCalls(WatchedConnection):
    """A connection that may also come from the other side, or from outside the program."""

    __slots__ = ("_acceptor", "_given")

    def _reset(self) -> None:
        super()._reset()
        self._acceptor: Acceptor | None = None
        self._given: stdlib_socket.socket | None = None

    async def listen(self) -> None:
        """Wait for one peer on ``port``; returns as soon as the socket listens. Xojo: ``Listen``.

        When the peer comes this very socket becomes the connection, and nothing listens on the
        port any more; for many peers there is ``ServerSocket``. ``port`` is known when this
        returns, also where it was 0. All addresses of the machine, or of
        ``network_interface``, are listened on.

        Raises:
            InvalidStateError: not closed, or outside the block.
            AddressInUseError: the port is taken.
            InvalidPortError: the port needs privileges.
            OpenDriverError, OutOfMemoryError, SocketError: what else the OS said.

        Cancellation: nothing is left over; the socket is closed.
        Events: ``Connected`` when the peer comes; ``ErrorOccurred`` if none can be accepted.
        """
        self._begin(Move.LISTEN)
        self._reset()
        self._closed_by_us = False
        scope = self._connect_scope = trio.CancelScope()
        try:
            with scope:
                interface = self._network_interface
                addresses = await listen_addresses("", self._port, interface=interface)
                if self._connect_scope is scope:
                    self._await_peer(open_listeners(addresses, backlog=1))
                    self._connect_scope = None
                    return
        finally:
            if self._connect_scope is scope:  # it failed, or was cancelled
                self._connect_scope = None
                self._state = next_state(self._state, Move.FAIL)
                self._hub.end()
        await trio.lowlevel.checkpoint_if_cancelled()  # by the failure that closed the socket
        raise self._closed_error("closed while it began to listen")

    def _await_peer(self, listeners: Sequence[stdlib_socket.socket]) -> None:
        assert self._keeper is not None
        self._acceptor = Acceptor(
            self._keeper,
            listeners,
            may_accept=lambda: self._state is LISTENING,
            welcome=self._welcome,
            failed=self._accepting_failed,
        )
        self._acceptor.update()

    def _welcome(self, sock: stdlib_socket.socket, peer: Any) -> None:
        self._stop_listening()
        self._adopt(sock, peer)
        self._announce_connected()
        self._schedule_pump()

    def _accepting_failed(self, error: SocketError, final: bool) -> None:
        if final:
            self._announce_loss(error)
            self._release()
        else:
            self._last_error = error
            self._post_if_active(ErrorOccurred, error)

    def _stop_listening(self) -> None:
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.close()

    def _release(self) -> None:
        self._stop_listening()
        super()._release()

    def _next_deadline(self) -> float:
        deadline = super()._next_deadline()
        acceptor = self._acceptor
        if acceptor is None:
            return deadline
        if trio.current_time() >= acceptor.retry_at:
            acceptor.retry()
        return min(deadline, acceptor.retry_at)

    @property
    def handle(self) -> int:
        """The OS's descriptor, -1 when there is none. Xojo: ``Handle``."""
        if self._acceptor is not None:
            return self._acceptor.listeners[0].fileno()
        return super().handle

    def _local_endpoint(self) -> Address | None:
        if self._acceptor is not None:
            address: Address = self._acceptor.listeners[0].getsockname()
            return address
        return super()._local_endpoint()

    # From outside

    @classmethod
    def from_socket(cls, sock: stdlib_socket.socket, **options: Any) -> Self:
        """Make a socket of a standard library socket that is connected or listening.

        For socket activation and tests. The descriptor becomes ours when the block is entered,
        and with that the socket is connected, or listens for one peer; until then, and if the
        block is never entered, it stays the caller's.

        Args:
            sock: a stream socket, connected or listening.
            options: as for the constructor, without address and port.

        Raises:
            TypeError: not a ``socket.socket``, one that does TLS, or a wrong option.
            ValueError: not a stream socket, or neither connected nor listening.

        Raises (entering the block):
            InvalidStateError: the socket was closed meanwhile.
        """
        if not isinstance(sock, stdlib_socket.socket):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"sock must be a socket.socket, not {type(sock).__name__}")
        if isinstance(sock, ssl.SSLSocket):
            raise TypeError("sock must be a plain socket; what speaks TLS here is SSLSocket")
        if sock.type != stdlib_socket.SOCK_STREAM or not (is_listening(sock) or _peer(sock)):
            raise ValueError(f"sock must be a stream socket, connected or listening, not {sock!r}")
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
                self._take_over(given)
            except BaseException as exc:
                # Its waits are shielded.
                await self.__aexit__(type(exc), exc, exc.__traceback__)  # noqa: ASYNC102
                raise
        return self

    def _take_over(self, given: stdlib_socket.socket) -> None:
        """Go on with a socket that somebody else has opened."""
        given.setblocking(False)
        self._begin(Move.LISTEN)
        self._reset()
        self._closed_by_us = False
        if is_listening(given):
            self._await_peer([given])
        else:
            self._welcome(given, _peer(given) or ("", 0))


def _peer(sock: stdlib_socket.socket) -> tuple[Any, ...] | None:
    """The peer's address; of a Unix socket, which has none of our kind, an empty one."""
    try:
        peer: Any = sock.getpeername()
    except OSError:
        return None
    return ("", 0) if isinstance(peer, str | bytes) else peer
