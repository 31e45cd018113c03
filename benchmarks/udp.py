"""The workloads over UDP: what each contender does, and the workloads themselves.

The answer to a question, which is a datagram of one byte, is how many others came since the last
one.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Sequence
from typing import Any, cast

import trio

from trio_xsock import DataAvailable, Datagram, UDPSocket

from .control import Control
from .workload import Measure, Size, Workload

HOST = "127.0.0.1"
_LARGEST = 65536


# trio_xsock, handler


class _Echo:
    def on_data_available(self, sock: UDPSocket) -> None:
        while (datagram := sock.read()) is not None:
            sock.write(datagram)


class _Sink:
    count = 0

    def on_data_available(self, sock: UDPSocket) -> None:
        while (datagram := sock.read()) is not None:
            if len(datagram.data) == 1:
                sock.write(_answer(self.count, datagram))
                self.count = 0
            else:
                self.count += 1


def _answer(count: int, asked: Datagram) -> Datagram:
    return Datagram(asked.address, asked.port, b"%d" % count)


async def _handle(control: Control, handler: object) -> None:
    async with UDPSocket(address=HOST, handler=handler) as sock:
        await sock.bind()
        control.ready(sock.port)
        await trio.sleep_forever()


async def xsock_handler_udp_echo(control: Control) -> None:
    await _handle(control, _Echo())


async def xsock_handler_udp_sink(control: Control) -> None:
    await _handle(control, _Sink())


# trio_xsock, channel


async def xsock_channel_udp_echo(control: Control) -> None:
    await _consume(control, _Echo())


async def xsock_channel_udp_sink(control: Control) -> None:
    await _consume(control, _Sink())


async def _consume(control: Control, consumer: _Echo | _Sink) -> None:
    async with UDPSocket(address=HOST) as sock:
        await sock.bind()
        control.ready(sock.port)
        async for event in sock.events:
            if isinstance(event, DataAvailable):
                consumer.on_data_available(sock)


# trio_xsock, calls


async def xsock_caller_udp_echo(control: Control) -> None:
    async with UDPSocket(address=HOST) as sock:
        await sock.bind()
        control.ready(sock.port)
        async for datagram in sock:
            sock.write(datagram)


async def xsock_caller_udp_sink(control: Control) -> None:
    async with UDPSocket(address=HOST) as sock:
        await sock.bind()
        control.ready(sock.port)
        count = 0
        async for datagram in sock:
            if len(datagram.data) == 1:
                sock.write(_answer(count, datagram))
                count = 0
            else:
                count += 1


# trio.socket


async def trio_stream_udp_echo(control: Control) -> None:
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    await sock.bind((HOST, 0))
    control.ready(sock.getsockname()[1])
    while True:
        data, address = await sock.recvfrom(_LARGEST)
        await sock.sendto(data, address)


async def trio_stream_udp_sink(control: Control) -> None:
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    await sock.bind((HOST, 0))
    control.ready(sock.getsockname()[1])
    count = 0
    while True:
        data, address = await sock.recvfrom(_LARGEST)
        if len(data) == 1:
            await sock.sendto(b"%d" % count, address)
            count = 0
        else:
            count += 1


# asyncio, uvloop


class _EchoProtocol(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self.transport.sendto(data, addr)


class _SinkProtocol(_EchoProtocol):
    count = 0

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if len(data) == 1:
            self.transport.sendto(b"%d" % self.count, addr)
            self.count = 0
        else:
            self.count += 1


async def asyncio_protocol_udp_echo(control: Control) -> None:
    await _serve(control, _EchoProtocol)


async def asyncio_protocol_udp_sink(control: Control) -> None:
    await _serve(control, _SinkProtocol)


async def _serve(control: Control, protocol: type[_EchoProtocol]) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(protocol, local_addr=(HOST, 0))
    control.ready(transport.get_extra_info("sockname")[1])
    await asyncio.Event().wait()


# Bare sockets


def raw_udp_echo(control: Control) -> None:
    with _bare(control) as sock:
        while True:
            select.select([sock], [], [])
            try:
                while True:
                    sock.sendto(*sock.recvfrom(_LARGEST))
            except BlockingIOError:
                pass


def raw_udp_sink(control: Control) -> None:
    count = 0
    with _bare(control) as sock:
        while True:
            select.select([sock], [], [])
            try:
                while True:
                    data, address = sock.recvfrom(_LARGEST)
                    if len(data) == 1:
                        sock.sendto(b"%d" % count, address)
                        count = 0
                    else:
                        count += 1
            except BlockingIOError:
                pass


def _bare(control: Control) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    sock.setblocking(False)
    control.ready(sock.getsockname()[1])
    return sock


_ECHO = {"senders": 4, "window": 16, "size": 64, "messages": 20_000}
_FLOOD = {"size": 64, "count": 60_000}

_FLOODS = {
    Size.FULL: _FLOOD,
    Size.QUICK: {**_FLOOD, "count": 40_000},
    Size.TINY: {**_FLOOD, "count": 2_000},
}

WORKLOADS: Sequence[Workload] = (
    Workload(
        "udp-echo",
        "UDP echo, 64 B, 64 at a time",
        "udp_echo",
        "loads.datagrams:echo",
        {
            Size.FULL: _ECHO,
            Size.QUICK: {**_ECHO, "messages": 15_000},
            Size.TINY: {**_ECHO, "messages": 400},
        },
        most_rounds=4,
        module="benchmarks.udp",
    ),
    Workload(
        "udp-echo-1",
        "UDP echo, 64 B, 1 at a time",
        "udp_echo",
        "loads.datagrams:echo",
        {
            Size.FULL: {**_ECHO, "senders": 1, "window": 1, "messages": 6_000},
            Size.QUICK: {**_ECHO, "senders": 1, "window": 1, "messages": 4_000},
            Size.TINY: {**_ECHO, "senders": 1, "window": 1, "messages": 200},
        },
        most_rounds=4,
        module="benchmarks.udp",
    ),
    Workload(
        "udp-flood",
        "UDP flood, 64 B, CPU of those received",
        "udp_sink",
        "loads.datagrams:flood",
        _FLOODS,
        most_rounds=4,
        module="benchmarks.udp",
    ),
    Workload(
        "udp-loss",
        "UDP flood, 64 B, lost",
        "udp_sink",
        "loads.datagrams:flood",
        _FLOODS,
        measure=Measure.LOST,
        most_rounds=4,
        module="benchmarks.udp",
    ),
)
