"""The three transfers of ``xsock demo``: a whole file, and two that are aborted half way.

Each is a complete little program: a server, a client, and both ends of the connection in
one process, over the loopback interface.
"""

from __future__ import annotations

import contextlib
import mmap
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass

import trio

from trio_xsock import (
    SendComplete,
    SendProgress,
    ServerSocket,
    SocketError,
    SocketHandler,
    TCPSocket,
)

from ._beside import beside, both
from ._errors import CommandError
from ._eventlog import EventLog
from ._files import Folder
from ._incoming import Incoming
from ._outgoing import Outgoing
from ._report import Report
from ._source import Source
from ._transfer import Header

_LOOPBACK = "127.0.0.1"
_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Whole:
    """How the whole transfer went."""

    size: int
    seconds: float
    digest_sent: bytes
    digest_received: bytes

    @property
    def agrees(self) -> bool:
        """Both ends saw the same bytes."""
        return self.digest_sent == self.digest_received


@dataclass(frozen=True, slots=True)
class Aborted:
    """How an aborted transfer went: what each end counted."""

    size: int
    complete: SendComplete
    """The sender's last event."""
    received: int
    """Bytes that the receiver counted up to the end of the stream."""

    @property
    def agrees(self) -> bool:
        """It was aborted, every byte is accounted for, and both ends counted the same."""
        complete = self.complete
        return (
            complete.user_aborted
            and 0 < complete.bytes_sent < self.size
            and complete.bytes_sent + complete.bytes_unsent == self.size
            and complete.bytes_sent == self.received
        )


@contextlib.asynccontextmanager
async def _connection(
    report: Report, size: int, handler: SocketHandler | None = None
) -> AsyncGenerator[tuple[TCPSocket, EventLog, TCPSocket, EventLog]]:
    """A client and the server's end of its connection, each with a log of its events."""
    server: ServerSocket[TCPSocket] = ServerSocket(0, address=_LOOPBACK)
    async with server:
        await server.listen()
        async with TCPSocket(_LOOPBACK, server.port, handler=handler) as client:
            client_log = EventLog(report, "sender", client, size)
            await client.connect()
            async with await server.accept() as peer:
                yield client, client_log, peer, EventLog(report, "receiver", peer, size)


async def whole_file(report: Report, path: str, folder: Folder) -> Whole:
    """Send the file at ``path`` into ``folder`` as ``xsock send`` and ``receive`` do."""

    def ignore(progress: int | Header) -> None:
        """Progress is in the log of events already."""

    with Source(path) as source:
        outgoing = Outgoing(source, "copy.bin", timeout=_TIMEOUT, on_progress=ignore)
        incoming = Incoming(folder, timeout=_TIMEOUT, on_header=ignore, on_progress=ignore)
        async with _connection(report, source.size) as (client, client_log, peer, peer_log):
            started = time.monotonic()

            async def send() -> float:
                await beside(client_log.follow, lambda: outgoing.run(client))
                seconds = time.monotonic() - started
                await client.aclose()
                return seconds

            seconds, received = await both(
                send, lambda: beside(peer_log.follow, lambda: incoming.run(peer))
            )
            assert received is not None  # it is all that this sender sends
            for log in (client_log, peer_log):
                log.finish()
                log.summarise()
        return Whole(source.size, seconds, source.digest(), received.digest)


async def aborted_by_cancellation(report: Report, path: str) -> Aborted:
    """Cancel ``send_all`` when half is sent, by the scope around it."""
    with _mapped(path) as data:
        size = len(data)
        async with _connection(report, size) as (client, client_log, peer, peer_log):
            scope = trio.CancelScope()

            async def watch() -> None:
                with client.subscribe() as events:
                    async for event in events:
                        if isinstance(event, SendProgress) and event.total_sent * 2 >= size:
                            scope.cancel(reason="half of it is out")
                await trio.lowlevel.checkpoint()

            async def send() -> None:
                with scope:
                    await client.send_all(data)
                await trio.lowlevel.checkpoint()

            return await _abort(client, client_log, peer, peer_log, size, watch, send)


class _StopsHalfWay(SocketHandler):
    """Returns after each chunk whether the rest of the batch should be dropped."""

    def __init__(self, size: int) -> None:
        self._half = size // 2

    def on_send_progress(self, socket: TCPSocket, bytes_sent: int, bytes_left: int) -> bool:
        return bytes_left <= self._half


async def aborted_by_handler(report: Report, path: str) -> Aborted:
    """Let a handler's ``on_send_progress`` return True when half is sent."""
    with _mapped(path) as data:
        size = len(data)
        async with _connection(report, size, _StopsHalfWay(size)) as connection:
            client, client_log, peer, peer_log = connection

            async def send() -> None:
                with contextlib.suppress(SocketError):  # it says that not all was sent
                    await client.send_all(data)
                await trio.lowlevel.checkpoint()

            return await _abort(client, client_log, peer, peer_log, size, trio.sleep_forever, send)


async def _abort(
    client: TCPSocket,
    client_log: EventLog,
    peer: TCPSocket,
    peer_log: EventLog,
    size: int,
    watch: Callable[[], Awaitable[None]],
    send: Callable[[], Awaitable[None]],
) -> Aborted:
    """Run an aborted transfer to the end of the stream, and compare.

    The receiver pauses when it has half, so the sender still has a queue when the transfer is
    aborted, however much the buffers in between hold.
    """
    aborted = trio.Event()

    async def sender() -> None:
        await beside(client_log.follow, lambda: beside(watch, send))
        client_log.finish()
        aborted.set()
        await client.aclose()

    async def receiver() -> int:
        count = 0
        while piece := await peer.receive_some():
            count += len(piece)
            if count * 2 >= size:
                await aborted.wait()
        return count

    _, received = await both(sender, lambda: beside(peer_log.follow, receiver))
    peer_log.finish()
    client_log.summarise()
    peer_log.summarise()
    complete = client_log.last_complete
    if complete is None:
        raise CommandError("the sender's SendComplete never came")
    return Aborted(size, complete, received)


@contextlib.contextmanager
def _mapped(path: str) -> Generator[memoryview]:
    """The file's bytes, mapped into memory; fails if a view of them is still in use."""
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        memoryview(data) as view,
    ):
        yield view
