"""Programs that speak TLS: openssl, curl, stunnel and a browser, as clients and as servers."""

from __future__ import annotations

import functools
import hashlib
import os
import random
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.peers import LOOPBACK
from tests.support.programs import find_program, running
from tests.support.tls import credentials
from trio_xsock import ServerSocket, SSLSocket, TLSError

pytestmark = pytest.mark.peer

CONTENT = random.Random(1).randbytes(3 * 2**20)


@asynccontextmanager
async def serving(
    serve: Callable[[SSLSocket], Awaitable[object]], **options: Any
) -> AsyncIterator[int]:
    """A server of ours; gives its port."""
    options = {"certificate_file": credentials().server, **options}

    def add_socket() -> SSLSocket:
        return SSLSocket(**options)

    async with ServerSocket(add_socket=add_socket) as server, trio.open_nursery() as nursery:
        yield await nursery.start(server.serve, serve)
        server.stop_listening()
        nursery.cancel_scope.cancel()


async def answer_http(sock: SSLSocket) -> None:
    """One request, one answer."""
    head = await sock.receive_until(b"\r\n\r\n")
    line = head.partition(b"\r\n")[0].decode()
    body = f"<title>{line}</title>".encode() if "/page" in line else CONTENT
    kind = "text/html" if "/page" in line else "application/octet-stream"
    sock.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n")
    sock.write(f"Content-Type: {kind}\r\nConnection: close\r\n\r\n")
    await sock.send_all(body)


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as sock:
        return int(sock.getsockname()[1])


def accepts(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port)).close()
    except ConnectionRefusedError:
        return False
    return True


# openssl s_client


@asynccontextmanager
async def s_client(port: int, *arguments: str) -> AsyncIterator[trio.Process]:
    """``openssl s_client``, which treats lines such as ``K`` as orders."""
    issued = credentials()
    command = [find_program("openssl"), "s_client", "-connect", f"{LOOPBACK}:{port}"]
    command += ["-servername", "localhost", "-CAfile", str(issued.ca), "-verify_return_error"]
    async with trio.open_nursery() as nursery:
        start = functools.partial(
            trio.run_process,
            [*command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        process = await nursery.start(start)
        yield process
        nursery.cancel_scope.cancel()


async def read_until(process: trio.Process, wanted: bytes) -> bytes:
    said = b""
    assert process.stdout is not None
    while wanted not in said:
        piece = await process.stdout.receive_some()
        assert piece, said
        said += piece
    return said


async def order(process: trio.Process, line: bytes) -> None:
    assert process.stdin is not None
    await process.stdin.send_all(line)


async def echo_lines(sock: SSLSocket) -> None:
    async for line in sock.lines(encoding=None):
        await sock.send_all(b"<" + line + b">\n")


async def test_openssl_renews_its_keys() -> None:
    """Its own, and ours by its wish; a flood of them is no trouble."""
    async with serving(echo_lines) as port, s_client(port, "-tls1_3") as client:
        await order(client, b"before\n")
        await read_until(client, b"<before>")
        for key in (b"K\n", b"k\n") * 20:
            await order(client, key)  # each read is an order, whatever follows in it
            await read_until(client, b"KEYUPDATE")
        await order(client, b"after\n")
        await read_until(client, b"<after>")


async def test_openssl_may_not_renegotiate() -> None:
    """The one who tries is refused, and nobody else notices."""
    async with serving(echo_lines) as port:
        async with s_client(port, "-tls1_2") as client, s_client(port, "-tls1_2") as other:
            await order(client, b"before\n")
            await read_until(client, b"<before>")
            await order(client, b"R\n")
            await read_until(client, b"RENEGOTIATING")
            await order(other, b"other\n")
            await read_until(other, b"<other>")


async def test_openssl_resumes() -> None:
    """With the ticket that came with the first answer."""
    with (credentials().folder / "session").open("wb") as file:
        session = file.name
    async with serving(echo_lines) as port:
        async with s_client(port, "-sess_out", session) as client:
            await order(client, b"first\n")
            await read_until(client, b"<first>")
            await order(client, b"Q\n")
            await client.wait()
        async with s_client(port, "-sess_in", session) as client:
            assert b"Reused, TLSv1.3" in await read_until(client, b"Verify return code: 0 (ok)")


# openssl s_server


async def test_openssl_serves_us(tmp_path: Path) -> None:
    """Its web server; the file it has is ours afterwards."""
    (tmp_path / "file").write_bytes(CONTENT)
    issued = credentials()
    port = free_port()
    command = [find_program("openssl"), "s_server", "-port", str(port), "-WWW"]
    with running([*command, "-cert", str(issued.server)], tmp_path, lambda: accepts(port)):
        async with SSLSocket("localhost", port, ca_file=issued.ca) as sock:
            await sock.connect()
            await sock.send_all(b"GET /file HTTP/1.0\r\n\r\n")
            head = await sock.receive_until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.0 200")
            assert await sock.receive_exactly(len(CONTENT)) == CONTENT
            assert await sock.receive_some() == b""


async def test_openssl_is_not_trusted(tmp_path: Path) -> None:
    issued = credentials()
    port = free_port()
    command = [find_program("openssl"), "s_server", "-port", str(port), "-www", "-cert"]
    with running([*command, str(issued.server)], tmp_path, lambda: accepts(port)):
        async with SSLSocket("localhost", port) as sock:
            with pytest.raises(TLSError, match="unable to get local issuer"):
                await sock.connect()


async def test_the_commands_of_the_documentation(tmp_path: Path) -> None:
    """They make an authority, and a server of ours that clients of ours trust."""
    page = (Path(__file__).parents[2] / "docs/howto/private_authority.md").read_text()
    (block,) = re.findall(r"```console\n(\$ openssl.*?)```", page, re.DOTALL)
    commands = re.sub("^\\$ ", "", block, flags=re.MULTILINE)
    find_program("openssl")
    await trio.run_process(["sh", "-e", "-c", commands], cwd=tmp_path, stderr=subprocess.DEVNULL)

    async def serve(sock: SSLSocket) -> None:
        await sock.send_all(b"hello")

    async with serving(serve, certificate_file=tmp_path / "server.pem") as port:
        for host in ("localhost", LOOPBACK):
            async with SSLSocket(host, port, ca_file=tmp_path / "ca.pem") as sock:
                await sock.connect()
                assert await sock.receive_exactly(5) == b"hello"


# curl


async def test_curl() -> None:
    """Verifies us, and we it."""
    issued = credentials()
    async with serving(answer_http, ca_file=issued.ca, require_client_certificate=True) as port:
        command = [find_program("curl"), "--silent", "--show-error", "--noproxy", "*"]
        command += ["--cacert", str(issued.ca), "--cert", str(issued.client)]
        result = await trio.run_process(
            [*command, f"https://localhost:{port}/"], capture_stdout=True
        )
    assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(CONTENT).digest()


# stunnel


async def test_stunnel(tmp_path: Path) -> None:
    """Between a client of ours and a server of ours: as a client, and as a server."""
    issued = credentials()
    received: list[bytes] = []

    async def serve(sock: SSLSocket) -> None:
        received.append(b"".join([chunk async for chunk in sock]))
        await sock.send_all(b"thanks")

    entry, middle = free_port(), free_port()
    async with serving(serve) as port:
        (tmp_path / "stunnel.conf").write_text(
            f"""
foreground = yes
pid =
syslog = no
[encrypts]
client = yes
accept = {LOOPBACK}:{middle}
connect = {LOOPBACK}:{port}
CAfile = {issued.ca}
verifyChain = yes
checkHost = localhost
[decrypts]
accept = {LOOPBACK}:{entry}
connect = {LOOPBACK}:{middle}
cert = {issued.server}
"""
        )
        command = [find_program("stunnel4"), "stunnel.conf"]
        with running(command, tmp_path, lambda: b"Configuration successful" in log(tmp_path)):
            async with SSLSocket("localhost", entry, ca_file=issued.ca) as sock:
                await sock.connect()
                await sock.send_all(CONTENT)
                await sock.send_eof()
                assert await sock.receive_exactly(6) == b"thanks"
    assert received == [CONTENT]


def log(folder: Path) -> bytes:
    return (folder / "output").read_bytes()


# A browser


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_chromium(tmp_path: Path) -> None:
    """It gets the page; of us it knows no more than of any server on the web."""
    command = [find_program("chromium"), "--headless", "--disable-gpu", "--no-proxy-server"]
    if os.getuid() == 0:
        command.append("--no-sandbox")
    command += ["--ignore-certificate-errors", f"--user-data-dir={tmp_path}", "--dump-dom"]
    requests: list[str] = []

    async def serve(sock: SSLSocket) -> None:
        requests.append(f"{sock.tls_version} {sock.selected_alpn_protocol}")
        await answer_http(sock)

    async with serving(serve, alpn_protocols=["http/1.1"]) as port:
        result = await trio.run_process(
            [*command, f"https://localhost:{port}/page"], capture_stdout=True, capture_stderr=True
        )
    assert b"<title>GET /page HTTP/1.1</title>" in result.stdout
    assert "TLSv1.3 http/1.1" in requests
