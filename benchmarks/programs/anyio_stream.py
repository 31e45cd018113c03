"""AnyIO's streams, on Trio."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import ByteStream, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from benchmarks.control import Control

# AnyIO imports this at first use, which would be in each of the forked processes.
importlib.import_module("anyio._backends._trio")

HOST = "127.0.0.1"
CHUNK = bytes(65536)


async def _serve(control: Control, handler: Callable[[SocketStream], Awaitable[object]]) -> None:
    async def whole(stream: SocketStream) -> None:
        async with stream:
            await handler(stream)

    async with await anyio.create_tcp_listener(local_host=HOST) as listener:
        control.ready(listener.extra(anyio.abc.SocketAttribute.local_port))
        await listener.serve(whole)


async def echo(control: Control) -> None:
    async def handler(stream: SocketStream) -> None:
        async for chunk in stream:
            await stream.send(chunk)

    await _serve(control, handler)


async def sink(control: Control) -> None:
    unit = control["unit"]

    async def handler(stream: SocketStream) -> None:
        got = 0
        async for chunk in stream:
            got += len(chunk)
            while got >= unit:
                got -= unit
                await stream.send(b".")

    await _serve(control, handler)


async def _send(stream: ByteStream, count: int) -> None:
    for _ in range(count // len(CHUNK)):
        await stream.send(CHUNK)


async def _receive(stream: ByteStream, count: int) -> None:
    while count:
        count -= len(await stream.receive())


async def source(control: Control) -> None:
    async def handler(stream: SocketStream) -> None:
        async for request in stream:
            await _send(stream, request[0] * control["unit"])

    await _serve(control, handler)


async def lines(control: Control) -> None:
    batch, size = control["batch"], control["size"]

    async def handler(stream: SocketStream) -> None:
        count = 0
        buffered = BufferedByteReceiveStream(stream)
        while True:
            await buffered.receive_until(b"\n", size)
            count += 1
            if count == batch:
                count = 0
                await stream.send(b".")

    await _serve(control, handler)


async def client_send(control: Control) -> None:
    unit, units = control["unit"], control["units"]
    async with await anyio.connect_tcp(HOST, control["port"]) as stream:
        await _send(stream, unit)
        await _receive(stream, 1)
        control.begin()
        await _send(stream, unit * units)
        await _receive(stream, units)
        control.end()


async def client_receive(control: Control) -> None:
    unit, units = control["unit"], control["units"]
    async with await anyio.connect_tcp(HOST, control["port"]) as stream:
        await stream.send(b"\1")
        await _receive(stream, unit)
        control.begin()
        await stream.send(bytes([units]))
        await _receive(stream, unit * units)
        control.end()


async def client_ping(control: Control) -> None:
    message = bytes(control["size"])
    streams = [
        await anyio.connect_tcp(HOST, control["port"]) for _ in range(control["connections"])
    ]

    async def play(stream: ByteStream, count: int) -> None:
        for _ in range(count):
            await stream.send(message)
            await _receive(stream, len(message))

    async def all_play(count: int) -> None:
        async with anyio.create_task_group() as players:
            for stream in streams:
                players.start_soon(play, stream, count)

    await all_play(control["warm"])
    control.begin()
    await all_play(control["messages"] // len(streams))
    control.end()
    for stream in streams:
        await stream.aclose()


async def client_connect(control: Control) -> None:
    async def visits(count: int) -> None:
        for _ in range(count):
            async with await anyio.connect_tcp(HOST, control["port"]) as stream:
                await stream.send(b"?")
                await stream.receive()

    await visits(control["warm"])
    control.begin()
    await visits(control["count"])
    control.end()
