"""trio_xsock with handler objects: plain methods that are called as things happen."""

from __future__ import annotations

import trio

from benchmarks.control import Control
from trio_xsock import TCPSocket

from .xsock_serving import HOST, serve_handlers

CHUNK = bytes(65536)


class Echo:
    """Sends back what comes."""

    def on_data_available(self, socket: TCPSocket) -> None:
        socket.write(socket.read_all())


async def echo(control: Control) -> None:
    await serve_handlers(control, Echo, TCPSocket)


class Sink:
    """Answers after each unit of bytes."""

    def __init__(self, unit: int) -> None:
        self.unit = unit
        self.got = 0

    def on_data_available(self, socket: TCPSocket) -> None:
        self.got += len(socket.read_all())
        while self.got >= self.unit:
            self.got -= self.unit
            socket.write(b".")


async def sink(control: Control) -> None:
    await serve_handlers(control, lambda: Sink(control["unit"]), TCPSocket)


class Sender:
    """Sends chunk after chunk, and follows the progress."""

    left = 0
    progress = 0

    def send(self, socket: TCPSocket, count: int) -> None:
        self.left = count - len(CHUNK)
        socket.write(CHUNK)

    def on_send_progress(self, socket: TCPSocket, bytes_sent: int, bytes_left: int) -> None:
        self.progress += bytes_sent

    def on_send_complete(self, socket: TCPSocket, user_aborted: bool) -> None:
        if self.left > 0:
            self.left -= len(CHUNK)
            socket.write(CHUNK)


class Source(Sender):
    """Sends so many units as it is asked for."""

    def __init__(self, unit: int) -> None:
        self.unit = unit

    def on_data_available(self, socket: TCPSocket) -> None:
        self.send(socket, socket.read_all()[0] * self.unit)


async def source(control: Control) -> None:
    await serve_handlers(control, lambda: Source(control["unit"]), TCPSocket)


class Uploader(Sender):
    """Sends units, and counts the answers."""

    def __init__(self) -> None:
        self.answers_left = 0
        self.done = trio.Event()

    def begin(self, socket: TCPSocket, unit: int, units: int) -> None:
        self.answers_left = units
        self.done = trio.Event()
        self.send(socket, unit * units)

    def on_data_available(self, socket: TCPSocket) -> None:
        self.answers_left -= len(socket.read_all())
        if not self.answers_left:
            self.done.set()


async def client_send(control: Control) -> None:
    await transfer(control, Uploader())


class Downloader:
    """Asks for units, and counts what comes."""

    def __init__(self) -> None:
        self.left = 0
        self.done = trio.Event()

    def begin(self, socket: TCPSocket, unit: int, units: int) -> None:
        self.left = unit * units
        self.done = trio.Event()
        socket.write(bytes([units]))

    def on_data_available(self, socket: TCPSocket) -> None:
        self.left -= len(socket.read_all())
        if not self.left:
            self.done.set()


async def client_receive(control: Control) -> None:
    await transfer(control, Downloader())


async def transfer(control: Control, handler: Uploader | Downloader) -> None:
    """Have a unit moved before the work, and as many as are asked for."""
    async with TCPSocket(HOST, control["port"], handler=handler) as sock:
        await sock.connect()
        handler.begin(sock, control["unit"], 1)
        await handler.done.wait()
        control.begin()
        handler.begin(sock, control["unit"], control["units"])
        await handler.done.wait()
        control.end()


class Player:
    """Sends a message whenever the last one came back."""

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.left = 0
        self.missing = 0
        self.done = trio.Event()

    def play(self, socket: TCPSocket, count: int) -> None:
        self.left = count
        self.missing = len(self.message)
        self.done = trio.Event()
        socket.write(self.message)

    def on_data_available(self, socket: TCPSocket) -> None:
        self.missing -= len(socket.read_all())
        if not self.missing:
            self.missing = len(self.message)
            self.left -= 1
            if self.left:
                socket.write(self.message)
            else:
                self.done.set()


async def client_ping(control: Control) -> None:
    message = bytes(control["size"])
    players = [Player(message) for _ in range(control["connections"])]
    sockets = [TCPSocket(HOST, control["port"], handler=player) for player in players]
    async with trio.open_nursery() as nursery:
        for sock in sockets:
            await nursery.start(sock.run)
            await sock.connect()

        async def play(count: int) -> None:
            for player, sock in zip(players, sockets, strict=True):
                player.play(sock, count)
            for player in players:
                await player.done.wait()

        await play(control["warm"])
        control.begin()
        await play(control["messages"] // len(sockets))
        control.end()
        nursery.cancel_scope.cancel()


class Visitor:
    """Sends a byte when connected, and waits for its return."""

    def __init__(self) -> None:
        self.done = trio.Event()

    def on_connected(self, socket: TCPSocket) -> None:
        socket.write(b"?")

    def on_data_available(self, socket: TCPSocket) -> None:
        socket.read_all()
        self.done.set()


async def client_connect(control: Control) -> None:
    async def visit(count: int) -> None:
        for _ in range(count):
            visitor = Visitor()
            async with TCPSocket(HOST, control["port"], handler=visitor) as sock:
                await sock.connect()
                await visitor.done.wait()

    await visit(control["warm"])
    control.begin()
    await visit(control["count"])
    control.end()
