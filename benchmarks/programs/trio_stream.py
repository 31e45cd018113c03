"""Trio's own streams: ``trio.serve_tcp``, ``trio.open_tcp_stream``, ``trio.SocketStream``."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

import trio

from benchmarks.control import Control

HOST = "127.0.0.1"
CHUNK = bytes(65536)

Handler = Callable[[trio.abc.Stream], Awaitable[None]]


async def _serve(control: Control, handler: Handler) -> None:
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(
            functools.partial(trio.serve_tcp, handler, 0, host=HOST)
        )
        control.ready(listeners[0].socket.getsockname()[1])


async def send_back(stream: trio.abc.Stream) -> None:
    """Send back what comes."""
    async for chunk in stream:
        await stream.send_all(chunk)


async def echo(control: Control) -> None:
    await _serve(control, send_back)


def answer_units(unit: int) -> Handler:
    """A function that answers after each unit of bytes."""

    async def handler(stream: trio.abc.Stream) -> None:
        got = 0
        async for chunk in stream:
            got += len(chunk)
            while got >= unit:
                got -= unit
                await stream.send_all(b".")

    return handler


async def sink(control: Control) -> None:
    await _serve(control, answer_units(control["unit"]))


async def _send(stream: trio.abc.Stream, count: int) -> None:
    for _ in range(count // len(CHUNK)):
        await stream.send_all(CHUNK)


async def _receive(stream: trio.SocketStream, count: int) -> None:
    while count:
        count -= len(await stream.receive_some())


def send_units(unit: int) -> Handler:
    """A function that sends so many units as it is asked for."""

    async def handler(stream: trio.abc.Stream) -> None:
        async for request in stream:
            await _send(stream, request[0] * unit)

    return handler


async def source(control: Control) -> None:
    await _serve(control, send_units(control["unit"]))


async def client_send(control: Control) -> None:
    unit, units = control["unit"], control["units"]
    async with await trio.open_tcp_stream(HOST, control["port"]) as stream:
        await _send(stream, unit)
        await _receive(stream, 1)
        control.begin()
        await _send(stream, unit * units)
        await _receive(stream, units)
        control.end()


async def client_receive(control: Control) -> None:
    unit, units = control["unit"], control["units"]
    async with await trio.open_tcp_stream(HOST, control["port"]) as stream:
        await stream.send_all(b"\1")
        await _receive(stream, unit)
        control.begin()
        await stream.send_all(bytes([units]))
        await _receive(stream, unit * units)
        control.end()


async def client_ping(control: Control) -> None:
    message = bytes(control["size"])
    streams = [
        await trio.open_tcp_stream(HOST, control["port"]) for _ in range(control["connections"])
    ]

    async def play(stream: trio.SocketStream, count: int) -> None:
        for _ in range(count):
            await stream.send_all(message)
            await _receive(stream, len(message))

    async def all_play(count: int) -> None:
        async with trio.open_nursery() as players:
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
            async with await trio.open_tcp_stream(HOST, control["port"]) as stream:
                await stream.send_all(b"?")
                await stream.receive_some()

    await visits(control["warm"])
    control.begin()
    await visits(control["count"])
    control.end()
