"""The server's pool: unconnected sockets, made by the user's ``add_socket``, ready for use."""

from __future__ import annotations

import contextvars
import inspect
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from trio_xsock._runtime.guard import call_unprotected, protect_from_ki
from trio_xsock._sockets.connected import ConnectedSocket
from trio_xsock._values.errors import InvalidStateError

S = TypeVar("S", bound=ConnectedSocket)


@protect_from_ki
class SocketPool(Generic[S]):
    """Sockets that wait for a connection.

    Args:
        add_socket: makes a new, unconnected socket each time. The calls below do not wrap a
            ``KeyboardInterrupt`` that it raises.
    """

    __slots__ = ("_add_socket", "_kind", "_sockets")

    def __init__(self, add_socket: Callable[[], S]) -> None:
        self._add_socket = add_socket
        self._sockets: deque[S] = deque()
        self._kind: type[S] | None = None  # the class of the last one: mostly, of all

    def __len__(self) -> int:
        return len(self._sockets)

    def fill(self, count: int, context: contextvars.Context) -> None:
        """Make sockets until there are at least ``count``.

        Args:
            count: how many.
            context: the context variables for ``add_socket``, which cannot change them.

        Raises:
            InvalidStateError: ``add_socket`` raised, or returned no new socket.
            TLSError: a file of the socket's TLS options cannot be used.
        """
        while len(self._sockets) < count:
            socket = self._make(context)
            if socket in self._sockets:
                raise InvalidStateError(f"add_socket returned {socket!r} twice; make a new one")
            socket._tls_setup(server_side=True)  # it is known now if a file cannot be used
            self._sockets.append(socket)

    def take(self, context: contextvars.Context) -> S:
        """Remove and return a socket for the next connection; made if there is none.

        Args:
            context: as for ``fill``.

        Raises:
            InvalidStateError: as for ``fill``; or the socket was used meanwhile.
        """
        if not self._sockets:
            self.fill(1, context)
        return _fresh(self._sockets.popleft())

    def next_is_live(self) -> bool:
        """Whether the next socket has a handler or channel; False if that is not known yet."""
        return bool(self._sockets) and is_live(self._sockets[0])

    def clear(self) -> None:
        """Drop all sockets; they have no descriptors."""
        self._sockets.clear()

    def _make(self, context: contextvars.Context) -> S:
        try:
            # In a copy: a handler may cause this call, which runs in that context already.
            socket = context.copy().run(call_unprotected, self._add_socket)
        except Exception as exc:
            raise InvalidStateError(f"add_socket raised {exc!r}") from exc
        if type(socket) is not self._kind:
            if not isinstance(socket, ConnectedSocket):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidStateError(
                    "add_socket must return a new TCPSocket or a socket derived from it, "
                    f"not {socket!r}"
                )
            self._kind = type(socket)
        return _fresh(socket)


def is_live(socket: ConnectedSocket) -> bool:
    """Whether the socket has a handler or channel of its own, and so is never accepted."""
    delivery = socket._delivery
    return delivery.handler is not None or delivery.hub.active


def _fresh(socket: S) -> S:
    # One from from_socket() would have a descriptor that is never closed.
    if socket._given is not None or socket._connection.begun or socket._keeper is not None:
        raise InvalidStateError(f"add_socket must return a new socket, not the used {socket!r}")
    return socket


def check_add_socket(add_socket: object) -> None:
    """Raise ``TypeError`` unless it is callable, and no ``async def``."""
    if not callable(add_socket):
        raise TypeError(f"add_socket must be callable, not {type(add_socket).__name__}")
    if inspect.iscoroutinefunction(add_socket):
        raise TypeError("add_socket must be a plain function that returns a new socket")
