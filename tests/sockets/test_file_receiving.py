"""``receive_file``: into a file in constant memory, exact whatever happens."""

from __future__ import annotations

import errno
import io
import os
import random
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support import RawPeer, until
from tests.support.pairs import linked
from tests.support.tls import tls_linked
from trio_xsock import (
    InvalidStateError,
    LostConnectionError,
    OutOfMemoryError,
    SocketClosedError,
    SSLSocket,
    TCPSocket,
)

CONTENT = random.Random(1).randbytes(3_000_000)


class GatedFile(io.BytesIO):
    """Its first write waits for ``gate``; or raises, once so much was written.

    Attributes:
        writing: a write has begun.
        gate: set it to let writes go on.
        room: bytes that fit.
        at_once: bytes that one write takes at the most.
    """

    def __init__(self) -> None:
        super().__init__()
        self.writing = threading.Event()
        self.gate = threading.Event()
        self.room = 2**60
        self.at_once = 2**60

    def write(self, data: Any) -> int:
        """Write some."""
        self.writing.set()
        self.gate.wait(10)
        piece = memoryview(data)[: min(self.at_once, self.room - self.tell())]
        if not piece:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(piece)


async def send_and_end(peer: RawPeer, data: bytes) -> None:
    """All of it, and the end."""
    await peer.send(data)
    peer.fin()


@pytest.mark.trio
async def test_until_the_end(tmp_path: Path) -> None:
    """Every byte, in a new file; progress adds up."""
    seen: list[int] = []
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(send_and_end, peer, CONTENT)
        path = tmp_path / "new"
        assert await sock.receive_file(path, progress=seen.append) == len(CONTENT)
        assert path.read_bytes() == CONTENT
        assert seen == sorted(set(seen))
        assert seen[-1] == len(CONTENT)
        assert sock.at_eof
        assert await sock.receive_some() == b""


@pytest.mark.trio
@pytest.mark.parametrize("count", [0, 1, 65536, 1_000_000])
async def test_so_many_bytes(tmp_path: Path, count: int) -> None:
    """What follows stays in the stream."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(send_and_end, peer, CONTENT)
        await sock.receive_exactly(5)
        assert await sock.receive_file(str(tmp_path / "part"), count=count) == count
        assert (tmp_path / "part").read_bytes() == CONTENT[5 : 5 + count]
        assert await sock.receive_exactly(10) == CONTENT[5 + count :][:10]
        left = len(CONTENT) - 15 - count
        assert await sock.receive_file(tmp_path / "rest", count=2**40) == left


@pytest.mark.trio
async def test_a_file_that_is_there(tmp_path: Path) -> None:
    """It is not touched unless that is asked for, and nothing is taken."""
    path = tmp_path / "there"
    path.write_bytes(b"precious" * 100)
    async with linked() as (sock, peer):
        await send_and_end(peer, b"hello")
        await until(lambda: sock.bytes_available == 5)
        with pytest.raises(FileExistsError, match="overwrite=True"):
            await sock.receive_file(path)
        assert path.read_bytes() == b"precious" * 100
        assert sock.bytes_available == 5
        assert await sock.receive_file(path, overwrite=True) == 5
        assert path.read_bytes() == b"hello"


@pytest.mark.trio
async def test_no_thread_left_is_out_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To open a path, and to write; what was not written stays in the stream."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async with linked() as (sock, peer):
        await peer.send(b"hello")
        await until(lambda: sock.bytes_available == 5)
        with monkeypatch.context() as patch:
            patch.setattr("trio._threads.start_thread_soon", refuse)
            with pytest.raises(OutOfMemoryError, match="no thread to open"):
                await sock.receive_file(tmp_path / "file", count=5)
            with pytest.raises(OutOfMemoryError, match="no thread to write"):
                await sock.receive_file(io.BytesIO(), count=5)
        assert sock.bytes_available == 5
        assert await sock.receive_file(tmp_path / "file", count=5) == 5


@pytest.mark.trio
async def test_an_open_file(tmp_path: Path) -> None:
    """Written to where it stands; stays open; what it holds is handed on."""
    path = tmp_path / "open"
    with path.open("wb") as file:
        file.write(b"before ")
        async with linked() as (sock, peer):
            await send_and_end(peer, b"hello")
            assert await sock.receive_file(file) == 5
        assert path.read_bytes() == b"before hello"
        assert not file.closed
    raw = GatedFile()
    raw.gate.set()
    raw.at_once = 1000
    async with linked() as (sock, peer):
        await send_and_end(peer, CONTENT[:10_000])
        assert await sock.receive_file(raw) == 10_000
    assert raw.getvalue() == CONTENT[:10_000]


@pytest.mark.trio
async def test_cancelled(tmp_path: Path) -> None:
    """What has left the buffer is in the file; the rest comes to the next reader."""
    path = tmp_path / "part"
    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.send, CONTENT)
        with trio.CancelScope() as scope:

            def stop(done: int) -> None:
                if done > 500_000:
                    scope.cancel()

            await sock.receive_file(path, progress=stop)
        assert scope.cancelled_caught
        written = path.read_bytes()
        assert 500_000 < len(written) < len(CONTENT)
        assert written + await sock.receive_exactly(len(CONTENT) - len(written)) == CONTENT


@pytest.mark.trio
async def test_cancelled_while_it_writes() -> None:
    """The write is waited for."""
    file = GatedFile()
    async with linked() as (sock, peer):
        await peer.send(CONTENT[:1000])
        await until(lambda: sock.bytes_available == 1000)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sock.receive_file, file)
                await until(file.writing.is_set)
                scope.cancel()
                with trio.CancelScope(shield=True):
                    assert sock.bytes_available == 0
                    with pytest.raises(trio.BusyResourceError):
                        await sock.receive_some()
                    with pytest.raises(trio.BusyResourceError):
                        await sock.receive_file(io.BytesIO())
                    file.gate.set()
        assert scope.cancelled_caught
        assert file.getvalue() == CONTENT[:1000]
        await peer.send(b"next")
        assert await sock.receive_exactly(4) == b"next"


@pytest.mark.trio
async def test_cancelled_before_it_begins(tmp_path: Path) -> None:
    """No file is made."""
    async with linked() as (sock, _):
        with trio.CancelScope() as scope:
            scope.cancel()
            await sock.receive_file(tmp_path / "none")
    assert scope.cancelled_caught
    assert not (tmp_path / "none").exists()


@pytest.mark.trio
async def test_a_full_disk() -> None:
    """What it did not take is back in the buffer, in its place."""
    file = GatedFile()
    file.gate.set()
    file.room = 700
    async with linked() as (sock, peer):
        await peer.send(CONTENT[:1000])
        await sock.receive_exactly(100)
        await until(lambda: sock.bytes_available == 900)
        with pytest.raises(OSError, match="No space left"):
            await sock.receive_file(file)
        assert file.getvalue() == CONTENT[100:800]
        assert sock.lookahead() == CONTENT[800:1000]
        await send_and_end(peer, b"rest\n")
        assert await sock.receive_exactly(200) == CONTENT[800:1000]
        assert [line async for line in sock.lines()] == ["rest"]


@pytest.mark.trio
async def test_a_loss(tmp_path: Path) -> None:
    """What came before is in the file."""
    async with linked() as (sock, peer), trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(LostConnectionError):
                await sock.receive_file(tmp_path / "file")

        nursery.start_soon(receive)
        await peer.send(b"hello")
        await until(lambda: sock.bytes_received == 5 and not sock.bytes_available)
        peer.reset()
    assert (tmp_path / "file").read_bytes() == b"hello"


@pytest.mark.trio
async def test_closed_or_never_connected(tmp_path: Path) -> None:
    """No file is made where it is known before; a close meanwhile wakes the task."""
    path = tmp_path / "file"
    async with TCPSocket() as sock:
        with pytest.raises(InvalidStateError):
            await sock.receive_file(path)
    assert not path.exists()
    async with linked() as (sock, _), trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(SocketClosedError):
                await sock.receive_file(path)

        nursery.start_soon(receive)
        await until(path.exists)
        await trio.testing.wait_all_tasks_blocked(0.05)
        sock.close()
    with pytest.raises(SocketClosedError):
        await sock.receive_file(tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.trio
@pytest.mark.parametrize(
    ("file", "options", "refusal"),
    [
        (io.StringIO(), {}, TypeError),
        (5, {}, TypeError),
        (None, {}, TypeError),
        ("name", {"count": -1}, ValueError),
        ("name", {"count": "1"}, TypeError),
        (io.BufferedReader(io.BytesIO()), {}, ValueError),  # type: ignore[arg-type]
    ],
)
async def test_wrong_values(
    tmp_path: Path, file: Any, options: dict[str, Any], refusal: type[Exception]
) -> None:
    """Refused before anything is taken."""
    async with linked() as (sock, peer):
        await peer.send(b"hello")
        await until(lambda: sock.bytes_available == 5)
        with pytest.raises(refusal):
            await sock.receive_file(tmp_path / file if file == "name" else file, **options)
        with pytest.raises(TypeError, match="async"):
            wrapped: Any = trio.wrap_file(io.BytesIO())
            await sock.receive_file(wrapped)
        assert sock.bytes_available == 5


@pytest.mark.trio
async def test_places_that_are_no_files(tmp_path: Path) -> None:
    """A folder, a pipe that nobody reads: what the OS says, without waiting."""
    os.mkfifo(tmp_path / "pipe")
    async with linked() as (sock, _):
        for path in (tmp_path, tmp_path / "pipe", tmp_path / "no" / "folder"):
            with pytest.raises(OSError):
                await sock.receive_file(path, overwrite=True)
        with pytest.raises(FileExistsError):
            await sock.receive_file(tmp_path)


@pytest.mark.trio
async def test_encrypted(tmp_path: Path) -> None:
    """It works on TLS as it does without."""
    async with tls_linked() as (sock, peer), trio.open_nursery() as nursery:
        assert isinstance(sock, SSLSocket)

        async def send() -> None:
            await peer.send(CONTENT)
            await peer.end()

        nursery.start_soon(send)
        assert await sock.receive_file(tmp_path / "file") == len(CONTENT)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.trio
async def test_memory_is_constant(tmp_path: Path) -> None:
    """However long the file is, the buffer's limit and a piece are what is held."""
    sent = 0

    async def send(peer: RawPeer) -> None:
        nonlocal sent
        for _ in range(60):
            await peer.send(CONTENT[:1_000_000])
            sent += 1_000_000
        peer.fin()

    async with linked() as (sock, peer), trio.open_nursery() as nursery:
        nursery.start_soon(send, peer)
        tracemalloc.start()
        try:
            received = await sock.receive_file(tmp_path / "file")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert received == sent
    assert peak < 8_000_000
