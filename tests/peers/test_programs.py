"""Other people's programs as peers: redis-server, nginx, curl."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.support import raw_listener
from trio_xsock import ConnectError, ServerSocket, TCPSocket

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(60)]

LOOPBACK = "127.0.0.1"


def program(name: str) -> str:
    """The path of an installed program; skips the test where there is none."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def free_port() -> int:
    """A port that nobody listens on at present."""
    with raw_listener() as listener:
        return int(listener.getsockname()[1])


@asynccontextmanager
async def running(port: int, *command: str) -> AsyncIterator[None]:
    """A server in the foreground, from when it accepts until it is told to end."""
    process = subprocess.Popen(  # noqa: ASYNC220 - starting it takes a millisecond
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        await until_it_listens(port, process)
        yield
    finally:
        process.terminate()
        process.wait(10)


async def until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    with trio.fail_after(20):
        while True:
            assert process.poll() is None, "the server ended"
            async with TCPSocket(LOOPBACK, port) as probe:
                try:
                    await probe.connect()
                except ConnectError:
                    await trio.sleep(0.02)
                else:
                    return


@asynccontextmanager
async def redis(folder: Path) -> AsyncIterator[TCPSocket]:
    """A connection to a redis-server of our own."""
    port = free_port()
    options = ["--port", str(port), "--bind", LOOPBACK, "--save", "", "--appendonly", "no"]
    async with running(port, program("redis-server"), *options, "--dir", str(folder)):
        async with TCPSocket(LOOPBACK, port) as sock:
            await sock.connect()
            yield sock


def command(*words: bytes) -> bytes:
    """A request of the Redis protocol, version 2."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


async def bulk(sock: TCPSocket) -> bytes:
    """A bulk string of an answer."""
    size = int((await sock.receive_until(b"\r\n")).removeprefix(b"$"))
    value = await sock.receive_exactly(size)
    assert await sock.receive_exactly(2) == b"\r\n"
    return value


async def test_redis_answers_a_ping(tmp_path: Path) -> None:
    """The smallest conversation: one line each way."""
    async with redis(tmp_path) as sock:
        sock.write("PING\r\n")
        assert await sock.receive_until(b"\r\n") == b"+PONG"


async def test_redis_pipelined(tmp_path: Path) -> None:
    """A thousand requests in a row before the first answer is read."""
    async with redis(tmp_path) as sock:
        for number in range(1000):
            key = b"key:%d" % number
            sock.write(command(b"SET", key, b"value %d" % number))
            sock.write(command(b"GET", key))
        for number in range(1000):
            assert await sock.receive_until(b"\r\n") == b"+OK"
            assert await bulk(sock) == b"value %d" % number


async def test_redis_keeps_a_large_value(tmp_path: Path) -> None:
    """A value of 100 MB goes there and comes back the same."""
    value = os.urandom(2**20) * 100
    async with redis(tmp_path) as sock:
        sock.write(b"*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$%d\r\n" % len(value))
        await sock.send_all(value)
        sock.write(b"\r\n")
        assert await sock.receive_until(b"\r\n") == b"+OK"
        sock.write(command(b"GET", b"large"))
        assert await bulk(sock) == value


def nginx_configuration(folder: Path, port: int) -> Path:
    """Serve ``folder``; everything that nginx writes goes there too."""
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = f"""
        daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
        events {{ }}
        http {{
            access_log off;
            {temporary}
            server {{ listen {LOOPBACK}:{port}; root {folder}; }}
        }}
    """
    path = folder / "nginx.conf"
    path.write_text(text, encoding="utf-8")
    return path


async def test_nginx_serves_a_file(tmp_path: Path) -> None:
    """A file of 20 MB comes through HTTP whole, and the next request on the connection too."""
    content = os.urandom(2**20) * 20
    (tmp_path / "file").write_bytes(content)
    port = free_port()
    configuration = nginx_configuration(tmp_path, port)
    nginx = [program("nginx"), "-e", str(tmp_path / "error.log"), "-c", str(configuration)]
    async with running(port, *nginx), TCPSocket(LOOPBACK, port) as sock:
        await sock.connect()
        for last in (False, True):
            ending = "Connection: close\r\n" if last else ""
            sock.write(f"GET /file HTTP/1.1\r\nHost: localhost\r\n{ending}\r\n")
            head = await sock.receive_until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"Content-Length: %d" % len(content) in head
            assert await sock.receive_exactly(len(content)) == content
        assert await sock.receive_some() == b""


async def answer_requests(sock: TCPSocket) -> None:
    """HTTP/1.1 enough for curl: echo the body of each request until the connection ends."""
    while True:
        head = await sock.receive_until(b"\r\n\r\n")
        fields = dict(
            line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
        )
        size = int(fields.get(b"content-length", b"0"))
        if fields.get(b"expect") == b"100-continue":
            sock.write("HTTP/1.1 100 Continue\r\n\r\n")
        body = await sock.receive_exactly(size)
        sock.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n")
        await sock.send_all(body)
        return


async def test_curl_is_served(tmp_path: Path) -> None:
    """curl sends 5 MB to a ServerSocket and gets them back, over IPv4 and IPv6."""
    curl = program("curl")
    content = os.urandom(5 * 2**20)
    (tmp_path / "body").write_bytes(content)
    async with ServerSocket() as server, trio.open_nursery() as nursery:
        port = await nursery.start(server.serve, answer_requests)
        for host in (LOOPBACK, "[::1]"):
            result = await trio.run_process(
                [
                    curl,
                    "--silent",
                    "--show-error",
                    "--noproxy",
                    "*",
                    "--data-binary",
                    f"@{tmp_path / 'body'}",
                    f"http://{host}:{port}/",
                ],
                capture_stdout=True,
            )
            assert result.stdout == content
        server.stop_listening()
