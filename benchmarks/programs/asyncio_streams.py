"""asyncio's streams; with uvloop too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from benchmarks.control import Control

HOST = "127.0.0.1"
CHUNK = bytes(65536)
LIMIT = 65536

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _serve(control: Control, handler: Handler) -> None:
    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(whole, HOST, 0)
    control.ready(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def echo(control: Control) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(LIMIT):
            writer.write(data)
            await writer.drain()

    await _serve(control, handler)


async def sink(control: Control) -> None:
    unit = control["unit"]

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = 0
        while data := await reader.read(LIMIT):
            got += len(data)
            while got >= unit:
                got -= unit
                writer.write(b".")

    await _serve(control, handler)


async def _send(writer: asyncio.StreamWriter, count: int) -> None:
    for _ in range(count // len(CHUNK)):
        writer.write(CHUNK)
        await writer.drain()


async def _receive(reader: asyncio.StreamReader, count: int) -> None:
    while count:
        count -= len(await reader.read(LIMIT))


async def source(control: Control) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(1):
            await _send(writer, request[0] * control["unit"])

    await _serve(control, handler)


async def lines(control: Control) -> None:
    batch = control["batch"]

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        while await reader.readline():
            count += 1
            if count == batch:
                count = 0
                writer.write(b".")

    await _serve(control, handler)


async def client_send(control: Control) -> None:
    unit, units = control["unit"], control["units"]
    reader, writer = await asyncio.open_connection(HOST, control["port"])
    await _send(writer, unit)
    await _receive(reader, 1)
    control.begin()
    await _send(writer, unit * units)
    await _receive(reader, units)
    control.end()
    writer.close()


async def client_receive(control: Control) -> None:
    unit, units = control["unit"], control["units"]
    reader, writer = await asyncio.open_connection(HOST, control["port"])
    writer.write(b"\1")
    await _receive(reader, unit)
    control.begin()
    writer.write(bytes([units]))
    await _receive(reader, unit * units)
    control.end()
    writer.close()


async def client_ping(control: Control) -> None:
    message = bytes(control["size"])
    pairs = [
        await asyncio.open_connection(HOST, control["port"]) for _ in range(control["connections"])
    ]

    async def play(pair: Pair, count: int) -> None:
        reader, writer = pair
        for _ in range(count):
            writer.write(message)
            await writer.drain()
            await _receive(reader, len(message))

    async def all_play(count: int) -> None:
        async with asyncio.TaskGroup() as players:
            for pair in pairs:
                players.create_task(play(pair, count))

    await all_play(control["warm"])
    control.begin()
    await all_play(control["messages"] // len(pairs))
    control.end()
    for _, writer in pairs:
        writer.close()
    await asyncio.sleep(0)


async def client_connect(control: Control) -> None:
    async def visits(count: int) -> None:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(HOST, control["port"])
            writer.write(b"?")
            await reader.read(1)
            writer.close()
            await writer.wait_closed()

    await visits(control["warm"])
    control.begin()
    await visits(control["count"])
    control.end()
