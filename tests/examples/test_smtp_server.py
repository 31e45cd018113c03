"""The SMTP server: Python's smtplib as its client, and one that breaks the protocol."""

from __future__ import annotations

import logging
import smtplib
import ssl
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from email.message import EmailMessage
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.peers import LOOPBACK, RawPeer
from tests.support.serving import serving
from tests.support.tls import TLSPeer, credentials
from trio_xsock import ServerSocket, SSLSocket

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))

example: Any = import_module("smtp_server")

GREETING = b"220 mail.example ESMTP\r\n"
GO_AHEAD = b"220 go ahead\r\n"
MAIL = b"MAIL FROM:<ada@x>\r\nRCPT TO:<ben@x>\r\nDATA\r\n"


@asynccontextmanager
async def mail_server(mails: list[Any]) -> AsyncGenerator[ServerSocket[Any], None]:
    """The example's server, with a certificate for 127.0.0.1."""

    def add_socket() -> SSLSocket:
        return SSLSocket(ssl_enabled=False, certificate_file=credentials().server)

    async def serve(sock: SSLSocket) -> None:
        await example.Session(sock, mails).run()

    async with serving(serve, add_socket=add_socket) as server:
        yield server


async def ask(peer: RawPeer | TLSPeer, line: bytes, answer: bytes) -> None:
    """Send a line, and expect exactly this answer."""
    await peer.send(line + b"\r\n")
    assert await peer.recv_exactly(len(answer)) == answer


@asynccontextmanager
async def encrypted(port: int) -> AsyncGenerator[TLSPeer, None]:
    """A client on whose connection TLS is up."""
    with await RawPeer.connect(port) as raw:
        assert await raw.recv_exactly(len(GREETING)) == GREETING
        await ask(raw, b"STARTTLS", GO_AHEAD)
        peer = TLSPeer(raw, credentials().client_context(), LOOPBACK)
        await peer.handshake()
        yield peer


async def in_thread(port: int, talk: Callable[[smtplib.SMTP], object]) -> None:
    """Have smtplib talk to the server, in a thread."""

    def run() -> None:
        with smtplib.SMTP(LOOPBACK, port, timeout=10) as client:
            talk(client)

    await trio.to_thread.run_sync(run)


async def test_smtplib_sends_mails_over_tls() -> None:
    """Two on one connection, to several people, with dots, and every byte as it was."""
    mails: list[Any] = []
    message = EmailMessage()
    message["Subject"] = "dots"
    message.set_content("".join(f"{'.' * (i % 4)}line {i}\n" for i in range(2000)) + ".\n")

    def talk(client: smtplib.SMTP) -> None:
        client.ehlo()
        assert client.has_extn("starttls")
        client.starttls(context=credentials().client_context())
        client.ehlo()
        assert not client.has_extn("starttls")
        assert client.send_message(message, "ada@x", ["ben@x", "cleo@x"]) == {}
        client.sendmail("", ["ben@x"], b"x")
        assert client.noop()[0] == 250

    async with mail_server(mails) as server:
        await in_thread(server.port, talk)
        assert server.statistics().failed == 0
    content = message.as_bytes().replace(b"\n", b"\r\n")
    assert [tuple(mail) for mail in mails] == [
        ("ada@x", ["ben@x", "cleo@x"], content),
        ("", ["ben@x"], b"x\r\n"),
    ]


async def test_plaintext_takes_no_mail() -> None:
    """Every command that matters is refused until TLS is up."""

    def talk(client: smtplib.SMTP) -> None:
        with pytest.raises(smtplib.SMTPSenderRefused, match="STARTTLS comes first"):
            client.sendmail("ada@x", ["ben@x"], "in plaintext")
        for command in "RCPT TO:<ben@x>", "DATA", "VRFY":
            assert client.docmd(command)[0] == 530

    mails: list[Any] = []
    async with mail_server(mails) as server:
        await in_thread(server.port, talk)
    assert not mails


async def test_nothing_slips_in_before_the_handshake() -> None:
    """RFC 3207, 6: what follows STARTTLS in the same packet is never carried out."""
    mails: list[Any] = []
    async with mail_server(mails) as server:
        with await RawPeer.connect(server.port) as peer:
            await peer.send(b"STARTTLS\r\n" + MAIL + b"slipped in\r\n.\r\n")
            answer = GREETING + b"503 nothing may follow STARTTLS\r\n"
            assert await peer.recv_all_to_eof() == answer
        assert server.statistics().failed == 0
    assert not mails


async def test_nothing_is_smuggled_into_a_mail() -> None:
    """A dot between bare line ends ends no mail, and such a mail is not taken."""
    mails: list[Any] = []
    async with mail_server(mails) as server:
        for end in b"\n.\n", b"\n.\r\n", b"\r.\r\n":
            async with encrypted(server.port) as peer:
                ok = b"250 OK\r\n" * 2 + b"354 end with a dot on a line by itself\r\n"
                await ask(peer, MAIL.removesuffix(b"\r\n"), ok)
                await peer.send(b"text" + end + MAIL + b"smuggled\r\n.\r\n")
                assert await peer.recv_all_to_eof() == b"500 lines end with CR LF\r\n"
    assert not mails


async def test_limits() -> None:
    """Long lines, large mails and many recipients are refused."""
    mails: list[Any] = []
    async with mail_server(mails) as server:
        async with encrypted(server.port) as peer:
            await peer.send(b"x" * 2000)
            assert await peer.recv_all_to_eof() == b"500 line too long\r\n"
        async with encrypted(server.port) as peer:
            await ask(peer, b"RCPT TO:<ben@x>", b"503 ")
            await peer.recv_exactly(len(b"not known, or not now\r\n"))
            await ask(peer, b"MAIL FROM:<ada@x>", b"250 OK\r\n")
            for _ in range(100):
                await ask(peer, b"RCPT TO:<ben@x>", b"250 OK\r\n")
            await ask(peer, b"RCPT TO:<ben@x>", b"503 not known, or not now\r\n")
            await ask(peer, b"RSET", b"250 OK\r\n")
            await peer.send(MAIL + (b"x" * 998 + b"\r\n") * 1050)
            assert (await peer.recv_all_to_eof()).endswith(b"552 mail too large\r\n")
        assert server.statistics().failed == 0
    assert not mails


async def test_a_stop_is_told_to_idle_clients() -> None:
    """421 is the reply of a server that stops, in plaintext and over TLS."""
    async with mail_server([]) as server:
        with await RawPeer.connect(server.port) as raw:
            assert await raw.recv_exactly(len(GREETING)) == GREETING
            async with encrypted(server.port) as peer:
                await wait_all_tasks_blocked()
                with trio.fail_after(2):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(server.aclose)
                        assert await raw.recv_all_to_eof() == b"421 the server stops\r\n"
                        assert await peer.recv_all_to_eof() == b"421 the server stops\r\n"
        assert server.statistics().failed == 0


async def test_a_failed_handshake_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    """One that does not trust the server, and one that speaks no TLS: no traceback."""

    def talk(client: smtplib.SMTP) -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            client.starttls(context=ssl.create_default_context())

    async with mail_server([]) as server:
        await in_thread(server.port, talk)
        with await RawPeer.connect(server.port) as raw:
            assert await raw.recv_exactly(len(GREETING)) == GREETING
            await ask(raw, b"STARTTLS", GO_AHEAD)
            await raw.send(b"NOOP\r\n")
            assert (await raw.recv_all_to_eof())[:1] == b"\x15"  # an alert
        while server.active_connections():
            await wait_all_tasks_blocked()
    assert all(record.levelno <= logging.INFO for record in caplog.records)
