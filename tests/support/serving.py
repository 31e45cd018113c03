"""A server that serves, and clients of it that know nothing of ``trio_xsock``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from trio_xsock import ServerSocket, TCPSocket

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


async def echo(sock: TCPSocket) -> None:
    """A handler: send back whatever comes."""
    async for chunk in sock:
        await sock.send_all(chunk)
