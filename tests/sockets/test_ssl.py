"""``SSLSocket`` as a whole: options, facts, and the contracts of Trio's streams."""

from __future__ import annotations

import functools
import inspect
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support.pairs import clogged_pairs, pairs, turned
from tests.support.tls import credentials, tls_linked
from trio_xsock import InvalidStateError, ServerSocket, SSLConnectionTypes, SSLSocket, TCPSocket
from trio_xsock.testing import ssl_socket_pair

DEFAULTS: dict[str, Any] = {
    "ssl_enabled": True,
    "ssl_connection_type": SSLConnectionTypes.SSLv23,
    "ca_file": None,
    "certificate_file": None,
    "certificate_password": "",
    "certificate_rejection_file": None,
    "require_client_certificate": False,
    "server_hostname": None,
    "alpn_protocols": (),
    "ssl_context": None,
    "verify": True,
    "handshake_timeout": 30.0,
    "https_compatible": False,
}

# Options


def test_the_defaults() -> None:
    """Those of ``TCPSocket`` are all there, and those of TLS are safe."""
    sock = SSLSocket()
    for name, value in DEFAULTS.items():
        assert getattr(sock, name) == value
    parameters = inspect.signature(SSLSocket).parameters
    for name, parameter in inspect.signature(TCPSocket).parameters.items():
        assert parameters[name] == parameter
    assert set(parameters) == {*DEFAULTS, *inspect.signature(TCPSocket).parameters}


def test_all_options_at_once() -> None:
    """What is given is kept, and may be changed."""
    given: dict[str, Any] = {
        "ssl_enabled": False,
        "ssl_connection_type": 5,
        "ca_file": "ca.pem",
        "certificate_file": "certificate.pem",
        "certificate_password": "secret",
        "certificate_rejection_file": "rejected.pem",
        "require_client_certificate": True,
        "server_hostname": "example.org",
        "alpn_protocols": ("h2",),
        "verify": False,
        "handshake_timeout": 1.0,
        "https_compatible": True,
        "keepalive": (1, 2, 3),
        "receive_buffer_limit": 7,
    }
    sock = SSLSocket("::1", 443, **given)
    assert (sock.address, sock.port) == ("::1", 443)
    for name, value in given.items():
        assert getattr(sock, name) == value
    for name, value in DEFAULTS.items():
        setattr(sock, name, value)
        assert getattr(sock, name) == value
    context = ssl.create_default_context()
    sock.ssl_context = context
    assert sock.ssl_context is context
    assert SSLSocket(ssl_context=context).ssl_context is context


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ssl_enabled", None),
        ("ssl_connection_type", "SSLv23"),
        ("ca_file", 1),
        ("certificate_file", 1),
        ("certificate_password", None),
        ("certificate_rejection_file", b"x"),
        ("require_client_certificate", 1),
        ("server_hostname", b"x"),
        ("alpn_protocols", "h2"),
        ("ssl_context", "context"),
        ("verify", "no"),
        ("handshake_timeout", "30"),
        ("https_compatible", 0),
    ],
)
def test_wrong_types_are_refused(name: str, value: object) -> None:
    """At construction and at assignment, naming the option."""
    with pytest.raises(TypeError, match=name):
        SSLSocket(**{name: value})  # type: ignore[arg-type]
    sock = SSLSocket()
    with pytest.raises(TypeError, match=name):
        setattr(sock, name, value)
    assert getattr(sock, name) == DEFAULTS[name]


def test_a_context_and_what_it_stands_for() -> None:
    """One overrules the other silently nowhere."""
    context = ssl.create_default_context()
    with pytest.raises(ValueError, match="ssl_context of your own"):
        SSLSocket(ssl_context=context, verify=False)
    sock = SSLSocket(ssl_context=context)
    with pytest.raises(ValueError, match="ssl_context of your own"):
        sock.ca_file = "ca.pem"
    assert sock.ca_file is None
    sock.ssl_context = None
    sock.ca_file = "ca.pem"
    with pytest.raises(ValueError, match="ssl_context of your own"):
        sock.ssl_context = context


# Facts


async def test_facts_of_a_connection() -> None:
    """There while it is; the options stay."""
    async with tls_linked(alpn_protocols=["h2"]) as (sock, peer):
        assert sock.ssl_connected
        assert not sock.ssl_connecting
        assert sock.tls_version == peer.tls.version() == "TLSv1.3"
        assert sock.cipher == peer.tls.cipher()[0]  # type: ignore[index]
        assert ("DNS", "localhost") in (sock.peer_certificate or {})["subjectAltName"]
        assert sock.selected_alpn_protocol is None  # the peer knows of none
        with pytest.raises(InvalidStateError, match="ssl_enabled"):
            sock.ssl_enabled = False
        sock.close()
        facts = (sock.tls_version, sock.cipher, sock.peer_certificate, sock.selected_alpn_protocol)
        assert facts == (None, None, None, None)
        assert not sock.ssl_connected
        assert sock.ca_file == str(credentials().ca)
        sock.ssl_enabled = False


async def test_application_protocols_are_agreed_on() -> None:
    async with ssl_socket_pair(
        left={"alpn_protocols": ["h3", "h2"]}, right={"alpn_protocols": ["http/1.1", "h2"]}
    ) as (client, server):
        assert client.selected_alpn_protocol == server.selected_alpn_protocol == "h2"


@pytest.mark.parametrize("kind", [SSLConnectionTypes.TLSv12, SSLConnectionTypes.TLSv13])
async def test_named_versions_are_used(kind: SSLConnectionTypes) -> None:
    async with ssl_socket_pair(left={"ssl_connection_type": kind}) as (client, server):
        assert client.tls_version == server.tls_version == kind.name.replace("v1", "v1.")


async def test_a_client_s_certificate() -> None:
    """Is what the server wants, and shows."""
    issued = credentials()
    async with ssl_socket_pair(
        left={"certificate_file": issued.client},
        right={"ca_file": issued.ca, "require_client_certificate": True},
    ) as (_, server):
        names = (server.peer_certificate or {})["subjectAltName"]
        assert ("email", "client@example.org") in names


async def test_contexts_of_one_s_own(tmp_path: Path) -> None:
    """For either side, and without a name to check where the context wants none."""
    issued = credentials()
    async with ssl_socket_pair(
        left={"ssl_context": issued.client_context()},
        right={"ssl_context": issued.server_context()},
    ) as (client, server):
        await client.send_all(b"x")
        assert await server.receive_some() == b"x"


async def test_options_survive_the_end() -> None:
    """Who connects again is as safe as before."""
    issued = credentials()
    async with (
        ServerSocket(add_socket=lambda: SSLSocket(certificate_file=issued.server)) as server,
        SSLSocket("localhost", ca_file=issued.ca) as sock,
    ):
        await server.listen()
        sock.port = server.port
        for _ in range(2):
            await sock.connect()
            assert sock.ssl_connected
            assert sock.peer_certificate
            async with await server.accept() as accepted:
                await sock.send_all(b"x")
                assert await accepted.receive_some() == b"x"
                await sock.aclose()


# The contracts of Trio's streams


def kinds() -> tuple[Callable[..., SSLSocket], Callable[..., SSLSocket]]:
    """Makes clients, and what a server needs."""
    issued = credentials()
    return (
        functools.partial(SSLSocket, ca_file=issued.ca),
        functools.partial(SSLSocket, certificate_file=issued.server),
    )


@pytest.mark.slow
async def test_trio_s_check_of_half_closeable_streams() -> None:
    """Sending, receiving, closing, cancelling and blocking, as Trio wants them."""
    async with pairs(*kinds()) as make, clogged_pairs(*kinds()) as make_clogged:
        await trio.testing.check_half_closeable_stream(make, make_clogged)


@pytest.mark.slow
async def test_trio_s_check_of_two_way_streams() -> None:
    """Seen from the server's side."""
    async with pairs(*kinds()) as make, clogged_pairs(*kinds()) as make_clogged:
        await trio.testing.check_two_way_stream(turned(make), turned(make_clogged))
