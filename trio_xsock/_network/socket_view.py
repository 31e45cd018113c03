"""``SocketView``: what other libraries ask a stream's ``socket`` for, and no more.

A view cannot close, read or write: that would go behind the back of the buffers and the events.
"""

from __future__ import annotations

import errno as errnos
from collections.abc import Callable
from typing import Any, Protocol, overload

from trio_xsock._values.errors import InvalidStateError
from trio_xsock._values.typing import Buffer


class Descriptor(Protocol):
    """What can be asked of a descriptor; a ``socket.socket`` has all of it."""

    @property
    def family(self) -> int:
        """The address family."""
        ...

    def fileno(self) -> int:
        """Its number, -1 if there is none."""
        ...

    def getsockname(self) -> Any:
        """Our address."""
        ...

    def getpeername(self) -> Any:
        """The peer's address."""
        ...

    @property
    def getsockopt(self) -> Callable[..., Any]:
        """See ``socket.getsockopt``."""
        ...

    @property
    def setsockopt(self) -> Callable[..., None]:
        """See ``socket.setsockopt``."""
        ...


class NoDescriptorError(InvalidStateError, OSError):
    """There is no descriptor: the socket is not open (106, EBADF).

    It is an ``OSError`` too, because that is what a closed ``socket.socket`` raises: libraries
    ask for the peer's address and expect one if the connection was lost meanwhile.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, errno=errnos.EBADF)


def get_option(sock: Descriptor, level: int, option: int, buffersize: int) -> int | bytes:
    """``getsockopt`` with a ``buffersize`` that is 0 where there is none."""
    value: int | bytes = (
        sock.getsockopt(level, option, buffersize) if buffersize else sock.getsockopt(level, option)
    )
    return value


def set_option(
    sock: Descriptor, level: int, option: int, value: int | Buffer | None, length: int | None
) -> None:
    """``setsockopt`` with a value, or with ``None`` and a length.

    Raises:
        TypeError: both of ``value`` and ``length``, or neither.
    """
    if (value is None) is (length is None):
        raise TypeError("setsockopt() takes a value, or None and a length")
    if length is None:
        sock.setsockopt(level, option, value)
    else:
        sock.setsockopt(level, option, value, length)


class SocketView:
    """The OS's socket beneath one of ours, as far as it may be asked and set.

    It always looks at the descriptor that there is at the time of the call.

    Raises (every call):
        InvalidStateError: there is no descriptor now; it is an ``OSError`` (EBADF) too.
        OSError: what the OS says.
    """

    __slots__ = ("_find",)

    def __init__(self, find: Callable[[], Descriptor]) -> None:
        self._find = find

    @property
    def family(self) -> int:
        """The address family, such as ``socket.AF_INET``."""
        return self._find().family

    def fileno(self) -> int:
        """The descriptor; -1 for a connection in memory."""
        return self._find().fileno()

    def getsockname(self) -> Any:
        """The local address, as ``socket.socket.getsockname`` gives it."""
        return self._find().getsockname()

    def getpeername(self) -> Any:
        """The peer's address, as ``socket.socket.getpeername`` gives it."""
        return self._find().getpeername()

    @overload
    def getsockopt(self, level: int, option: int) -> int: ...
    @overload
    def getsockopt(self, level: int, option: int, buffersize: int) -> bytes: ...
    def getsockopt(self, level: int, option: int, buffersize: int = 0) -> int | bytes:
        """An option of the OS's socket; see ``socket.socket.getsockopt``.

        Args:
            level: of the protocol, as the constants in ``socket`` have it.
            option: the option, likewise.
            buffersize: for an option that is no int: how many bytes it may have.

        Returns:
            An int, or with a ``buffersize`` bytes.
        """
        return get_option(self._find(), level, option, buffersize)

    @overload
    def setsockopt(self, level: int, option: int, value: int | Buffer) -> None: ...
    @overload
    def setsockopt(self, level: int, option: int, value: None, length: int) -> None: ...
    def setsockopt(
        self, level: int, option: int, value: int | Buffer | None, length: int | None = None
    ) -> None:
        """Set an option of the OS's socket; see ``socket.socket.setsockopt``.

        Args:
            level: of the protocol, as the constants in ``socket`` have it.
            option: the option, likewise.
            value: an int, or bytes.
            length: in place of a value, which is ``None`` then.

        Raises:
            TypeError: both of ``value`` and ``length``, or neither.
        """
        set_option(self._find(), level, option, value, length)
