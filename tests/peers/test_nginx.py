"""nginx at the other end: files, many requests at once, early answers, abrupt ends."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.support.programs import find_program, free_port, running, serves
from trio_xsock import LostConnectionError, ServerSocket, SocketClosedError, TCPSocket

pytestmark = pytest.mark.peer

CONTENT = random.Random(1).randbytes(2**20) * 20
DIGEST = hashlib.sha256(CONTENT).digest()

CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log stderr;
events {{ }}
http {{
    access_log off; keepalive_requests 100000; client_max_body_size 1m; lingering_time 2s;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port}; root {folder};
        location /hang-up {{ return 444; }}
        location /ours/ {{ proxy_pass http://127.0.0.1:{ours}/; proxy_http_version 1.1; }}
    }}
}}
"""


class Nginx:
    """Where it listens, and where it will look for a server of ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.ours = free_port()

    def configuration(self) -> Path:
        path = self.folder / "nginx.conf"
        values = {"folder": self.folder, "port": self.port, "ours": self.ours}
        path.write_text(CONFIGURATION.format(**values), encoding="utf-8")
        return path


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """A server of two files, a large one and a small one."""
    program = find_program("nginx")
    server = Nginx(tmp_path_factory.mktemp("nginx"))
    (server.folder / "large").write_bytes(CONTENT)
    (server.folder / "small").write_bytes(b"hello")
    command = [program, "-p", str(server.folder), "-e", "stderr", "-c", str(server.configuration())]
    with running(command, server.folder, lambda: serves(server.port)):
        yield server


def request(path: str, method: str = "GET", *fields: str) -> str:
    """The head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""]
    return "\r\n".join(lines)


async def head_of_answer(sock: TCPSocket) -> tuple[int, dict[str, str]]:
    """The status and the fields of an answer."""
    head = (await sock.receive_until(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), fields


async def test_a_large_file(nginx: Nginx) -> None:
    """By its length, in one piece, and again to the end of the connection, as it comes."""
    async with TCPSocket("127.0.0.1", nginx.port) as sock:
        await sock.connect()
        await sock.send_all(request("/large").encode())
        status, fields = await head_of_answer(sock)
        assert (status, fields["content-length"]) == (200, str(len(CONTENT)))
        assert hashlib.sha256(await sock.receive_exactly(len(CONTENT))).digest() == DIGEST
        sock.write(request("/large", "GET", "Connection: close"))
        assert (await head_of_answer(sock))[0] == 200
        digest = hashlib.sha256()
        async for chunk in sock:
            digest.update(chunk)
        assert digest.digest() == DIGEST


async def test_a_thousand_requests_in_a_row(nginx: Nginx) -> None:
    """All are sent before the first answer is read; the answers come in order."""
    async with TCPSocket("127.0.0.1", nginx.port) as sock:
        await sock.connect()
        for number in range(1000):
            sock.write(request("/small" if number % 2 else "/missing"))
        for number in range(1000):
            status, fields = await head_of_answer(sock)
            assert status == (200 if number % 2 else 404)
            body = await sock.receive_exactly(int(fields["content-length"]))
            assert (body == b"hello") == (number % 2 == 1)


async def test_an_answer_that_comes_too_early(nginx: Nginx) -> None:
    """The body is refused while it is still being sent; the answer is there to be read."""
    async with TCPSocket("127.0.0.1", nginx.port) as sock, trio.open_nursery() as nursery:
        await sock.connect()

        @nursery.start_soon
        async def send() -> None:
            sock.write(request("/small", "PUT", f"Content-Length: {10 * len(CONTENT)}"))
            try:
                for _ in range(10):
                    await sock.send_all(CONTENT)
            except (LostConnectionError, SocketClosedError):
                pass  # nginx lingers for a while, and so do we

        status, fields = await head_of_answer(sock)
        assert (status, fields["connection"]) == (413, "close")
        body = await sock.receive_exactly(int(fields["content-length"]))
        assert b"Too Large" in body
        await sock.aclose()


async def test_a_server_that_hangs_up(nginx: Nginx) -> None:
    """Without an answer: a clean end is a clean end."""
    async with TCPSocket("127.0.0.1", nginx.port) as sock:
        await sock.connect()
        await sock.send_all(request("/hang-up").encode())
        assert await sock.receive_some() == b""
        assert sock.at_eof


async def test_behind_nginx(nginx: Nginx, tmp_path: Path) -> None:
    """It passes requests on to a server of ours, and a file of ours on to its client."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)

    async def serve(sock: TCPSocket) -> None:
        while True:
            head = await sock.receive_until(b"\r\n\r\n")
            assert head.startswith(b"GET /file HTTP/1.1\r\n")
            sock.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n")
            sock.write("Connection: close\r\n\r\n")
            await sock.send_file(path)
            return

    server = ServerSocket(nginx.ours, address="127.0.0.1")
    async with server, trio.open_nursery() as nursery:
        await nursery.start(server.serve, serve)
        async with TCPSocket("127.0.0.1", nginx.port) as sock:
            await sock.connect()
            for _ in range(3):
                sock.write(request("/ours/file"))
                assert (await head_of_answer(sock))[0] == 200
                data = await sock.receive_exactly(len(CONTENT))
                assert hashlib.sha256(data).digest() == DIGEST
        server.stop_listening()


async def test_a_server_that_is_killed(tmp_path: Path) -> None:
    """What its client gets is an end, clean or not, and never a wait."""
    program = find_program("nginx")
    server = Nginx(tmp_path)
    (tmp_path / "large").write_bytes(CONTENT)
    command = [program, "-p", str(tmp_path), "-e", "stderr", "-c", str(server.configuration())]
    with running(command, tmp_path, lambda: serves(server.port)) as process:
        async with TCPSocket("127.0.0.1", server.port, receive_buffer_limit=65536) as sock:
            await sock.connect()
            await sock.send_all(request("/large").encode())
            status, fields = await head_of_answer(sock)
            assert status == 200
            process.kill()
            received = 0
            try:
                async for chunk in sock:
                    received += len(chunk)
            except LostConnectionError:
                pass
            assert received < int(fields["content-length"])
