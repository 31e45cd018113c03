"""Two ends that send to each other at once, as much as they can: it always finishes."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.support.tls import credentials
from trio_xsock import EasyTCPSocket, Message, ServerSocket, SSLSocket, TCPSocket

MANY = 50_000_000
"""Bytes each way."""
FEWER = 10_000_000
"""The same where the limit is 1 KiB: each read brings so little that 50 MB would take a minute."""


def options_of(kind: str, *, server: bool) -> tuple[type[Any], dict[str, Any]]:
    """The class, and how to make one."""
    if kind == "tls":
        if server:
            return SSLSocket, {"certificate_file": credentials().server}
        return SSLSocket, {"ca_file": credentials().ca}
    return (TCPSocket if kind == "tcp" else EasyTCPSocket), {}


class Counter:
    """A handler with every method, and when it has had all."""

    def __init__(self, total: int) -> None:
        self.left = total
        self.done = trio.Event()

    def _count(self, size: int) -> None:
        self.left -= size
        if self.left <= 0:
            self.done.set()

    def on_connected(self, socket: Any) -> None: ...

    def on_data_available(self, socket: Any) -> None:
        self._count(len(socket.read_all()))

    def on_received_message(self, socket: Any, command: int, data: bytes) -> None:
        self._count(len(data))

    def on_send_progress(self, socket: Any, bytes_sent: int, bytes_left: int) -> None: ...

    def on_send_complete(self, socket: Any, user_aborted: bool) -> None: ...

    def on_error(self, socket: Any, error: Exception) -> None: ...


async def receive(sock: Any, style: str, total: int) -> None:
    """Until all has come."""
    left = total
    if style == "channel":
        async for event in sock.events:
            stream = isinstance(sock, TCPSocket)
            left -= len(sock.read_all() if stream else getattr(event, "data", b""))
            if left <= 0:
                break
        return
    while left > 0:
        got = await (sock.receive_some() if isinstance(sock, TCPSocket) else sock.receive())
        left -= len(got if isinstance(got, bytes) else got.data)


async def send(sock: Any, total: int) -> None:
    """In pieces of a megabyte."""
    piece = bytes(1_000_000)
    for _ in range(total // len(piece)):
        await (
            sock.send_all(piece) if isinstance(sock, TCPSocket) else sock.send(Message(1, piece))
        )


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("limit", [1024, 65536])
@pytest.mark.parametrize("style", ["callers", "channel", "handler"])
@pytest.mark.parametrize("kind", ["tcp", "tls", "easy"])
async def test_both_send_at_once(kind: str, style: str, limit: int) -> None:
    """Whatever the limits and the style, all arrives and nobody stands still."""
    total = FEWER if limit == 1024 else MANY
    ends: list[Any] = []

    async def exchange(sock: Any, counter: Counter | None) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, sock, total)
            if counter is None:
                nursery.start_soon(receive, sock, style, total)
            else:
                nursery.start_soon(counter.done.wait)
        ends.append(sock)
        while len(ends) < 2:
            await trio.lowlevel.checkpoint()

    def counter() -> Counter | None:
        return Counter(total) if style == "handler" else None

    theirs, ours = counter(), counter()
    made: list[Any] = []
    kept, how = options_of(kind, server=True)

    def add() -> Any:
        made.append(kept(receive_buffer_limit=limit, **how))
        return made[-1]

    client, more = options_of(kind, server=False)
    async with (
        ServerSocket(address="127.0.0.1", add_socket=add, minimum_sockets_available=1) as server,
        trio.open_nursery() as nursery,
    ):

        async def serve(sock: Any) -> None:
            if theirs is not None:
                sock.handler = theirs
                if kind != "easy":
                    theirs.on_data_available(sock)
            await exchange(sock, theirs)

        port = await nursery.start(server.serve, serve)
        async with client(
            "localhost" if kind == "tls" else "127.0.0.1",
            port,
            handler=ours,
            receive_buffer_limit=limit,
            **more,
        ) as sock:
            await sock.connect()
            await exchange(sock, ours)
        nursery.cancel_scope.cancel()
