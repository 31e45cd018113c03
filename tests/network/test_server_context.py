"""A context with which no handshake can succeed is refused before a client comes."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest

from tests.support.tls import credentials
from trio_xsock import EasyTCPSocket, ServerSocket, SSLSocket, TLSError
from trio_xsock._network.server_context import check_server_context


def bare() -> ssl.SSLContext:
    """A server's context that nothing was loaded into."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def test_a_context_with_a_certificate_will_do() -> None:
    """Of any version; asked again it is remembered."""
    for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
        context = credentials().server_context()
        context.minimum_version = context.maximum_version = version
        check_server_context(context)
        check_server_context(context)


def test_a_context_without_a_certificate_will_not() -> None:
    """Of any version; and it will when one was loaded."""
    for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
        context = bare()
        context.minimum_version = context.maximum_version = version
        with pytest.raises(TLSError, match="has no certificate") as caught:
            check_server_context(context)
        assert caught.value.reason == "NO_CERTIFICATE_SET"
        context.load_cert_chain(credentials().server)
        check_server_context(context)


def test_a_context_that_chooses_another_one_needs_none() -> None:
    """What it chooses depends on the name that a client asks for."""
    context = bare()
    context.sni_callback = lambda *_: None
    check_server_context(context)


@pytest.mark.skipif(
    not hasattr(ssl.SSLContext, "set_psk_server_callback"), reason="from Python 3.13 on"
)
def test_a_server_that_has_a_shared_key_needs_none() -> None:
    """There is no way to ask a context for that but to try."""
    context = bare()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("PSK")
    getattr(context, "set_psk_server_callback")(lambda _: b"key", "hint")  # noqa: B009
    check_server_context(context)


def sslsocket(context: ssl.SSLContext | None) -> SSLSocket:
    return SSLSocket(ssl_context=context)


def easy(context: ssl.SSLContext | None) -> EasyTCPSocket:
    return EasyTCPSocket(ssl_context=context, tls=True)


@pytest.mark.parametrize("kind", [sslsocket, easy])
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (ssl.create_default_context, "is for clients"),
        (bare, "has no certificate"),
        (lambda: None, "needs a certificate_file"),
    ],
)
async def test_listen_refuses_what_can_never_work(
    kind: Callable[[ssl.SSLContext | None], SSLSocket],
    make: Callable[[], ssl.SSLContext | None],
    text: str,
) -> None:
    """Of a server, and of a socket that waits for one peer."""
    context = make()
    async with ServerSocket(address="127.0.0.1", add_socket=lambda: kind(context)) as server:
        with pytest.raises(TLSError, match=text):
            await server.listen()
        assert not server.is_listening
    async with kind(context) as sock:
        with pytest.raises(TLSError, match=text):
            await sock.listen()
