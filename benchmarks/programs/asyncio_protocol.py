"""asyncio's protocols and transports; with uvloop too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from benchmarks.control import Control

HOST = "127.0.0.1"
CHUNK = bytes(65536)


class Base(asyncio.Protocol):
    """Keeps its transport."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)


async def _serve(control: Control, make_protocol: Callable[[], asyncio.Protocol]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(make_protocol, HOST, 0)
    control.ready(server.sockets[0].getsockname()[1])
    await server.serve_forever()


class Echo(Base):
    """Sends back what comes."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def echo(control: Control) -> None:
    await _serve(control, Echo)


class Sink(Base):
    """Answers after each unit of bytes."""

    def __init__(self, unit: int) -> None:
        self.unit = unit
        self.got = 0

    def data_received(self, data: bytes) -> None:
        self.got += len(data)
        while self.got >= self.unit:
            self.got -= self.unit
            self.transport.write(b".")


async def sink(control: Control) -> None:
    await _serve(control, lambda: Sink(control["unit"]))


class Sender(Base):
    """Sends chunk after chunk while the transport wants some."""

    left = 0
    paused = False

    def send(self, count: int) -> None:
        self.left = count
        self._go_on()

    def _go_on(self) -> None:
        while self.left and not self.paused:
            self.left -= len(CHUNK)
            self.transport.write(CHUNK)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._go_on()


class Source(Sender):
    """Sends so many units as it is asked for."""

    def __init__(self, unit: int) -> None:
        self.unit = unit

    def data_received(self, data: bytes) -> None:
        self.send(data[0] * self.unit)


async def source(control: Control) -> None:
    await _serve(control, lambda: Source(control["unit"]))


class Uploader(Sender):
    """Sends units, and counts the answers."""

    answers_left = 0
    done: asyncio.Future[None]

    async def upload(self, unit: int, units: int) -> None:
        self.answers_left = units
        self.done = asyncio.get_running_loop().create_future()
        self.send(unit * units)
        await self.done

    def data_received(self, data: bytes) -> None:
        self.answers_left -= len(data)
        if not self.answers_left:
            self.done.set_result(None)


async def client_send(control: Control) -> None:
    loop = asyncio.get_running_loop()
    _, uploader = await loop.create_connection(Uploader, HOST, control["port"])
    await uploader.upload(control["unit"], 1)
    control.begin()
    await uploader.upload(control["unit"], control["units"])
    control.end()
    uploader.transport.close()


class Downloader(Base):
    """Asks for units, and counts what comes."""

    left = 0
    done: asyncio.Future[None]

    async def download(self, unit: int, units: int) -> None:
        self.left = unit * units
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(bytes([units]))
        await self.done

    def data_received(self, data: bytes) -> None:
        self.left -= len(data)
        if not self.left:
            self.done.set_result(None)


async def client_receive(control: Control) -> None:
    loop = asyncio.get_running_loop()
    _, downloader = await loop.create_connection(Downloader, HOST, control["port"])
    await downloader.download(control["unit"], 1)
    control.begin()
    await downloader.download(control["unit"], control["units"])
    control.end()
    downloader.transport.close()


class Player(Base):
    """Sends a message whenever the last one came back."""

    left = 0
    missing = 0
    done: asyncio.Future[None]

    def __init__(self, message: bytes) -> None:
        self.message = message

    def play(self, count: int) -> asyncio.Future[None]:
        self.left = count
        self.missing = len(self.message)
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(self.message)
        return self.done

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if not self.missing:
            self.missing = len(self.message)
            self.left -= 1
            if self.left:
                self.transport.write(self.message)
            else:
                self.done.set_result(None)


async def client_ping(control: Control) -> None:
    loop = asyncio.get_running_loop()
    message = bytes(control["size"])
    players: list[Player] = []
    for _ in range(control["connections"]):
        _, player = await loop.create_connection(lambda: Player(message), HOST, control["port"])
        players.append(player)

    async def all_play(count: int) -> None:
        for done in [player.play(count) for player in players]:
            await done

    await all_play(control["warm"])
    control.begin()
    await all_play(control["messages"] // len(players))
    control.end()
    for player in players:
        player.transport.close()
    await asyncio.sleep(0)


class Visitor(Base):
    """Sends a byte when connected, and waits for its return."""

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(b"?")

    def data_received(self, data: bytes) -> None:
        self.done.set_result(None)


async def client_connect(control: Control) -> None:
    loop = asyncio.get_running_loop()

    async def visits(count: int) -> None:
        for _ in range(count):
            _, visitor = await loop.create_connection(Visitor, HOST, control["port"])
            await visitor.done
            visitor.transport.close()

    await visits(control["warm"])
    control.begin()
    await visits(control["count"])
    control.end()
