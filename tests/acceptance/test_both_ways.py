"""Two ends that send to each other at once, as much as they can: it always finishes."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest
import trio

from tests.support.tls import credentials
from trio_xsock import EasyTCPSocket, Message, ServerSocket, SSLSocket, TCPSocket

ROUNDS = 50
"""How often each end sends a megabyte."""
MEGABYTE = random.Random(14).randbytes(1_000_000)
SIZES = (*[1_000] * 20, 960_000, *[500] * 40)
"""Of the messages that it is sent in: small ones, and one that is larger than any limit."""


def options_of(kind: str, *, server: bool) -> tuple[type[Any], dict[str, Any]]:
    """The class, and how to make one."""
    if kind == "tls":
        if server:
            return SSLSocket, {"certificate_file": credentials().server}
        return SSLSocket, {"ca_file": credentials().ca}
    return (TCPSocket if kind == "tcp" else EasyTCPSocket), {}


class Tally:
    """What one end has received.

    Attributes:
        done: it has all of it, or more.
    """

    def __init__(self) -> None:
        self.done = trio.Event()
        self._left = ROUNDS * len(MEGABYTE)
        self._sum = 0

    def add(self, data: bytes) -> None:
        self._left -= len(data)
        self._sum = zlib.crc32(data, self._sum)
        if self._left <= 0:
            self.done.set()

    def check(self) -> None:
        """It is what the other end sent, to the last byte."""
        expected = 0
        for _ in range(ROUNDS):
            expected = zlib.crc32(MEGABYTE, expected)
        assert (self._left, self._sum) == (0, expected)


class EveryMethod:
    """A handler that has every method, and takes what comes."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def on_connected(self, socket: Any) -> None: ...

    def on_data_available(self, socket: Any) -> None:
        self._tally.add(socket.read_all())

    def on_received_message(self, socket: Any, command: int, data: bytes) -> None:
        self._tally.add(data)

    def on_send_progress(self, socket: Any, bytes_sent: int, bytes_left: int) -> None: ...

    def on_send_complete(self, socket: Any, user_aborted: bool) -> None: ...

    def on_error(self, socket: Any, error: Exception) -> None: ...


async def receive(sock: Any, style: str, tally: Tally) -> None:
    """Until all has come."""
    stream = isinstance(sock, TCPSocket)
    if style == "channel":
        async for event in sock.events:
            tally.add(sock.read_all() if stream else getattr(event, "data", b""))
            if tally.done.is_set():
                break
    elif style == "callers":
        while not tally.done.is_set():
            tally.add(await sock.receive_some() if stream else (await sock.receive()).data)
    else:
        await tally.done.wait()


async def send(sock: Any) -> None:
    """All of it, in large pieces, or in messages of very different sizes."""
    for _ in range(ROUNDS):
        if isinstance(sock, TCPSocket):
            await sock.send_all(MEGABYTE)
            continue
        begin = 0
        for size in SIZES:
            await sock.send(Message(1, MEGABYTE[begin : begin + size]))
            begin += size


@pytest.mark.slow
# With 1 KiB it takes nine seconds, but more on machines that are slow and busy as well.
@pytest.mark.parametrize("limit", [pytest.param(1024, marks=pytest.mark.timeout(60)), 65536])
@pytest.mark.parametrize("style", ["callers", "channel", "handler"])
@pytest.mark.parametrize("kind", ["tcp", "tls", "easy"])
async def test_both_send_at_once(kind: str, style: str, limit: int) -> None:
    """Whatever the limits and the style, all arrives and nobody stands still."""
    assert sum(SIZES) == len(MEGABYTE)
    theirs, ours = Tally(), Tally()
    handlers = [EveryMethod(each) if style == "handler" else None for each in (theirs, ours)]
    both = trio.Event()

    async def exchange(sock: Any, tally: Tally, other: Tally) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, sock)
            nursery.start_soon(receive, sock, style, tally)
        if other.done.is_set():
            both.set()
        await both.wait()

    async def serve(sock: Any) -> None:
        if handlers[0] is not None:
            sock.handler = handlers[0]
            if kind != "easy":  # what came before
                handlers[0].on_data_available(sock)
        await exchange(sock, theirs, ours)

    accepted, kept = options_of(kind, server=True)
    made, how = options_of(kind, server=False)
    async with (
        ServerSocket(
            address="127.0.0.1",
            add_socket=lambda: accepted(receive_buffer_limit=limit, **kept),
            minimum_sockets_available=1,
        ) as server,
        trio.open_nursery() as nursery,
    ):
        port = await nursery.start(server.serve, serve)
        address = "localhost" if kind == "tls" else "127.0.0.1"
        async with made(
            address, port, handler=handlers[1], receive_buffer_limit=limit, **how
        ) as sock:
            await sock.connect()
            await exchange(sock, ours, theirs)
        nursery.cancel_scope.cancel()
    theirs.check()
    ours.check()
