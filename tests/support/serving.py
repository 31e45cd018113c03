"""A server that serves, and clients of it that know nothing of ``trio_xsock``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from trio_xsock import ServerSocket, SocketError, TCPSocket

from .peers import LOOPBACK, RawPeer


@asynccontextmanager
async def listening(**options: Any) -> AsyncIterator[ServerSocket[TCPSocket]]:
    """A server in its block, listening on the loopback interface."""
    options.setdefault("address", LOOPBACK)
    async with ServerSocket(**options) as server:
        await server.listen()
        yield server


@asynccontextmanager
async def serving(
    handler: Callable[[Any], Awaitable[object]], /, **options: Any
) -> AsyncIterator[ServerSocket[TCPSocket]]:
    """A server that serves until the end of the ``async with``, and is cancelled then."""
    options.setdefault("address", LOOPBACK)
    async with ServerSocket(**options) as server, trio.open_nursery() as nursery:
        await nursery.start(server.serve, handler)
        yield server
        nursery.cancel_scope.cancel()


async def start_serving(
    nursery: trio.Nursery, server: ServerSocket[Any], handler: Callable[[Any], Awaitable[object]]
) -> None:
    """Have a server serve in a nursery that may outlive it."""
    await nursery.start(server.serve, handler)


async def connect(server: ServerSocket[Any]) -> RawPeer:
    """A new connection to a server."""
    return await RawPeer.connect(server.port)


async def connect_many(server: ServerSocket[Any], count: int) -> list[RawPeer]:
    """So many new connections, one after the other."""
    return [await connect(server) for _ in range(count)]


def close_all(peers: list[RawPeer]) -> None:
    """Close these connections."""
    for peer in peers:
        peer.close()


@asynccontextmanager
async def client(server: ServerSocket[Any]) -> AsyncIterator[RawPeer]:
    """Have a server listen, and somebody connected to it."""
    if not server.is_listening:
        await server.listen()
    with await connect(server) as peer:
        yield peer


async def ended(peer: RawPeer) -> bool:
    """Wait for the end of a connection; whether it was a clean one."""
    try:
        await peer.recv_all_to_eof()
    except ConnectionResetError:
        return False
    return True


async def echo(sock: TCPSocket) -> None:
    """A handler: send back whatever comes."""
    async for chunk in sock:
        await sock.send_all(chunk)


# What a test wants to know of a server and the server does not tell: asked here and nowhere else.


def open_connections(server: ServerSocket[Any]) -> int:
    """How many connections have a descriptor: also those in a handshake, and lingering ones."""
    return len(server._parts.roster.open)


def running_handlers(server: ServerSocket[Any]) -> int:
    """How many connections a handler of ``serve`` looks after."""
    return server._parts.staff.serving


def is_idle(server: ServerSocket[Any]) -> bool:
    """Whether no connection is open, and no handler runs."""
    return not open_connections(server) and not running_handlers(server)


def waiting_for_a_place(server: ServerSocket[Any]) -> list[TCPSocket]:
    """Those whose handshake is done, and that are not announced yet."""
    return [server._parts.roster.open[each] for each in server._parts.lobby.waiting]


def followers(server: ServerSocket[Any]) -> int:
    """How many channels want to know of connections that come and go."""
    return server._parts.changes.followers


def outage(server: ServerSocket[Any], error: SocketError) -> None:
    """Let the server's listener be in trouble."""
    server._connections.accepting_failed(error, final=False)


def listeners(server: ServerSocket[Any]) -> list[Any]:
    """The sockets that it listens on."""
    return list(server._parts.accepting.listeners)
