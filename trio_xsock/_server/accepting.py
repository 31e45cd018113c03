"""``Accepting``: the listening sockets of a server, and its sockets for new connections."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from socket import socket as stdlib_socket
from typing import Any, Generic, TypeVar

from trio_xsock._network.acceptor import Acceptor
from trio_xsock._network.foreign import Listener
from trio_xsock._network.transport import Transport
from trio_xsock._runtime.guard import protect_from_ki
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._sockets.connected import ConnectedSocket
from trio_xsock._values.errors import InvalidStateError, SocketClosedError, SocketError

from .pool import SocketPool

S = TypeVar("S", bound=ConnectedSocket)


@protect_from_ki
class Accepting(Generic[S]):
    """An ``Acceptor`` while the server listens, and a ``SocketPool``.

    Args:
        add_socket: see ``SocketPool``.

    Attributes:
        failure: why listening has stopped by itself; ``None`` if it has not.
        pool: the pool; empty while nothing is listened on.
        stops: how often listening was stopped.
    """

    __slots__ = ("_acceptor", "failure", "pool", "stops")

    def __init__(self, add_socket: Callable[[], S]) -> None:
        self.pool = SocketPool(add_socket)
        self.failure: SocketError | None = None
        self.stops = 0
        self._acceptor: Acceptor | None = None

    @property
    def listeners(self) -> Sequence[stdlib_socket | Listener]:
        """The listening sockets; empty while the server does not listen."""
        return () if self._acceptor is None else self._acceptor.listeners

    @property
    def accepts(self) -> bool:
        """New connections are accepted at present."""
        return self._acceptor is not None and self._acceptor.accepts

    def start(
        self,
        keeper: Keeper,
        listeners: Sequence[stdlib_socket | Listener],
        *,
        may_accept: Callable[[], bool],
        welcome: Callable[[Transport, tuple[Any, ...]], None],
        failed: Callable[[SocketError, bool], None],
    ) -> None:
        """Begin to listen; the arguments are those of ``Acceptor``."""
        self.failure = None
        self._acceptor = Acceptor(
            keeper, listeners, may_accept=may_accept, welcome=welcome, failed=failed
        )

    def fail(self, error: SocketError) -> None:
        """Listening is about to stop because of ``error``."""
        self.failure = error

    def stop(self) -> None:
        """Stop listening. Idempotent."""
        self.stops += 1
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.close()
        self.pool.clear()

    def update(self) -> None:
        """A connection came or went: accept if, and only if, there is a place."""
        if self._acceptor is not None:
            self._acceptor.update()

    def tick(self) -> float:
        """Continue after a pause; returns when to call this again, on Trio's clock."""
        return math.inf if self._acceptor is None else self._acceptor.tick()

    def why_not(self, server: object) -> SocketError:
        """The error of a call while nothing is accepted; its message names ``server``."""
        if self.failure is not None:
            return self.failure.with_traceback(None)
        if self.stops:
            return SocketClosedError(f"{server!r}: it has stopped listening")
        return InvalidStateError(f"{server!r}: not listening; `await listen()` first")
