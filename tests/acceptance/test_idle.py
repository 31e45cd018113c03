"""A program that has nothing to do does nothing."""

from __future__ import annotations

import contextlib
import time

import trio

from tests.support import RawPeer
from trio_xsock import ServerSocket, SocketHandler, TCPSocket

CONNECTIONS = 100
SECONDS = 0.5


async def test_an_idle_program_uses_no_cpu() -> None:
    """Neither for connections of which bytes came once, nor for sockets that watch for silence."""

    def add_socket() -> TCPSocket:
        return TCPSocket(handler=SocketHandler(), idle_timeout=60, keepalive=(30, 10, 3))

    async with (
        contextlib.AsyncExitStack() as peers,
        ServerSocket(address="127.0.0.1", add_socket=add_socket) as server,
    ):
        await server.listen()
        for _ in range(CONNECTIONS):
            peer = peers.enter_context(await RawPeer.connect(server.port))
            await peer.send(b"x")
        while sum(each.bytes_available for each in server.active_connections()) < CONNECTIONS:
            await trio.lowlevel.checkpoint()
        before = time.process_time()
        await trio.sleep(SECONDS)
        assert time.process_time() - before < SECONDS / 20
