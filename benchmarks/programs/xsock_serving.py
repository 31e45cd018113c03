"""How the programs of trio_xsock listen: for handlers or for calls, with any kind of socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from benchmarks.control import Control
from trio_xsock import EasyTCPSocket, ServerSocket, TCPSocket

HOST = "127.0.0.1"

S = TypeVar("S", TCPSocket, EasyTCPSocket)


async def serve_handlers(
    control: Control, make_handler: Callable[[], object], make_socket: Callable[..., S]
) -> None:
    """Run a server whose connections have handler objects."""

    def add_socket() -> S:
        return make_socket(handler=make_handler())

    async with ServerSocket(address=HOST, add_socket=add_socket) as server:
        await server.listen()
        control.ready(server.port)
        await trio.sleep_forever()


async def serve_calls(
    control: Control, handler: Callable[[S], Awaitable[object]], make_socket: Callable[[], S]
) -> None:
    """Run a server whose connections are given to an async function."""
    async with ServerSocket(address=HOST, add_socket=make_socket) as server:
        await server.listen()
        control.ready(server.port)
        await server.serve(handler)
