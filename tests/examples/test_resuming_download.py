"""The download that is resumed: all the ways in which it may be interrupted, and both its ends."""

from __future__ import annotations

import hashlib
import http.client
import logging
import random
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.peers import LOOPBACK, RawPeer, accept, raw_listener
from tests.support.serving import serving
from trio_xsock import ServerSocket

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))

example: Any = import_module("resuming_download")

CONTENT = random.Random(1).randbytes(3_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> trio.Path:
    """With a file to download."""
    (tmp_path / "source").write_bytes(CONTENT)
    return trio.Path(tmp_path)


@asynccontextmanager
async def file_server(folder: trio.Path, most: int) -> AsyncGenerator[ServerSocket[Any], None]:
    """The example's server, which hangs up after so many bytes."""
    async with serving(example.Files(folder, most).serve) as server:
        yield server


def digest(path: trio.Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


async def head_of(peer: RawPeer) -> list[bytes]:
    """The lines of the head of a request."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await peer.recv_exactly(1)
    return head.removesuffix(b"\r\n\r\n").split(b"\r\n")


async def test_interruptions_at_both_ends(
    folder: trio.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server hangs up, and the client is cancelled, until all is there; each byte once."""
    target, part = folder / "target", folder / "target.part"
    async with file_server(folder, most=700_000) as server:
        for enough in range(300_000, 2_000_000, 400_000):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(example.Download(target).run, LOOPBACK, server.port, "/source")
                await until_size(part, enough)
                nursery.cancel_scope.cancel()
            assert not await target.exists()
            have = await part.read_bytes()
            assert have == CONTENT[: len(have)]
        await example.Download(target).run(LOOPBACK, server.port, "/source")
    assert all(record.levelno <= logging.INFO for record in caplog.records)
    assert digest(target) == hashlib.sha256(CONTENT).hexdigest()
    assert {path.name for path in await folder.iterdir()} == {"source", "target"}


async def test_asks_for_what_is_missing(folder: trio.Path) -> None:
    """After a reset, after an end before any byte, and when the file is another one."""
    target = folder / "target"
    with raw_listener() as listener:
        async with trio.open_nursery() as nursery:
            port = listener.getsockname()[1]
            nursery.start_soon(example.Download(target).run, LOOPBACK, port, "/f")
            with await accept(listener) as peer:
                assert not any(b"Range" in line for line in await head_of(peer))
                await peer.send(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 9\r\n\r\nabc')
                await until_size(folder / "target.part", 3)
                peer.reset()
            with await accept(listener) as peer:
                assert {b"Range: bytes=3-", b'If-Range: "1"'} <= set(await head_of(peer))
            with await accept(listener) as peer:  # the file is another one now
                assert {b"Range: bytes=3-", b'If-Range: "1"'} <= set(await head_of(peer))
                await peer.send(b'HTTP/1.1 200 OK\r\nETag: "2"\r\nContent-Length: 7\r\n\r\nAB')
                await until_size(folder / "target.part", 2)
            with await accept(listener) as peer:
                assert {b"Range: bytes=2-", b'If-Range: "2"'} <= set(await head_of(peer))
                await peer.send(
                    b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-6/7\r\n"
                    b"Content-Length: 5\r\n\r\nCDEFG"
                )
    assert await target.read_bytes() == b"ABCDEFG"


async def until_size(path: trio.Path, size: int) -> None:
    """Wait until a file has so many bytes."""
    while not await path.exists() or (await path.stat()).st_size < size:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 1-3/4\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */7\r\n\r\n",
    ],
)
async def test_an_answer_that_makes_no_sense_changes_nothing(
    folder: trio.Path, answer: bytes
) -> None:
    """A part that does not fit is not appended."""
    await (folder / "target.part").write_bytes(b"abc")
    await (folder / "target.etag").write_text('"1"')
    with raw_listener() as listener:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def serve() -> None:
                with await accept(listener) as peer:
                    await head_of(peer)
                    await peer.send(answer)
                    await peer.recv_all_to_eof()

            with pytest.raises(ValueError, match="/f: the server says"):
                download = example.Download(folder / "target")
                await download.run(LOOPBACK, listener.getsockname()[1], "/f")
    assert await (folder / "target.part").read_bytes() == b"abc"


async def test_what_is_complete_already_is_not_fetched_again(folder: trio.Path) -> None:
    """Interrupted between the last byte and the new name; other bytes would show a fetch."""
    stat = await (folder / "source").stat()
    await (folder / "target.part").write_bytes(bytes(len(CONTENT)))
    await (folder / "target.etag").write_text(f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"')
    async with file_server(folder, most=2**30) as server:
        await example.Download(folder / "target").run(LOOPBACK, server.port, "/source")
    assert await (folder / "target").read_bytes() == bytes(len(CONTENT))


async def test_server_and_a_client_of_the_standard_library(folder: trio.Path) -> None:
    """Ranges, a version that is gone, a name that leaves the folder, and an empty file."""
    await (folder / "empty").write_bytes(b"")

    def ask(port: int, path: str, **headers: str) -> tuple[int, str | None, bytes]:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers=fields)
        try:
            response = connection.getresponse()
            return response.status, response.getheader("Content-Range"), response.read()
        finally:
            connection.close()

    def check(port: int) -> None:
        assert ask(port, "/source") == (200, None, CONTENT)
        span = "bytes 2999990-2999999/3000000"
        assert ask(port, "/source", Range="bytes=2999990-") == (206, span, CONTENT[-10:])
        assert ask(port, "/source", Range="bytes=3000000-") == (416, "bytes */3000000", b"")
        assert ask(port, "/source", Range="bytes=5-", If_Range='"old"') == (200, None, CONTENT)
        assert ask(port, "/source", Range="bytes=1-2,4-5") == (200, None, CONTENT)
        assert ask(port, "/empty") == (200, None, b"")
        for path in "/missing", "/../source/..", "/..", "/", "/%00":
            assert ask(port, path) == (404, None, b"")

    async with file_server(folder, most=2**30) as server:
        await trio.to_thread.run_sync(check, server.port)
        with await RawPeer.connect(server.port) as peer:
            await peer.send(b"\r\n\r\n")
            assert (await peer.recv_all_to_eof()).startswith(b"HTTP/1.1 404 ")
        with await RawPeer.connect(server.port):
            with trio.fail_after(2):
                await server.aclose()
        assert server.statistics().failed == 0
