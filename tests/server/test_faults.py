"""A server outlives a fault in any call that the library makes for one connection."""

from __future__ import annotations

import errno
import fcntl
import logging
import select
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest
import trio

from tests.conftest import count_descriptors
from tests.support import RawPeer, until
from tests.support.serving import connect, echo, is_idle, open_connections
from tests.support.tls import TLSPeer, credentials
from trio_xsock import (
    DataAvailable,
    EasyTCPSocket,
    ServerSocket,
    SocketError,
    SSLSocket,
    TCPSocket,
    encode_message,
)
from trio_xsock._machines.tls import TLSEngine

FAULTS: list[Callable[[], Exception]] = [
    lambda: OSError(errno.EIO, "a fault"),
    lambda: ConnectionResetError(errno.ECONNRESET, "a fault"),
    lambda: ValueError("a fault"),
    lambda: MemoryError("a fault"),
    lambda: RuntimeError("a fault"),
]
PING = {True: encode_message(1, b"ping"), False: b"ping"}


class Injector:
    """Counts the calls of the library to the OS and to TLS, and makes one of them raise."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.at = -1
        self.fault = FAULTS[0]

    def arm(self, at: int = -1, fault: Callable[[], Exception] = FAULTS[0]) -> None:
        self.calls, self.at, self.fault = [], at, fault

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not sys._getframe(1).f_globals["__name__"].startswith("trio_xsock."):
                return function(*args, **kwargs)
            self.calls.append(name)
            if len(self.calls) - 1 != self.at:
                return function(*args, **kwargs)
            if name == "close":  # as the OS does: the descriptor is gone all the same
                function(*args, **kwargs)
            raise self.fault()

        return call


class FaultyEpoll:
    """An epoll set whose calls for single descriptors may fail."""

    def __init__(self, injector: Injector) -> None:
        self._epoll = select.epoll()
        self.fileno, self.poll, self.close = (
            self._epoll.fileno,
            self._epoll.poll,
            self._epoll.close,
        )
        for name in ("register", "modify", "unregister"):
            setattr(self, name, injector.wrap(name, getattr(self._epoll, name)))

    @property
    def closed(self) -> bool:
        return self._epoll.closed


@pytest.fixture
def injector(monkeypatch: pytest.MonkeyPatch) -> Injector:
    """In place for the test."""
    injector = Injector()
    for name in ("recv", "send", "accept", "shutdown", "close", "setsockopt", "getsockopt"):
        wrapped = injector.wrap(name, getattr(socket.socket, name))
        monkeypatch.setattr(socket.socket, name, wrapped)
    for name in ("feed", "handshake", "decrypt", "encrypt", "output", "end"):
        monkeypatch.setattr(TLSEngine, name, injector.wrap(name, getattr(TLSEngine, name)))
    monkeypatch.setattr(fcntl, "ioctl", injector.wrap("ioctl", fcntl.ioctl))
    make = "trio_xsock._runtime.epoll.make_epoll"
    monkeypatch.setattr(make, lambda: FaultyEpoll(injector))
    return injector


class Handler:
    """Echoes, as a handler object."""

    def on_data_available(self, sock: Any) -> None:
        sock.write(sock.read_all())

    def on_received_message(self, sock: Any, command: int, data: bytes) -> None:
        sock.send_message(command, data)


async def by_events(sock: Any) -> None:
    """Echoes what the events announce."""
    async for event in sock.events:
        if isinstance(event, DataAvailable):
            sock.write(sock.read_all())


async def by_messages(sock: Any) -> None:
    """Echoes messages."""
    async for message in sock:
        await sock.send(message)


def make_socket(kind: str, handler: object) -> Any:
    if kind == "tls":
        context = credentials().server_context()
        return lambda: SSLSocket(ssl_context=context, handler=handler)
    cls: Any = EasyTCPSocket if kind == "easy" else TCPSocket
    return lambda: cls(handler=handler)


async def talk(server: ServerSocket[Any], kind: str) -> bytes:
    """One peer's whole life; what it got."""
    raw: RawPeer = await connect(server)
    with raw:
        peer: Any = raw
        if kind == "tls":
            peer = TLSPeer(raw, credentials().client_context())
            await peer.handshake()
        data, got = PING[kind == "easy"], b""
        await peer.send(data)
        while len(got) < len(data) and (more := await peer.recv_some()):
            got += more
        raw.fin()
        while await raw.recv_some():
            pass
        return got


async def one_life(server: ServerSocket[Any], kind: str, patience: float) -> bytes:
    with trio.move_on_after(patience):
        try:
            return await talk(server, kind)
        except (OSError, EOFError):
            pass
    return b""


@pytest.mark.parametrize("style", ["handler", "serve", "events"])
@pytest.mark.parametrize("kind", ["tcp", "tls", "easy"])
@pytest.mark.parametrize("fault", FAULTS, ids=["EIO", "ECONNRESET", "Value", "Memory", "Runtime"])
async def test_a_server_outlives_a_fault_in_any_call(
    injector: Injector,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    style: str,
    fault: Callable[[], Exception],
) -> None:
    """Whatever raises while a connection is accepted, served and closed, the next is served."""
    serve: Any = by_events if style == "events" else echo
    if kind == "easy":
        serve = by_messages
    add_socket = make_socket(kind, Handler() if style == "handler" else None)
    ping = PING[kind == "easy"]
    async with (
        ServerSocket(address="127.0.0.1", add_socket=add_socket) as server,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(server.serve, serve)
        assert await talk(server, kind) == ping
        await until(lambda: not open_connections(server))
        before = count_descriptors()
        injector.arm()
        assert await talk(server, kind) == ping
        await until(lambda: not open_connections(server))
        calls = list(injector.calls)
        assert {"accept", "recv", "send", "close"} <= set(calls)
        for at in range(len(calls)):
            injector.arm(at, fault)
            await one_life(server, kind, 0.2)
            injector.arm()
            assert await one_life(server, kind, 4.0) == ping, (at, calls[at])
            await until(lambda: is_idle(server))
            assert count_descriptors() <= before, (at, calls[at])
            assert server.is_listening
        nursery.cancel_scope.cancel()
    errors = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert all(each.exc_info for each in errors)
    if not isinstance(fault(), (OSError, SocketError)):
        assert errors
