"""Floods of TLS records that are legal, and pointless: they cost memory and others' time nothing.

OpenSSL puts an end to some by itself; the others go on, and data after them arrives as ever.
"""

from __future__ import annotations

import gc
import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.support import accept, raw_listener, until
from tests.support.records import ALERT, DATA, HANDSHAKE, RecordPeer
from tests.support.serving import connect, echo, serving
from tests.support.tls import TLSPeer, credentials
from trio_xsock import SocketError, SSLSocket, TLSError

Flood = Callable[[RecordPeer], Iterator[bytes]]

LONGEST = 0.05
"""Seconds that one socket may keep the others waiting."""

MOST_MEMORY = 8 * 2**20

USER_CANCELED = b"\x01\x5a"
NO_RENEGOTIATION = b"\x01\x64"
TICKET = b"\x04\x00\x00\x16" + bytes([0, 0, 1, 0]) + bytes(4) + b"\x01n\x00\x08in vain!\x00\x00"


@asynccontextmanager
async def watched() -> AsyncIterator[None]:
    """Fail if a turn took too long of this thread, or all of it too much memory.

    Time that the system gives to others does not count. The garbage collector is off: what it
    takes depends on all that a run of the tests has in memory.
    """
    longest, most, before = 0.0, 0, resident()

    async def look() -> None:
        nonlocal longest, most
        last = time.thread_time()
        while True:
            await trio.lowlevel.checkpoint()
            most = max(most, resident())
            now = time.thread_time()
            longest = max(longest, now - last)
            last = now

    gc.disable()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            yield
            nursery.cancel_scope.cancel()
    finally:
        gc.enable()
    assert longest < LONGEST
    assert most - before < MOST_MEMORY


def resident() -> int:
    """Bytes of memory that this process occupies now."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def ping(peer: TLSPeer, *, task_status: trio.TaskStatus[None]) -> None:
    """Somebody else, who goes on all the time; until cancelled."""
    await peer.handshake()
    task_status.started()
    while True:
        await peer.send(b"ping")
        assert await peer.recv_exactly(4) == b"ping"


def client_context(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = credentials().client_context()
    context.maximum_version = version
    return context


async def flood_a_server(
    flood: Flood,
    tmp_path: Path,
    then: Callable[[RecordPeer], Awaitable[object]],
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> Exception | None:
    """Flood an echo of ours, beside somebody else.

    Args:
        flood: makes the records.
        tmp_path: a folder for the keys.
        then: what to do after them, until the connection ends.
        version: of TLS.

    Returns:
        How the connection ended: ``None`` for a clean end.
    """
    issued = credentials()
    ends: list[Exception | None] = []

    async def serve(sock: SSLSocket) -> None:
        try:
            await echo(sock)
        except SocketError as exc:
            ends.append(exc)
        else:
            ends.append(None)

    def add_socket() -> SSLSocket:
        return SSLSocket(certificate_file=issued.server)

    async with serving(serve, add_socket=add_socket) as server:
        with await connect(server) as other, await connect(server) as raw:
            async with trio.open_nursery() as nursery:
                await nursery.start(ping, TLSPeer(other, issued.client_context()))
                peer = RecordPeer(raw, client_context(version), tmp_path / "keys")
                await peer.handshake()
                records = b"".join(flood(peer))
                async with watched():
                    try:
                        await raw.send(records)
                    except OSError:  # they want no more of it
                        pass
                    await then(peer)
                    await until(lambda: ends)
                nursery.cancel_scope.cancel()
    return ends[0]


# Those that go on


def one_byte_records(peer: RecordPeer) -> Iterator[bytes]:
    for _ in range(20_000):
        yield peer.seal(DATA, b"x")


def one_byte_records_after_large_ones(peer: RecordPeer) -> Iterator[bytes]:
    """The socket has learned to take in much at once."""
    for _ in range(200):
        yield peer.seal(DATA, b"x" * 16384)
    yield from one_byte_records(peer)


def empty_records_among_others(peer: RecordPeer) -> Iterator[bytes]:
    for number in range(20_000):
        yield peer.seal(DATA, b"" if number % 32 else b"x")


def new_keys(peer: RecordPeer) -> Iterator[bytes]:
    for _ in range(10_000):
        yield peer.seal_key_update()


def new_keys_and_little_data(peer: RecordPeer) -> Iterator[bytes]:
    for _ in range(5_000):
        yield peer.seal_key_update()
        yield peer.seal(DATA, b"x")


def warnings_and_little_data(peer: RecordPeer) -> Iterator[bytes]:
    """As many in a row as OpenSSL lets pass."""
    for number in range(20_000):
        yield peer.seal(DATA, b"x") if number % 5 == 4 else peer.seal(ALERT, USER_CANCELED)


@pytest.mark.parametrize(
    ("flood", "data"),
    [
        (one_byte_records, 20_000),
        (one_byte_records_after_large_ones, 200 * 16384 + 20_000),
        (empty_records_among_others, 625),
        (new_keys, 0),
        (new_keys_and_little_data, 5_000),
        (warnings_and_little_data, 4_000),
    ],
)
async def test_goes_on(flood: Flood, data: int, tmp_path: Path) -> None:
    """All data arrives, and is answered; then the end is a clean one."""
    read = 0

    async def count(peer: RecordPeer) -> None:
        nonlocal read
        while read < data:
            read += len(await peer.recv_some())

    async def end(peer: RecordPeer) -> None:
        await count(peer)
        await peer.raw.send(peer.seal(DATA, b"last"))
        assert await peer.recv_exactly(4) == b"last"
        await peer.raw.send(peer.seal(ALERT, b"\x01\x00"))  # close_notify
        assert await peer.recv_some() == b""

    assert await flood_a_server(flood, tmp_path, end) is None
    assert read == data


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_what_a_warning_costs(version: ssl.TLSVersion, tmp_path: Path) -> None:
    """A record with one takes microseconds, that of both ends and all of this test included."""
    began: list[float] = []

    def flood(peer: RecordPeer) -> Iterator[bytes]:
        records = list(warnings_and_little_data(peer))
        began.append(time.process_time())
        yield from records

    async def end(peer: RecordPeer) -> None:
        for _ in range(4_000):
            await peer.recv_exactly(1)
        await peer.raw.send(peer.seal(ALERT, b"\x01\x00"))  # close_notify
        assert await peer.recv_some() == b""

    assert await flood_a_server(flood, tmp_path, end, version) is None
    assert (time.process_time() - began[0]) / 20_000 < 200e-6


# Those that OpenSSL puts an end to


def warnings(peer: RecordPeer) -> Iterator[bytes]:
    for _ in range(20_000):
        yield peer.seal(ALERT, USER_CANCELED)


def warnings_among_data(peer: RecordPeer) -> Iterator[bytes]:
    for number in range(20_000):
        yield peer.seal(ALERT, USER_CANCELED) if number % 10 else peer.seal(DATA, b"x")


def refusals_to_renegotiate(peer: RecordPeer) -> Iterator[bytes]:
    """To what nobody has asked for."""
    for _ in range(20_000):
        yield peer.seal(ALERT, NO_RENEGOTIATION)


def unknown_warnings(peer: RecordPeer) -> Iterator[bytes]:
    for _ in range(20_000):
        yield peer.seal(ALERT, b"\x01\xff")


def empty_records(peer: RecordPeer) -> Iterator[bytes]:
    for _ in range(20_000):
        yield peer.seal(DATA, b"")


@pytest.mark.parametrize(
    ("flood", "version", "reason"),
    [
        (warnings, ssl.TLSVersion.TLSv1_3, "TOO_MANY_WARN_ALERTS"),
        (warnings, ssl.TLSVersion.TLSv1_2, "TOO_MANY_WARN_ALERTS"),
        (warnings_among_data, ssl.TLSVersion.TLSv1_3, "TOO_MANY_WARN_ALERTS"),
        (refusals_to_renegotiate, ssl.TLSVersion.TLSv1_2, "NO_RENEGOTIATION"),
        (unknown_warnings, ssl.TLSVersion.TLSv1_2, "TOO_MANY_WARN_ALERTS"),
        (empty_records, ssl.TLSVersion.TLSv1_3, "RECORD_TOO_SMALL"),
        (empty_records, ssl.TLSVersion.TLSv1_2, "RECORD_TOO_SMALL"),
    ],
)
async def test_comes_to_an_end(
    flood: Flood, version: ssl.TLSVersion, reason: str, tmp_path: Path
) -> None:
    """That connection's, with an error that names the cause."""

    async def nothing(_: RecordPeer) -> None:
        await trio.lowlevel.checkpoint()

    error = await flood_a_server(flood, tmp_path, nothing, version)
    assert isinstance(error, TLSError)
    assert error.reason == reason


# Those of a server


async def test_tickets(tmp_path: Path) -> None:
    """Thousands of sessions to resume, of which one is as good as the other."""
    issued = credentials()
    context = issued.server_context()
    context.num_tickets = 0
    with raw_listener() as listener:
        port = listener.getsockname()[1]
        async with SSLSocket("localhost", port, ca_file=issued.ca) as sock:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.connect)
                peer = RecordPeer(await accept(listener), context, tmp_path / "keys")
                await peer.handshake()
            with peer.raw:
                one = b"".join(peer.seal(HANDSHAKE, TICKET) for _ in range(5000))
                packed = [peer.seal(HANDSHAKE, TICKET * 300) for _ in range(40)]
                flood = one + b"".join(packed) + peer.seal(DATA, b"last")
                async with watched():
                    await peer.raw.send(flood)
                    assert await sock.receive_exactly(4) == b"last"
