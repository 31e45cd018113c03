"""The workloads of messages: what each contender does, and the workloads themselves.

The format is that of ``EasyTCPSocket``, for asyncio's streams, too. What answers a batch with one
byte does so below the messages, so that all do the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from struct import Struct

from trio_xsock import EasyTCPSocket, ReceivedMessage
from trio_xsock._engine.writing import send_now

from .control import Control
from .programs.xsock_serving import serve_calls, serve_handlers
from .workload import Size, Workload

HOST = "127.0.0.1"
_HEADER = Struct(">IiI")
_MARK = 0x584D0100
_LARGEST = 2**24


# trio_xsock, handler


class _Counter:
    """Answers each batch with a byte."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._count = 0

    def on_received_message(self, socket: EasyTCPSocket, command: int, data: bytes) -> None:
        self._count += 1
        if self._count == self._batch:
            self._count = 0
            _answer(socket)


class _Echo:
    def on_received_message(self, socket: EasyTCPSocket, command: int, data: bytes) -> None:
        socket.send_message(command, data)


def _answer(socket: EasyTCPSocket) -> None:
    """One byte, below the messages."""
    socket._connection.outlet.ledger.queue(b".")
    send_now(socket._connection)


async def xsock_handler_messages(control: Control) -> None:
    await serve_handlers(control, lambda: _Counter(control["batch"]), EasyTCPSocket)


async def xsock_handler_message_echo(control: Control) -> None:
    await serve_handlers(control, _Echo, EasyTCPSocket)


# trio_xsock, calls and channel


async def xsock_caller_messages(control: Control) -> None:
    batch = control["batch"]

    async def handler(sock: EasyTCPSocket) -> None:
        count = 0
        async for _ in sock:
            count += 1
            if count == batch:
                count = 0
                _answer(sock)

    await serve_calls(control, handler, EasyTCPSocket)


async def xsock_caller_message_echo(control: Control) -> None:
    async def handler(sock: EasyTCPSocket) -> None:
        async for command, data in sock:
            sock.send_message(command, data)

    await serve_calls(control, handler, EasyTCPSocket)


async def xsock_channel_messages(control: Control) -> None:
    batch = control["batch"]

    async def handler(sock: EasyTCPSocket) -> None:
        count = 0
        async for event in sock.events:
            if isinstance(event, ReceivedMessage):
                count += 1
                if count == batch:
                    count = 0
                    _answer(sock)

    await serve_calls(control, handler, EasyTCPSocket)


# asyncio streams


async def _receive(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    mark, command, size = _HEADER.unpack(await reader.readexactly(_HEADER.size))
    if mark != _MARK or command < 0 or size > _LARGEST:
        raise ValueError("not a message")
    return command, await reader.readexactly(size)


async def _stream(
    control: Control,
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    server = await asyncio.start_server(whole, HOST, 0)
    control.ready(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def asyncio_streams_messages(control: Control) -> None:
    batch = control["batch"]

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        while True:
            await _receive(reader)
            count += 1
            if count == batch:
                count = 0
                writer.write(b".")

    await _stream(control, handler)


async def asyncio_streams_message_echo(control: Control) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            command, data = await _receive(reader)
            writer.write(_HEADER.pack(_MARK, command, len(data)) + data)

    await _stream(control, handler)


_FULL = {"batch": 10_000, "batches": 30, "size": 20}
_SIZES = {
    Size.FULL: _FULL,
    Size.QUICK: {**_FULL, "batches": 8},
    Size.TINY: {**_FULL, "batch": 500, "batches": 2},
}

_ECHO_SIZES = {
    size: {**params, "batches": max(2, params["batches"] // 6)} for size, params in _SIZES.items()
}

WORKLOADS: Sequence[Workload] = (
    Workload(
        "messages",
        "messages of 20 bytes, received",
        "messages",
        "loads.messages:to_server",
        _SIZES,
        baseline="asyncio-streams",
        most_rounds=3,
        module="benchmarks.messages",
    ),
    Workload(
        "message-echo",
        "messages of 20 bytes, each sent back",
        "message_echo",
        "loads.messages:echo",
        _ECHO_SIZES,
        baseline="asyncio-streams",
        most_rounds=3,
        module="benchmarks.messages",
    ),
)
