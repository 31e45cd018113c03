"""Connected sockets in one line."""

from __future__ import annotations

import socket as stdlib_socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from trio_xsock._network.options import check_seconds
from trio_xsock._sockets.ssl import SSLSocket
from trio_xsock._sockets.tcp import TCPSocket
from trio_xsock._values.events import ErrorOccurred

from ._memory import memory_transports
from ._seam import take_over

Options = Mapping[str, Any]

_LOOPBACK = "127.0.0.1"
_CERTIFICATE = Path(__file__).with_name("localhost.pem")
"""A certificate for this machine and its key, which is no secret: good for tests only."""


@asynccontextmanager
async def socket_pair(
    *, left: Options | None = None, right: Options | None = None, **options: Any
) -> AsyncGenerator[tuple[TCPSocket, TCPSocket], None]:
    """Two sockets, connected to each other by TCP over loopback, each in its block.

    ::

        async with socket_pair() as (a, b):
            await a.send_all(b"hello")

    When the block is left both are closed at once, because neither is read any more.

    Args:
        left: options of the first socket alone, as for ``TCPSocket``.
        right: options of the second socket alone.
        options: options of both.

    Raises:
        TypeError, ValueError: as for ``TCPSocket``.
        OSError: the OS gave no connection.
    """
    ours, theirs = _loopback_pair()
    with ours, theirs:
        first = TCPSocket.from_socket(ours, **{**options, **(left or {})})
        second = TCPSocket.from_socket(theirs, **{**options, **(right or {})})
        async with first, second:
            try:
                yield first, second
            finally:
                first.close()
                second.close()


@asynccontextmanager
async def ssl_socket_pair(
    *, left: Options | None = None, right: Options | None = None, **options: Any
) -> AsyncGenerator[tuple[SSLSocket, SSLSocket], None]:
    """As ``socket_pair``, encrypted: a client, and the server that it has verified.

    They use a certificate of the library that is for tests only; options may name others. When
    the block is left both are closed at once.

    Args:
        left: options of the first socket alone, the client, as for ``SSLSocket``.
        right: options of the second socket alone, the server.
        options: options of both.

    Raises:
        TypeError, ValueError: as for ``SSLSocket``.
        TLSError: the handshake fails.
        OSError: the OS gave no connection.
    """
    client = {"server_hostname": "localhost"}
    client_trust = {"ca_file": _CERTIFICATE}
    server = {"certificate_file": _CERTIFICATE}
    if "ssl_context" in {**options, **(left or {})}:
        client_trust = {}
    if "ssl_context" in {**options, **(right or {})}:
        server = {}
    ours, theirs = _loopback_pair()
    with ours, theirs:
        first = SSLSocket.from_socket(ours, **{**client, **client_trust, **options, **(left or {})})
        second = SSLSocket.from_socket(theirs, **{**server, **options, **(right or {})})
        async with first, second:
            try:
                await _wait_until_up(first)
                await _wait_until_up(second)
                yield first, second
            finally:
                first.close()
                second.close()


async def _wait_until_up(sock: SSLSocket) -> None:
    """Wait for the handshake; raises why it failed."""
    channel = sock.subscribe()
    try:
        event = await channel.receive()
    finally:
        channel.close()
    if isinstance(event, ErrorOccurred):
        raise event.error


@asynccontextmanager
async def memory_socket_pair(
    capacity: int = 65536,
    *,
    left: Options | None = None,
    right: Options | None = None,
    **options: Any,
) -> AsyncGenerator[tuple[TCPSocket, TCPSocket], None]:
    """As ``socket_pair``, without the OS: deterministic, and usable with a ``MockClock``.

    The sockets are ordinary ones and the connection between them behaves as TCP does: partial
    sends, back-pressure, half close, a reset after closing with unread input. They have no
    descriptor (``handle`` is -1), their addresses are made up and the same each time, and options
    of the kernel (``keepalive``) have no effect.

    Args:
        capacity: how many bytes there may be in transit, each way, before a send blocks.
        left: options of the first socket alone, as for ``TCPSocket``.
        right: options of the second socket alone.
        options: options of both.

    Raises:
        TypeError, ValueError: as for ``TCPSocket``, or for a ``capacity`` that is no whole
            number of at least 1.
    """
    ours, theirs = memory_transports(capacity)
    first = TCPSocket(**{**options, **(left or {})})
    second = TCPSocket(**{**options, **(right or {})})
    async with first, second:
        take_over(first, ours)
        take_over(second, theirs)
        try:
            yield first, second
        finally:
            first.close()
            second.close()


@asynccontextmanager
async def serving(
    handler: Callable[[TCPSocket], Awaitable[object]], *, grace: float = 5.0, **options: Any
) -> AsyncGenerator[TCPSocket, None]:
    """Run a server's handler over a connection in memory: the client's end, in its block.

    ::

        async with serving(echo) as client:
            await client.send_all(b"hello")
            assert await client.receive_exactly(5) == b"hello"

    ``handler`` is a handler for ``ServerSocket.serve``. Its socket is closed when it returns.
    When the block is left the client is closed gracefully, and the handler has time to see
    that and to end; after that it is cancelled.

    Args:
        handler: an async function that takes the server's end.
        grace: seconds, on Trio's clock, that the handler may take to end.
        options: of both sockets, as for ``TCPSocket``.

    Raises:
        TypeError: ``handler`` is not callable, or an option is wrong.
        ValueError: ``grace`` is negative.
        Exception: the handler's, not wrapped; it also cancels the block. The loss or close of the
            connection while the block is being left is not an error.

    Cancellation: the handler is cancelled too.
    """
    check_seconds("grace", grace)
    if not callable(handler):
        raise TypeError(f"handler must be an async function, not {handler!r}")
    leaving, ended = False, trio.Event()

    async def serve() -> None:  # noqa: ASYNC910 - aclose() is a checkpoint
        try:
            await handler(server)
            await server.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if not leaving:
                raise
        finally:
            ended.set()

    async with memory_socket_pair(**options) as (client, server):
        server.start_soon(serve)
        yield client
        leaving = True
        with trio.move_on_after(grace):
            await client.aclose(grace)
            await ended.wait()


def _loopback_pair() -> tuple[stdlib_socket.socket, stdlib_socket.socket]:
    """Two connected, non-blocking sockets, as the library itself would have made them."""
    with stdlib_socket.create_server((_LOOPBACK, 0), backlog=1) as listener:
        ours = stdlib_socket.create_connection(listener.getsockname())
        try:
            theirs = _accept_from(listener, ours.getsockname())
        except BaseException:
            ours.close()
            raise
    for sock in (ours, theirs):
        sock.setblocking(False)
        sock.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)
    return ours, theirs


def _accept_from(listener: stdlib_socket.socket, wanted: object) -> stdlib_socket.socket:
    """Accept the connection from ``wanted`` only: any program could connect."""
    while True:
        sock, peer = listener.accept()
        if peer == wanted:
            return sock
        sock.close()
