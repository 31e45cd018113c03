"""Handler objects: the methods they may have, and which of them are worth calling."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterable
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, Generic

from trio_xsock._values.errors import SocketError

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    H = TypeVar("H", contravariant=True, default=Any)
else:  # `typing` knows defaults only from Python 3.13 on
    from typing import TypeVar

    H = TypeVar("H", contravariant=True)


class SocketHandler(Generic[H]):
    """Base class for handler objects: has every method, each doing nothing.

    Deriving from it is optional; of any object, the methods it has are called. All are plain
    functions; to do async work call ``socket.start_soon(async_fn, ...)`` in them. One call at
    a time per socket. A method that raises closes the socket, and its exception leaves the
    socket's ``async with`` block. Xojo: the events of ``TCPSocket``.

    It is generic in its sockets: the methods of a ``SocketHandler[TCPSocket]`` are given one.
    """

    def on_connected(self, socket: H) -> None:
        """The connection is up (UDP: the socket is bound)."""

    def on_data_available(self, socket: H) -> None:
        """Something arrived; take it with ``socket.read_all()`` or leave it for later."""

    def on_send_progress(self, socket: H, bytes_sent: int, bytes_left: int) -> bool | None:
        """The OS took ``bytes_sent`` more bytes; ``bytes_left`` are queued.

        Returns:
            True to drop what is queued, like ``abort_send()``.
        """

    def on_send_complete(self, socket: H, user_aborted: bool) -> None:
        """The send queue is empty; ``user_aborted`` says if anything was dropped."""

    def on_error(self, socket: H, error: SocketError) -> None:
        """The connection was lost, or could not be made."""


METHODS: Final = (
    "on_connected",
    "on_data_available",
    "on_send_progress",
    "on_send_complete",
    "on_error",
)
"""The methods that the handler object of a socket may have."""

SERVER_METHODS: Final = ("on_error", "on_connections_changed")
"""Those of a server."""

_PLAIN: Final[weakref.WeakSet[object]] = weakref.WeakSet()
"""Functions that were found to be plain: a server asks for each of its connections."""
_IGNORED = {getattr(SocketHandler, name) for name in METHODS}


def handler_methods(handler: object, names: Iterable[str]) -> dict[str, Callable[..., object]]:
    """The methods of ``handler`` that are worth calling.

    Args:
        handler: any object.
        names: the methods to look for.

    Returns:
        The bound methods by name, without those inherited from ``SocketHandler``.

    Raises:
        TypeError: one of them is an ``async def``, or not callable.
    """
    methods: dict[str, Callable[..., object]] = {}
    for name in names:
        method = getattr(handler, name, None)
        if method is None or getattr(method, "__func__", None) in _IGNORED:
            continue
        if getattr(method, "__func__", None) in _PLAIN:
            methods[name] = method
            continue
        if not callable(method):
            raise TypeError(f"handler.{name} is not callable: {method!r}")
        if _is_async(method) or _is_async(type(method).__call__):
            raise TypeError(
                f"handler.{name} is an async function; handlers are plain functions: "
                "use socket.start_soon(async_fn, ...) inside it"
            )
        methods[name] = method
        if isinstance(method, MethodType):
            _PLAIN.add(method.__func__)
    return methods


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
