"""Servers in all styles, and the proof that one outlives a fault in any call of a connection."""

from __future__ import annotations

import errno
import functools
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.conftest import count_descriptors
from trio_xsock import (
    DataAvailable,
    EasyTCPSocket,
    EventChannel,
    ReceivedMessage,
    ServerSocket,
    SocketError,
    SSLSocket,
    TCPSocket,
    TLSError,
    encode_message,
)

from .injection import Injector, first_and_last, is_in
from .peers import LOOPBACK, RawPeer
from .serving import echo, is_idle
from .tls import TLSPeer, credentials
from .waiting import until

Fault = Callable[[], Exception]
Life = Callable[[int], Awaitable[bytes]]
"""What one peer does, given the port, and what it gets."""

FAULTS: dict[str, Fault] = {
    "EIO": lambda: OSError(errno.EIO, "a fault"),
    "ECONNRESET": lambda: ConnectionResetError(errno.ECONNRESET, "a fault"),
    "Value": lambda: ValueError("a fault"),
    "Memory": lambda: MemoryError("a fault"),
    "Runtime": lambda: RuntimeError("a fault"),
}
STYLES = ("serve", "events", "handler", "listen", "channel", "accept")
"""See ``StyledServer``."""

_PATIENCE = 0.1
"""Seconds for a life in which something raises; it may come to nothing."""
_PATIENCE_WITH_THE_NEXT = 4.0
"""Seconds for the next one."""


# Servers


class Handler:
    """Echoes, as a handler object."""

    def on_data_available(self, sock: Any) -> None:
        sock.write(sock.read_all())

    def on_received_message(self, sock: Any, command: int, data: bytes) -> None:
        sock.send_message(command, data)


async def echo_by_events(sock: Any) -> None:
    """Echoes what the socket's events announce."""
    async for event in sock.events:
        _echo_event(event)


async def echo_messages(sock: Any) -> None:
    """Echoes messages."""
    async for message in sock:
        await sock.send(message)


def _echo_event(event: object) -> None:
    if isinstance(event, DataAvailable) and isinstance(event.socket, TCPSocket):
        event.socket.write(event.socket.read_all())
    elif isinstance(event, ReceivedMessage):
        event.socket.send_message(event.command, event.data)


def _class_of(kind: str, options: dict[str, Any]) -> type[Any]:
    if kind == "tls":
        if not options.keys() & {"ssl_context", "certificate_file"}:
            options["ssl_context"] = credentials().server_context()
        return SSLSocket
    return EasyTCPSocket if kind == "easy" else TCPSocket


class StyledServer:
    """A server in one of the styles; it echoes.

    Styles: ``serve`` with a loop that receives; ``events`` of each socket in ``serve``;
    ``handler`` objects while something else is served; handler objects and only ``listen``; one
    ``channel`` for all sockets; sockets that a loop of ``accept`` hands out.

    Args:
        kind: of the sockets: tcp, tls or easy.
        style: as above.
        serve: in place of the loop that receives.
        options: of the sockets.
        server_options: of the server.

    Attributes:
        errors: what the tasks of the program met, where those are not the server's.
    """

    def __init__(
        self,
        kind: str,
        style: str = "serve",
        *,
        serve: Callable[[Any], Awaitable[object]] | None = None,
        options: dict[str, Any] | None = None,
        **server_options: Any,
    ) -> None:
        self.errors: list[Exception] = []
        self._style = style
        self._channel: EventChannel[Any] = EventChannel()
        self._options = dict(options or {})
        self._class = _class_of(kind, self._options)
        self._server_options = server_options
        if style in ("handler", "listen"):
            self._options["handler"] = Handler()
        elif style == "channel":
            self._options |= {"events": self._channel, "allow_half_close": False}
        by_receiving = echo_messages if kind == "easy" else echo
        self._serve = serve or (echo_by_events if style == "events" else by_receiving)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[ServerSocket[Any]]:
        async with (
            ServerSocket(
                address=LOOPBACK,
                add_socket=lambda: self._class(**self._options),
                **self._server_options,
            ) as server,
            trio.open_nursery() as nursery,
        ):
            if self._style in ("serve", "events", "handler"):
                await nursery.start(server.serve, self._serve)
            else:
                await server.listen()
            if self._style == "channel":
                nursery.start_soon(self._consume)
            elif self._style == "accept":
                nursery.start_soon(self._accept, server, nursery)
            yield server
            nursery.cancel_scope.cancel()

    async def _consume(self) -> None:
        async for event in self._channel:
            try:
                _echo_event(event)
            except Exception as exc:
                self.errors.append(exc)
                event.socket.close()

    async def _accept(self, server: ServerSocket[Any], nursery: trio.Nursery) -> None:
        while True:
            nursery.start_soon(self._handle, await server.accept())

    async def _handle(self, sock: Any) -> None:
        try:
            async with sock:
                await self._serve(sock)
        except Exception as exc:
            self.errors.append(exc)


# Peers


@functools.cache
def client_context(certificate: bool = False) -> ssl.SSLContext:
    """Of the peers; to make one costs as much as ten of their lives."""
    issued = credentials()
    return issued.client_context(issued.client if certificate else None)


@asynccontextmanager
async def peer_of(port: int, *, small: bool = False) -> AsyncIterator[RawPeer]:
    """A connected peer."""
    with await RawPeer.connect(port, small=small) as raw:
        raw.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else TLS takes 40 ms
        yield raw


async def secured(raw: RawPeer, kind: str, *, certificate: bool = False) -> Any:
    """What to talk through; with TLS after its handshake."""
    if kind != "tls":
        return raw
    peer = TLSPeer(raw, client_context(certificate))
    await peer.handshake()
    return peer


async def ping(port: int, kind: str) -> bytes:
    """One peer's whole life."""
    async with peer_of(port) as raw:
        peer = await secured(raw, kind)
        got = await exchange(peer, request(kind, b"ping"))
        raw.fin()
        while await raw.recv_some():
            pass
        return got


def request(kind: str, data: bytes) -> bytes:
    """What is echoed as it is."""
    return encode_message(1, data) if kind == "easy" else data


async def exchange(peer: Any, data: bytes) -> bytes:
    """Send, and receive as much."""
    await peer.send(data)
    got = b""
    while len(got) < len(data) and (more := await peer.recv_some()):
        got += more
    return got


# The proof


async def outlive(
    injector: Injector,
    caplog: pytest.LogCaptureFixture,
    styled: StyledServer,
    life: Life,
    fault: Fault,
    *,
    prepare: Callable[[ServerSocket[Any]], object] | None = None,
    among: set[str] | None = None,
) -> set[str]:
    """Have each call of one life raise, in one life after the other.

    Of calls that are made at one place several times the first and the last have to do.

    Args:
        injector: put around what shall raise.
        caplog: where the server's log goes.
        styled: the server.
        life: gives the same each time; on a slow machine it may have to be tried again.
        fault: makes what is raised.
        prepare: what is done to the server before.
        among: have only such calls raise.

    Returns:
        The names of what was called.

    After each the server listens as before, serves the next peer as the first, and has nothing
    left of either. A fault that no system causes was told of, with its traceback.
    """
    caplog.set_level(logging.DEBUG, "trio_xsock")
    wrong: list[tuple[str, object]] = []
    async with styled.run() as server:
        if prepare is not None:
            prepare(server)
        port = server.port
        expected = await life(port)
        assert expected
        await until(lambda: _is_over(server))
        before = count_descriptors()
        injector.watch()
        assert await life(port) == expected
        await until(lambda: _is_over(server))
        calls = injector.calls
        for call in first_and_last(calls):
            if among is not None and call.name not in among:
                continue
            caplog.clear()
            styled.errors.clear()
            injector.arm(call, fault)
            await _one_life(life, port, _PATIENCE)
            raised = injector.raised
            injector.watch()
            if await _one_life(life, port, _PATIENCE_WITH_THE_NEXT) != expected:
                wrong.append(("the next is not served", call))
            with trio.move_on_after(_PATIENCE_WITH_THE_NEXT):
                await until(lambda: _is_over(server))
            if not _is_over(server) or count_descriptors() > before:
                wrong.append(("something is left", call))
            if not server.is_listening:
                wrong.append(("it listens no more", call))
            if not _is_told(raised, caplog, styled.errors):
                wrong.append(("nobody is told", call))
            records = [each for each in caplog.records if each.levelno >= logging.ERROR]
            wrong += [("no traceback", each) for each in records if not each.exc_info]
    assert not wrong
    return {call.name for call in calls}


async def _one_life(life: Life, port: int, patience: float) -> bytes:
    with trio.move_on_after(patience):
        try:
            return await life(port)
        except (OSError, EOFError):
            pass
    return b""


def _is_over(server: ServerSocket[Any]) -> bool:
    """Whether nothing is left of any connection."""
    statistics = server.statistics()
    return is_idle(server) and not (statistics.live or statistics.handshaking)


def _is_told(
    fault: Exception | None, caplog: pytest.LogCaptureFixture, others: list[Exception]
) -> bool:
    """Whether somebody has learnt of a fault: the log, or a task of the program's own.

    Nobody need learn of what systems cause. And what says that TLS cannot begin as it was asked
    for is a reason to refuse the peer.
    """
    if fault is None or isinstance(fault, (OSError, SocketError)):
        return True
    records = [each for each in caplog.records if each.levelno >= logging.ERROR]
    logged = [each.exc_info[1] for each in records if each.exc_info]
    refused = [getattr(each, "refused", None) for each in caplog.records]
    errors = [*logged, *others, *(each for each in refused if isinstance(each, TLSError))]
    return any(is_in(fault, error) for error in errors)
