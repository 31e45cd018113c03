"""The workloads over TLS: what each contender does, and the workloads themselves.

All have the same certificate, OpenSSL's own choice of version and cipher (TLS 1.3 with AES-256),
and one context for all their connections. The programs of trio_xsock are those of TCP.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import trio

import trio_xsock.testing
from trio_xsock import SSLSocket, TCPSocket

from . import linux
from .control import Control
from .programs import asyncio_protocol, trio_stream, xsock_caller, xsock_handler
from .programs.xsock_serving import serve_calls, serve_handlers
from .workload import Measure, Size, Workload

HOST = "127.0.0.1"
CHUNK = bytes(65536)
CERTIFICATE = Path(trio_xsock.testing.__file__).with_name("localhost.pem")
_RECEIVE = 65536


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


# trio_xsock


_make_socket = partial(SSLSocket, certificate_file=CERTIFICATE, https_compatible=True)


async def xsock_handler_tls_echo(control: Control) -> None:
    await serve_handlers(control, xsock_handler.Echo, _make_socket)


async def xsock_handler_tls_sink(control: Control) -> None:
    await serve_handlers(control, lambda: xsock_handler.Sink(control["unit"]), _make_socket)


async def xsock_handler_tls_source(control: Control) -> None:
    await serve_handlers(control, lambda: xsock_handler.Source(control["unit"]), _make_socket)


async def xsock_caller_tls_echo(control: Control) -> None:
    await serve_calls(control, xsock_caller.send_back, _make_socket)


async def xsock_caller_tls_sink(control: Control) -> None:
    await serve_calls(control, xsock_caller.answer_units(control["unit"]), _make_socket)


async def xsock_caller_tls_source(control: Control) -> None:
    async def handler(sock: TCPSocket) -> None:
        async for request in sock:
            for _ in range(request[0] * control["unit"] // len(CHUNK)):
                await sock.send_all(CHUNK)

    await serve_calls(control, handler, _make_socket)


# trio.SSLStream


async def _stream(control: Control, handler: trio_stream.Handler) -> None:
    context = _context()

    async def whole(plain: trio.SocketStream) -> None:
        stream = trio.SSLStream(plain, context, server_side=True, https_compatible=True)
        try:
            await handler(stream)
        except trio.BrokenResourceError:
            pass
        await trio.aclose_forcefully(stream)

    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    control.ready(listener.socket.getsockname()[1])
    await trio.serve_listeners(whole, [listener])


async def trio_stream_tls_echo(control: Control) -> None:
    await _stream(control, trio_stream.send_back)


async def trio_stream_tls_sink(control: Control) -> None:
    await _stream(control, trio_stream.answer_units(control["unit"]))


async def trio_stream_tls_source(control: Control) -> None:
    await _stream(control, trio_stream.send_units(control["unit"]))


# asyncio, uvloop


async def _protocol(control: Control, make_protocol: Callable[[], asyncio.Protocol]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(make_protocol, HOST, 0, ssl=_context())
    control.ready(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def asyncio_protocol_tls_echo(control: Control) -> None:
    await _protocol(control, asyncio_protocol.Echo)


async def asyncio_protocol_tls_sink(control: Control) -> None:
    await _protocol(control, lambda: asyncio_protocol.Sink(control["unit"]))


async def asyncio_protocol_tls_source(control: Control) -> None:
    await _protocol(control, lambda: asyncio_protocol.Source(control["unit"]))


# Bare sockets: one that blocks, or many and epoll


def raw_tls_echo(control: Control) -> None:
    context = _context()
    with socket.create_server((HOST, 0), backlog=1024) as server:
        control.ready(server.getsockname()[1])
        epoll = linux.epoll()
        epoll.register(server, linux.EPOLLIN)
        connections: dict[int, ssl.SSLSocket] = {}
        while True:
            for descriptor, _ in epoll.poll():
                if descriptor == server.fileno():
                    sock = _accept(server, context)
                    connections[sock.fileno()] = sock
                    epoll.register(sock, linux.EPOLLIN)
                elif not _echo(connections[descriptor]):
                    epoll.unregister(descriptor)
                    connections.pop(descriptor).close()


def _accept(server: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    sock, _ = server.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(sock, server_side=True)


def _echo(sock: ssl.SSLSocket) -> bool:
    """Send back a record; whether there may be more."""
    try:
        data = sock.recv(_RECEIVE)
        sock.sendall(data)
    except OSError:
        return False
    return bool(data)


def raw_tls_sink(control: Control) -> None:
    unit, got = control["unit"], 0
    with _one(control) as sock:
        while data := sock.recv(_RECEIVE):
            got += len(data)
            while got >= unit:
                got -= unit
                sock.sendall(b".")


def raw_tls_source(control: Control) -> None:
    with _one(control) as sock:
        while request := sock.recv(1):
            for _ in range(request[0] * control["unit"] // len(CHUNK)):
                sock.sendall(CHUNK)


def _one(control: Control) -> ssl.SSLSocket:
    with socket.create_server((HOST, 0)) as server:
        control.ready(server.getsockname()[1])
        return _accept(server, _context())


_MIB = 2**20
_BULK = {"unit": 8 * _MIB, "units": 12}
_BULKS = {
    Size.FULL: _BULK,
    Size.QUICK: {**_BULK, "units": 6},
    Size.TINY: {"unit": _MIB, "units": 2},
}
_PING = {"connections": 1, "size": 64, "messages": 4000}
_PINGS = {**_PING, "connections": 100, "messages": 7000}
_HANDSHAKES = {"count": 200}

WORKLOADS: Sequence[Workload] = (
    Workload(
        "tls-receive",
        "TLS: bulk receive",
        "tls_sink",
        "loads.tls:to_server",
        _BULKS,
        measure=Measure.CPU_PER_GB,
        most_rounds=4,
        module="benchmarks.tls",
    ),
    Workload(
        "tls-send",
        "TLS: bulk send, 64 KiB writes, progress events",
        "tls_source",
        "loads.tls:from_server",
        _BULKS,
        measure=Measure.CPU_PER_GB,
        most_rounds=4,
        module="benchmarks.tls",
    ),
    Workload(
        "tls-ping-1",
        "TLS: ping-pong 64 B, 1 connection",
        "tls_echo",
        "loads.tls:ping",
        {
            Size.FULL: _PING,
            Size.QUICK: {**_PING, "messages": 2000},
            Size.TINY: {**_PING, "messages": 100},
        },
        most_rounds=4,
        module="benchmarks.tls",
    ),
    Workload(
        "tls-ping-100",
        "TLS: ping-pong 64 B, 100 connections",
        "tls_echo",
        "loads.tls:ping",
        {
            Size.FULL: _PINGS,
            Size.QUICK: {**_PINGS, "messages": 4000},
            Size.TINY: {**_PINGS, "connections": 5, "messages": 100},
        },
        most_rounds=4,
        module="benchmarks.tls",
    ),
    Workload(
        "tls-connect",
        "TLS: handshake + 1 byte + close",
        "tls_echo",
        "loads.tls:handshakes",
        {
            Size.FULL: _HANDSHAKES,
            Size.QUICK: {"count": 100},
            Size.TINY: {"count": 10},
        },
        most_rounds=4,
        module="benchmarks.tls",
    ),
)
