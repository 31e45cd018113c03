"""``Transport``: what moves the bytes of a connection, and ``PlainTransport``, a TCP socket.

A connection knows its transport by this protocol only. Four kinds come with the library: plain
(here), TLS, and for tests one in memory and one that fails on demand. A transport of another
kind, such as one through a proxy, has these methods and nothing to register.
"""

from __future__ import annotations

import errno as errnos
import socket as stdlib_socket
from collections.abc import Callable
from typing import Final, Protocol, Self, cast

from trio_xsock._machines.dead_peers import Sample
from trio_xsock._machines.tls import TLSEngine
from trio_xsock._platform import sockets as platform
from trio_xsock._runtime.keeper import Keeper
from trio_xsock._runtime.readiness import Watch, watch_socket
from trio_xsock._runtime.steps import Steps

from . import kernel, tcp_info
from .socket_view import Descriptor

_NOT_SENT: Final = 16384
"""Bytes that the OS may hold beyond what it has sent (TCP_NOTSENT_LOWAT, tcp(7)).

The kernel also fills the segment that it has begun, of up to 64 KiB. So what counts as sent is at
most 80 KiB and a window ahead of the network, and an abort leaves little in the kernel. Bulk
sending is faster, too: the data is still in the processor's cache when it is sent.
"""

UNLIMITED: Final = 2**62
"""Bytes: more than any send has."""


class Transport(Descriptor, Protocol):
    """A non-blocking duplex byte stream, with methods like those of ``socket.socket``.

    Attributes:
        encryption: the TLS engine, if there is one.
        most: bytes that one ``send`` takes at the most.
        takes_files: the descriptor takes unencrypted bytes, so the kernel may send files.
        closes_silently: ``end`` does nothing: the OS tells the peer as the descriptor is closed.
    """

    @property
    def encryption(self) -> TLSEngine | None: ...
    @property
    def most(self) -> int: ...
    @property
    def takes_files(self) -> bool: ...
    @property
    def closes_silently(self) -> bool: ...

    @property
    def ready(self) -> bool:
        """There is input in the transport itself, which the OS does not report."""
        ...

    @property
    def unsent(self) -> bool:
        """The transport has output that counts as sent and that the OS has not taken yet."""
        ...

    def on_wake(self, wake: Callable[[], None], /) -> None:
        """Set what to call when ``ready`` became true, or ``unsent`` false, without a step."""

    def recv(self, count: int, flags: int = 0, /) -> bytes:
        """Up to ``count`` bytes; ``b""`` at the end.

        Raises:
            BlockingIOError: there is nothing now.
            OSError: the connection is lost, or the input is invalid.
        """
        ...

    def send(self, data: bytes | memoryview, flags: int = 0, /) -> int:
        """Send some of ``data``; returns how many bytes were taken.

        Raises:
            BlockingIOError: nothing can be taken now.
            OSError: the connection is lost.
        """
        ...

    def flush(self) -> bool:
        """Send the transport's own output; returns whether the OS took all of it.

        Raises:
            OSError: the connection is lost.
        """
        ...

    def end(self) -> bool:
        """Tell the peer that nothing more will come, apart from ``shutdown``.

        Returns:
            Whether the OS took that, and all that was before it; if not, call it again when
            ``unsent`` is false.

        Raises:
            OSError: the connection is lost.
        """
        ...

    def shutdown(self, how: int, /) -> None:
        """End our direction; see ``socket.shutdown``.

        Raises:
            OSError: the connection is lost.
        """

    def close(self) -> None:
        """Close; the transport's own output, and what ``on_wake`` set, are dropped. Idempotent."""

    @property
    def moved(self) -> int:
        """Bytes moved in addition to those of ``recv`` and ``send``; a sign of life."""
        ...

    # Questions to the OS

    def was_reset(self) -> bool:
        """Whether the end of input that ``recv`` returned was not a clean one."""
        ...

    def holds_input(self) -> bool:
        """Whether there is unread input, also an incomplete record; an end does not count."""
        ...

    def has_unread_input(self) -> bool:
        """Whether closing now could reset the connection, because of unread input."""
        ...

    def unacknowledged_bytes(self) -> int | None:
        """Bytes that the peer has not acknowledged, a FIN being one; ``None`` if unknown."""
        ...

    def take_sample(self) -> Sample | None:
        """The facts that tell a dead peer from one that does not read; ``None`` if unknown."""
        ...

    # Readiness

    def make_watch(self, keeper: Keeper, steps: Steps, /) -> Watch:
        """Watch for readiness; see ``_runtime.readiness.watch_socket``."""
        ...


class PlainTransport(stdlib_socket.socket):
    """A connected TCP (or Unix) socket as a ``Transport``.

    It is a ``socket.socket`` so that ``recv`` and ``send`` are the C functions themselves: a
    wrapper's call would cost a tenth of a small message.
    """

    __slots__ = ()

    encryption: TLSEngine | None = None
    most: int = UNLIMITED
    takes_files: bool = True
    moved: int = 0
    ready: bool = False
    unsent: bool = False
    closes_silently: bool = True

    @classmethod
    def of(cls, sock: stdlib_socket.socket) -> Self:
        """Take a socket's descriptor over; ``sock`` has none afterwards."""
        if isinstance(sock, cls):
            return sock
        family, kind, protocol = sock.family, sock.type, sock.proto
        transport = cls(family, kind, protocol, fileno=sock.detach())
        try:
            transport.setblocking(False)
            hold_little(transport)
        except BaseException:
            transport.close()  # nobody else has the descriptor now
            raise
        return transport

    @classmethod
    def dialled(cls, sock: stdlib_socket.socket) -> Self:
        """Turn what ``dial`` has returned into a transport: this very object, see ``_adopt``."""
        transport = cls._adopt(sock)
        hold_little(transport)
        return transport

    @classmethod
    def _adopt(cls, sock: stdlib_socket.socket) -> Self:
        """Make a socket of our own a transport; a new object costs a tenth of a connection."""
        sock.__class__ = cls
        return cast("Self", sock)

    @classmethod
    def accepted(cls, sock: stdlib_socket.socket) -> Self:
        """Turn what ``accept`` has returned into a transport: this very object, see ``_adopt``.

        Args:
            sock: from a listener that ``set_for_connections`` was called with.
        """
        transport = cls._adopt(sock)
        try:
            transport.setblocking(False)
            if not platform.ACCEPTED_INHERIT:
                set_for_connections(transport)
        except BaseException:
            transport.close()
            raise
        return transport

    def on_wake(self, wake: Callable[[], None], /) -> None:
        """See ``Transport``: the OS reports everything."""

    def flush(self) -> bool:
        """See ``Transport``: it has no output of its own."""
        return True

    def end(self) -> bool:
        """See ``Transport``: ``shutdown`` is enough."""
        return True

    def shutdown(self, how: int, /) -> None:
        """See ``Transport``; the error is why the connection is lost, not ENOTCONN."""
        try:
            super().shutdown(how)
            return
        except OSError as exc:
            if exc.errno != errnos.ENOTCONN:
                raise
        # Outside the handler: the frames of an error in the chain would keep the socket alive.
        raise kernel.why_lost(self)

    def was_reset(self) -> bool:
        """See ``Transport``."""
        return kernel.was_reset(self)

    def holds_input(self) -> bool:
        """See ``Transport``."""
        return kernel.has_unread_input(self)

    def has_unread_input(self) -> bool:
        """See ``Transport``."""
        return kernel.has_unread_input(self)

    def unacknowledged_bytes(self) -> int | None:
        """See ``Transport``."""
        return kernel.unacknowledged_bytes(self)

    def take_sample(self) -> Sample | None:
        """See ``Transport``."""
        return tcp_info.take_sample(self)

    def make_watch(self, keeper: Keeper, steps: Steps, /) -> Watch:
        """See ``Transport``."""
        return watch_socket(keeper, self, steps)


def set_for_connections(sock: stdlib_socket.socket) -> None:
    """Set the options of accepted connections.

    Args:
        sock: a connection, or, where ``ACCEPTED_INHERIT`` is true, its listener before it accepts.
    """
    _try_to_set(sock, stdlib_socket.TCP_NODELAY, 1)
    hold_little(sock)


def hold_little(sock: stdlib_socket.socket) -> None:
    """Let the OS hold little that it has not sent."""
    if platform.NOTSENT_LOWAT:
        _try_to_set(sock, platform.NOTSENT_LOWAT, _NOT_SENT)


def _try_to_set(sock: stdlib_socket.socket, option: int, value: int) -> None:
    try:
        sock.setsockopt(stdlib_socket.IPPROTO_TCP, option, value)
    except OSError:  # no TCP; some systems also refuse it once the peer has reset the connection
        pass
