"""The options and facts of TLS on ``EasyTCPSocket``, which are those of ``SSLSocket``."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import trio

from tests.support.peers import LOOPBACK
from tests.support.tls import credentials, tls_linked
from trio_xsock import (
    EasyTCPSocket,
    InvalidStateError,
    Message,
    ServerSocket,
    SSLConnectionTypes,
    SSLSocket,
    TLSError,
)

OPTIONS: dict[str, Any] = {
    "ssl_connection_type": SSLConnectionTypes.TLSv12,
    "ca_file": "ca.pem",
    "certificate_file": "server.pem",
    "certificate_password": "secret",
    "certificate_rejection_file": "rejected.pem",
    "require_client_certificate": True,
    "server_hostname": "localhost",
    "alpn_protocols": ("easy",),
    "verify": False,
    "handshake_timeout": 3.0,
    "https_compatible": True,
}


def server(**options: Any) -> ServerSocket[EasyTCPSocket]:
    """A server of message sockets with TLS."""
    return ServerSocket(
        address=LOOPBACK,
        add_socket=lambda: EasyTCPSocket(
            tls=True, certificate_file=credentials().server, **options
        ),
    )


async def echo(sock: EasyTCPSocket) -> None:
    """Send each message back."""
    async for message in sock:
        await sock.send(message)


def test_all_options() -> None:
    """Given to the constructor and kept; attributes; the same as those of an ``SSLSocket``."""
    sock = EasyTCPSocket("example.org", 7, tls=True, **OPTIONS)
    other = SSLSocket("example.org", 7, **OPTIONS)
    for name, value in OPTIONS.items():
        assert getattr(sock, name) == getattr(other, name) == value
    fresh = EasyTCPSocket()
    for name, value in OPTIONS.items():
        assert getattr(fresh, name) == getattr(SSLSocket(), name)
        setattr(fresh, name, value)
        assert getattr(fresh, name) == value
    assert (fresh.tls, sock.tls) == (False, True)
    for name in ("tls", "verify"):
        with pytest.raises(TypeError, match=name):
            setattr(sock, name, 1)
    with pytest.raises(TypeError, match="ca_file"):
        EasyTCPSocket(ca_file=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ssl_context"):
        EasyTCPSocket(ssl_context=ssl.create_default_context(), ca_file="ca.pem")


@pytest.mark.trio
async def test_messages_over_tls() -> None:
    """Without a context of one's own; both sides know what came of it."""
    async with server(alpn_protocols=["easy"]) as listening, trio.open_nursery() as nursery:
        port = await nursery.start(listening.serve, echo)
        async with EasyTCPSocket(
            LOOPBACK, port, tls=True, ca_file=credentials().ca, alpn_protocols=["easy"]
        ) as sock:
            assert not sock.ssl_connected
            assert (sock.tls_version, sock.cipher, sock.peer_certificate) == (None, None, None)
            await sock.connect()
            with pytest.raises(InvalidStateError, match="tls"):
                sock.tls = False
            await sock.send(Message(1, b"hello"))
            assert await sock.receive() == Message(1, b"hello")
            assert sock.ssl_connected
            assert not sock.ssl_connecting
            assert sock.tls_version == "TLSv1.3"
            assert sock.cipher
            assert sock.selected_alpn_protocol == "easy"
            assert sock.peer_certificate
            (accepted,) = listening.active_connections()
            assert accepted.ssl_connected
            assert accepted.peer_certificate is None
            with pytest.raises(AttributeError, match=r"cipher of .* cannot be set"):
                accepted.cipher = "none"  # type: ignore[assignment]
            assert accepted.cipher != "none"
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_the_server_is_verified() -> None:
    """By the options: an authority, a name; and it may be switched off."""
    async with server() as listening, trio.open_nursery() as nursery:
        port = await nursery.start(listening.serve, echo)
        for wrong in (
            {"ca_file": credentials().elsewhere},
            {"ca_file": credentials().ca, "server_hostname": "example.org"},
            {"ca_file": credentials().ca, "certificate_rejection_file": credentials().server},
        ):
            async with EasyTCPSocket(LOOPBACK, port, tls=True, **wrong) as sock:
                with pytest.raises(TLSError):
                    await sock.connect()
        async with EasyTCPSocket(LOOPBACK, port) as sock:
            sock.tls = True
            sock.verify = False
            await sock.connect()
            assert sock.ssl_connected
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_clients_need_a_certificate() -> None:
    """``require_client_certificate`` of a server of message sockets."""
    demanding = server(require_client_certificate=True, ca_file=credentials().ca)
    async with demanding as listening, trio.open_nursery() as nursery:
        port = await nursery.start(listening.serve, echo)
        trust = {"tls": True, "ca_file": credentials().ca}
        async with EasyTCPSocket(
            LOOPBACK, port, certificate_file=credentials().client, **trust
        ) as sock:
            await sock.connect()
            await sock.send(Message(1, b"hello"))
            assert await sock.receive() == Message(1, b"hello")
            (accepted,) = listening.active_connections()
            assert accepted.peer_certificate_der == ssl.PEM_cert_to_DER_cert(
                certificate_in(credentials().client.read_text())
            )
        nursery.cancel_scope.cancel()


def certificate_in(pem: str) -> str:
    """The first certificate of a file that has a key, too."""
    return (
        pem[pem.index("-----BEGIN CERTIFICATE") :].partition("-----END CERTIFICATE-----")[0]
        + "-----END CERTIFICATE-----\n"
    )


@pytest.mark.trio
@pytest.mark.parametrize("verified", [True, False])
async def test_the_certificate_in_der(verified: bool) -> None:
    """Whether or not it was verified; there is none before and after."""
    options = {} if verified else {"verify": False, "ca_file": None}
    async with tls_linked(**options) as (sock, _):
        der = ssl.PEM_cert_to_DER_cert(certificate_in(credentials().server.read_text()))
        assert sock.peer_certificate_der == der
        assert bool(sock.peer_certificate) is verified
        sock.close()
        assert sock.peer_certificate_der is None
    assert SSLSocket().peer_certificate_der is None
