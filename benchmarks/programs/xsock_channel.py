"""trio_xsock with event channels: ``async for event in sock.events`` in a task."""

from __future__ import annotations

from benchmarks.control import Control
from trio_xsock import Connected, DataAvailable, SendComplete, SendProgress, TCPSocket

from .xsock_caller import CHUNK, play_all, request_units
from .xsock_serving import HOST, serve_calls


async def echo(control: Control) -> None:
    async def handler(sock: TCPSocket) -> None:
        async for event in sock.events:
            match event:
                case DataAvailable():
                    sock.write(sock.read_all())

    await serve_calls(control, handler, TCPSocket)


async def sink(control: Control) -> None:
    unit = control["unit"]

    async def handler(sock: TCPSocket) -> None:
        got = 0
        async for event in sock.events:
            match event:
                case DataAvailable():
                    got += len(sock.read_all())
                    while got >= unit:
                        got -= unit
                        sock.write(b".")

    await serve_calls(control, handler, TCPSocket)


async def source(control: Control) -> None:
    async def handler(sock: TCPSocket) -> None:
        left = progress = 0
        async for event in sock.events:
            match event:
                case DataAvailable():
                    left = sock.read_all()[0] * control["unit"] - len(CHUNK)
                    sock.write(CHUNK)
                case SendProgress(bytes_sent=count):
                    progress += count
                case SendComplete() if left > 0:
                    left -= len(CHUNK)
                    sock.write(CHUNK)

    await serve_calls(control, handler, TCPSocket)


async def client_send(control: Control) -> None:
    async def send(sock: TCPSocket, units: int) -> None:
        events = sock.events  # before the write, for it tells only of what comes after
        left = units * control["unit"] - len(CHUNK)
        sock.write(CHUNK)
        progress = answers = 0
        async for event in events:
            match event:
                case DataAvailable():
                    answers += len(sock.read_all())
                    if answers == units:
                        break
                case SendProgress(bytes_sent=count):
                    progress += count
                case SendComplete() if left > 0:
                    left -= len(CHUNK)
                    sock.write(CHUNK)

    async with TCPSocket(HOST, control["port"]) as sock:
        await sock.connect()
        await send(sock, 1)
        control.begin()
        await send(sock, control["units"])
        control.end()


async def _receive(sock: TCPSocket, count: int) -> None:
    async for event in sock.events:
        match event:
            case DataAvailable():
                count -= len(sock.read_all())
                if not count:
                    break


async def client_receive(control: Control) -> None:
    await request_units(control, _receive)


async def client_ping(control: Control) -> None:
    message = bytes(control["size"])

    async def play(sock: TCPSocket, count: int) -> None:
        missing = len(message)
        sock.write(message)
        async for event in sock.events:
            match event:
                case DataAvailable():
                    missing -= len(sock.read_all())
                    if missing:
                        continue
                    count -= 1
                    if not count:
                        break
                    missing = len(message)
                    sock.write(message)

    await play_all(control, play)


async def client_connect(control: Control) -> None:
    async def visit(sock: TCPSocket) -> None:
        async for event in sock.events:
            match event:
                case Connected():
                    sock.write(b"?")
                case DataAvailable():
                    sock.read_all()
                    break

    async def visits(count: int) -> None:
        for _ in range(count):
            async with TCPSocket(HOST, control["port"]) as sock:
                await sock.connect()
                await visit(sock)

    await visits(control["warm"])
    control.begin()
    await visits(control["count"])
    control.end()
