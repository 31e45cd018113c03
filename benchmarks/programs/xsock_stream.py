"""trio_xsock by the contract of Trio's streams: ``receive_some`` and ``send_all``."""

from __future__ import annotations

from benchmarks.control import Control
from trio_xsock import TCPSocket

from .xsock_caller import CHUNK, play_all
from .xsock_serving import HOST, serve_calls


async def echo(control: Control) -> None:
    async def handler(sock: TCPSocket) -> None:
        while data := await sock.receive_some():
            await sock.send_all(data)

    await serve_calls(control, handler, TCPSocket)


async def sink(control: Control) -> None:
    unit = control["unit"]

    async def handler(sock: TCPSocket) -> None:
        got = 0
        while data := await sock.receive_some():
            got += len(data)
            while got >= unit:
                got -= unit
                await sock.send_all(b".")

    await serve_calls(control, handler, TCPSocket)


async def _send(sock: TCPSocket, count: int) -> None:
    for _ in range(count // len(CHUNK)):
        await sock.send_all(CHUNK)


async def _receive(sock: TCPSocket, count: int) -> None:
    while count:
        count -= len(await sock.receive_some())


async def source(control: Control) -> None:
    async def handler(sock: TCPSocket) -> None:
        while request := await sock.receive_some():
            await _send(sock, request[0] * control["unit"])

    await serve_calls(control, handler, TCPSocket)


async def client_send(control: Control) -> None:
    unit, units = control["unit"], control["units"]
    async with TCPSocket(HOST, control["port"]) as sock:
        await sock.connect()
        await _send(sock, unit)
        await _receive(sock, 1)
        control.begin()
        await _send(sock, unit * units)
        await _receive(sock, units)
        control.end()


async def client_receive(control: Control) -> None:
    unit, units = control["unit"], control["units"]
    async with TCPSocket(HOST, control["port"]) as sock:
        await sock.connect()
        await sock.send_all(b"\1")
        await _receive(sock, unit)
        control.begin()
        await sock.send_all(bytes([units]))
        await _receive(sock, unit * units)
        control.end()


async def client_ping(control: Control) -> None:
    message = bytes(control["size"])

    async def play(sock: TCPSocket, count: int) -> None:
        for _ in range(count):
            await sock.send_all(message)
            await _receive(sock, len(message))

    await play_all(control, play)


async def client_connect(control: Control) -> None:
    async def visits(count: int) -> None:
        for _ in range(count):
            async with TCPSocket(HOST, control["port"]) as sock:
                await sock.connect()
                await sock.send_all(b"?")
                await sock.receive_some()

    await visits(control["warm"])
    control.begin()
    await visits(control["count"])
    control.end()
