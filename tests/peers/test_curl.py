"""curl at the other end: our server speaks enough HTTP for it."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.support import until
from tests.support.programs import find_program
from trio_xsock import LostConnectionError, ServerSocket, TCPSocket

pytestmark = pytest.mark.peer

CONTENT = random.Random(1).randbytes(2**20) * 20

Serve = Callable[[TCPSocket], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    """A server of ours; gives its port."""
    async with ServerSocket() as server, trio.open_nursery() as nursery:
        yield await nursery.start(server.serve, serve)
        server.stop_listening()


async def curl(*arguments: str, check: bool = True) -> bytes:
    """What curl prints."""
    command = [
        find_program("curl"),
        "--silent",
        "--show-error",
        "--no-progress-meter",
        "--noproxy",
        "*",
        *arguments,
    ]
    result = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=check)
    assert result.stderr == b"" or not check
    return result.stdout


async def head_of_request(sock: TCPSocket) -> tuple[str, dict[str, str]]:
    """The request line and the fields."""
    head = (await sock.receive_until(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.split("\r\n")
    return line, dict(each.lower().split(": ", 1) for each in lines)


def answer(sock: TCPSocket, size: int, ending: str = "close") -> None:
    sock.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: {ending}\r\n\r\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_it_gets_a_file(host: str, tmp_path: Path) -> None:
    """Sent by the kernel, over IPv4 and IPv6."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)

    async def serve(sock: TCPSocket) -> None:
        line, _ = await head_of_request(sock)
        assert line == "GET /file HTTP/1.1"
        answer(sock, len(CONTENT))
        assert await sock.send_file(path) == len(CONTENT)

    async with serving(serve) as port:
        assert await curl(f"http://{host}:{port}/file") == CONTENT


async def test_it_sends_a_file(tmp_path: Path) -> None:
    """It waits for our word before it sends so much."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)

    async def serve(sock: TCPSocket) -> None:
        line, fields = await head_of_request(sock)
        assert line == "PUT /file HTTP/1.1"
        if fields.get("expect") == "100-continue":
            sock.write("HTTP/1.1 100 Continue\r\n\r\n")
        digest = hashlib.sha256()
        left = int(fields["content-length"])
        while left:
            chunk = await sock.receive_some(left)
            digest.update(chunk)
            left -= len(chunk)
        answer(sock, 64)
        sock.write(digest.hexdigest())

    async with serving(serve) as port:
        printed = await curl("--upload-file", str(path), f"http://127.0.0.1:{port}/file")
    assert printed.decode() == hashlib.sha256(CONTENT).hexdigest()


async def test_it_asks_many_times_at_once() -> None:
    """Some on connections of their own, some one after the other on the same."""
    connections = 0

    async def serve(sock: TCPSocket) -> None:
        nonlocal connections
        connections += 1
        while True:
            try:
                line, _ = await head_of_request(sock)
            except EOFError:
                return
            body = line.split()[1].encode() * 1000
            answer(sock, len(body), "keep-alive")
            await sock.send_all(body)

    async with serving(serve) as port:
        arguments = ["--parallel", "--parallel-max", "10", f"http://127.0.0.1:{port}/[100-199]"]
        printed = await curl(*arguments)
    numbers = [f"/{number}".encode() * 1000 for number in range(100, 200)]
    assert len(printed) == sum(map(len, numbers))
    assert 1 <= connections <= 100


async def test_a_client_that_goes_away() -> None:
    """In the middle of an answer: that handler sees it, and the server lives on."""
    seen: list[LostConnectionError] = []

    async def serve(sock: TCPSocket) -> None:
        line, _ = await head_of_request(sock)
        if line.startswith("GET /large"):
            answer(sock, 2**40)
            try:
                while True:
                    await sock.send_all(CONTENT)
            except LostConnectionError as exc:
                seen.append(exc)
        else:
            answer(sock, 2)
            sock.write("ok")

    async with serving(serve) as port:
        await curl("--max-time", "0.3", f"http://127.0.0.1:{port}/large", check=False)
        await until(lambda: seen)
        assert await curl(f"http://127.0.0.1:{port}/small") == b"ok"
