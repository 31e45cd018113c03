"""The server's pool: unconnected sockets, made by the user's ``add_socket``, ready for use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from ._connection import Connection
from ._errors import InvalidStateError
from ._guard import call_unprotected, protect_from_ki
from ._state import SocketState

S = TypeVar("S", bound=Connection)


@protect_from_ki
class SocketPool(Generic[S]):
    """Sockets that wait for a connection.

    Args:
        add_socket: makes a new, unconnected socket each time.
    """

    __slots__ = ("_add_socket", "_sockets")

    def __init__(self, add_socket: Callable[[], S]) -> None:
        self._add_socket = add_socket
        self._sockets: deque[S] = deque()

    def fill(self, count: int) -> None:
        """Have at least ``count`` sockets ready.

        Raises:
            InvalidStateError: ``add_socket`` raised, or returned no fresh socket.
        """
        while len(self._sockets) < count:
            self._sockets.append(self._make())

    def first(self) -> S:
        """The socket that the next connection will get; made if there is none.

        Raises:
            InvalidStateError: as for ``fill``.
        """
        self.fill(1)
        return self._sockets[0]

    def take(self) -> S:
        """Remove and return the first socket."""
        return self._sockets.popleft()

    def clear(self) -> None:
        """Forget all sockets; they hold nothing."""
        self._sockets.clear()

    def _make(self) -> S:
        try:
            socket = call_unprotected(self._add_socket)
        except Exception as exc:
            raise InvalidStateError(f"add_socket raised {exc!r}") from exc
        if not isinstance(socket, Connection):
            raise InvalidStateError(
                f"add_socket must return a new TCPSocket or a socket derived from it, not {socket!r}"
            )
        used = socket.state is not SocketState.CLOSED or socket._keeper is not None
        if used or any(socket is waiting for waiting in self._sockets):
            raise InvalidStateError(f"add_socket must return a new socket, not the used {socket!r}")
        return socket
