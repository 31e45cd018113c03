"""trio_xsock with calls: ``async for chunk in sock`` to receive, ``write`` to send."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from benchmarks.control import Control
from trio_xsock import TCPSocket

from .xsock_serving import HOST, serve_calls

CHUNK = bytes(65536)


async def send_back(sock: TCPSocket) -> None:
    """Send back what comes."""
    async for chunk in sock:
        sock.write(chunk)


async def echo(control: Control) -> None:
    await serve_calls(control, send_back, TCPSocket)


def answer_units(unit: int) -> Callable[[TCPSocket], Awaitable[None]]:
    """A function that answers after each unit of bytes."""

    async def handler(sock: TCPSocket) -> None:
        got = 0
        async for chunk in sock:
            got += len(chunk)
            while got >= unit:
                got -= unit
                sock.write(b".")

    return handler


async def sink(control: Control) -> None:
    await serve_calls(control, answer_units(control["unit"]), TCPSocket)


async def send(sock: TCPSocket, count: int) -> None:
    """Send chunk after chunk."""
    for _ in range(count // len(CHUNK)):
        sock.write(CHUNK)
        await sock.flush()


async def source(control: Control) -> None:
    async def handler(sock: TCPSocket) -> None:
        async for request in sock:
            await send(sock, request[0] * control["unit"])

    await serve_calls(control, handler, TCPSocket)


async def lines(control: Control) -> None:
    batch = control["batch"]

    async def handler(sock: TCPSocket) -> None:
        count = 0
        async for _ in sock.lines(encoding=None):
            count += 1
            if count == batch:
                count = 0
                sock.write(b".")

    await serve_calls(control, handler, TCPSocket)


async def client_send(control: Control) -> None:
    unit, units = control["unit"], control["units"]
    async with TCPSocket(HOST, control["port"]) as sock:
        await sock.connect()
        await send(sock, unit)
        await sock.receive_exactly(1)
        control.begin()
        await send(sock, unit * units)
        await sock.receive_exactly(units)
        control.end()


async def receive(sock: TCPSocket, count: int) -> None:
    """Receive so many bytes, piece by piece."""
    async for chunk in sock:
        count -= len(chunk)
        if not count:
            break


async def client_receive(control: Control) -> None:
    await request_units(control, receive)


async def request_units(
    control: Control, receive: Callable[[TCPSocket, int], Awaitable[None]]
) -> None:
    """Ask for a unit before the work, and for as many as are wanted."""
    unit, units = control["unit"], control["units"]
    async with TCPSocket(HOST, control["port"]) as sock:
        await sock.connect()
        sock.write(b"\1")
        await receive(sock, unit)
        control.begin()
        sock.write(bytes([units]))
        await receive(sock, unit * units)
        control.end()


async def client_ping(control: Control) -> None:
    message = bytes(control["size"])

    async def play(sock: TCPSocket, count: int) -> None:
        for _ in range(count):
            sock.write(message)
            await receive(sock, len(message))

    await play_all(control, play)


async def play_all(control: Control, play: Callable[[TCPSocket, int], Awaitable[None]]) -> None:
    """Connect many sockets and let each have a task that plays."""
    sockets = [TCPSocket(HOST, control["port"]) for _ in range(control["connections"])]

    async def all_play(count: int) -> None:
        async with trio.open_nursery() as players:
            for sock in sockets:
                players.start_soon(play, sock, count)

    async with trio.open_nursery() as nursery:
        for sock in sockets:
            await nursery.start(sock.run)
            await sock.connect()
        await all_play(control["warm"])
        control.begin()
        await all_play(control["messages"] // len(sockets))
        control.end()
        nursery.cancel_scope.cancel()


async def client_connect(control: Control) -> None:
    async def visit(count: int) -> None:
        for _ in range(count):
            async with TCPSocket(HOST, control["port"]) as sock:
                await sock.connect()
                sock.write(b"?")
                await sock.receive_some()

    await visit(control["warm"])
    control.begin()
    await visit(control["count"])
    control.end()
