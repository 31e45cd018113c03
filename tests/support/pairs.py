"""A ``TCPSocket`` that is connected, to a raw peer or to another, in one line."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import trio
import trio.testing

from trio_xsock import ServerSocket, TCPSocket

from .peers import LOOPBACK, SMALL, RawPeer, accept, raw_listener

Maker: TypeAlias = Callable[[], Awaitable[tuple[TCPSocket, TCPSocket]]]
"""What Trio's checks of streams want: makes two that are connected."""


@asynccontextmanager
async def linked(
    *, small: bool = False, socket_class: type[TCPSocket] = TCPSocket, **options: Any
) -> AsyncIterator[tuple[TCPSocket, RawPeer]]:
    """A socket in its block, connected, and the peer at its other end.

    Args:
        small: the kernel holds some 10 kB on the way to the peer, instead of megabytes.
        socket_class: what to make.
        options: for its constructor.
    """
    with raw_listener(small=small) as listener:
        async with socket_class(LOOPBACK, listener.getsockname()[1], **options) as sock:
            await sock.connect()
            if small:
                shrink_send_buffer(sock)
            with await accept(listener) as peer:
                yield sock, peer


def shrink_send_buffer(sock: TCPSocket) -> None:
    """Let the kernel hold little of what the socket sends."""
    with descriptor_of(sock) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)


def shrink_receive_buffer(sock: TCPSocket | ServerSocket[Any]) -> None:
    """Let the kernel hold little of what comes."""
    with descriptor_of(sock) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)


def descriptor_of(sock: TCPSocket | ServerSocket[Any]) -> socket.socket:
    """A duplicate of the socket's descriptor; use it in a ``with``."""
    return socket.socket(fileno=os.dup(sock.handle))


class GatedResolver(trio.abc.HostnameResolver):
    """Lets ``connect()`` to a name wait in its look-up; made, it serves the present Trio run.

    Attributes:
        called: somebody waits.
        answer: set it to let them go on, to 127.0.0.1.
    """

    def __init__(self) -> None:
        self.called = trio.Event()
        self.answer = trio.Event()
        trio.socket.set_custom_hostname_resolver(self)

    async def getaddrinfo(self, *question: Any, **_: Any) -> list[Any]:
        """Wait, then answer."""
        self.called.set()
        await self.answer.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (LOOPBACK, question[1]))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        """Nobody asks."""
        raise NotImplementedError


async def clog(sock: TCPSocket, *, for_good: bool = False) -> int:
    """Send until not even one byte goes any more; returns how many bytes went.

    Args:
        sock: nothing is queued in it; its peer does not read.
        for_good: also see to it that none will go later. Linux fills what is left of the
            peer's window 200 ms after the rest (the zero window probe), so this takes as long.
            Where the test only wants to have something queued, let it write more than fits.
    """
    before = sock.bytes_sent
    await _fill(sock)
    if for_good:
        await trio.sleep(0.25)
        await _fill(sock)
    return sock.bytes_sent - before


async def _fill(sock: TCPSocket) -> None:
    size = SMALL
    while size:
        sent = sock.bytes_sent
        while not sock.bytes_left_to_send:
            sock.write(bytes(size))
        sock.abort_send()
        await trio.testing.wait_all_tasks_blocked()
        if sock.bytes_sent == sent:
            size //= SMALL  # 4096, 1, and that was it


# For Trio's checks of streams


@asynccontextmanager
async def pairs(
    client: Callable[..., TCPSocket], accepted: Callable[..., TCPSocket], *, small: bool = False
) -> AsyncIterator[Maker]:
    """A function that makes a connected client, and what the server accepted for it.

    Args:
        client: makes a client, given address, port and options.
        accepted: makes a socket for the server, given options.
        small: both hold little of what they receive.
    """
    options = {"receive_buffer_limit": 16} if small else {}

    async def make() -> tuple[TCPSocket, TCPSocket]:
        sock = client(LOOPBACK, server.port, **options)
        await nursery.start(sock.run)
        await sock.connect()
        return sock, await server.accept()

    async with (
        ServerSocket(address=LOOPBACK, add_socket=lambda: accepted(**options)) as server,
        trio.open_nursery() as nursery,
    ):
        await server.listen()
        if small:  # what is accepted inherits it
            shrink_receive_buffer(server)
        yield make


@asynccontextmanager
async def clogged_pairs(
    client: Callable[..., TCPSocket], accepted: Callable[..., TCPSocket]
) -> AsyncIterator[Maker]:
    """The same, with both directions full to the last byte."""

    async def make() -> tuple[TCPSocket, TCPSocket]:
        both = await make_small()
        for each in both:
            shrink_send_buffer(each)
            shrink_receive_buffer(each)
        await clog(both[0])
        await clog(both[1], for_good=True)
        await clog(both[0])
        return both

    async with pairs(client, accepted, small=True) as make_small:
        yield make


def turned(make: Maker) -> Maker:
    """What the server accepted comes first."""

    async def make_turned() -> tuple[TCPSocket, TCPSocket]:
        sock, accepted = await make()
        return accepted, sock

    return make_turned
