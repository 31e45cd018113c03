"""What constructors do with their options: each one arrives, whatever the class."""

from __future__ import annotations

import inspect
import ssl
from typing import Any

import pytest

from trio_xsock import EasyTCPSocket, EventChannel, SocketHandler, SSLSocket, TCPSocket
from trio_xsock._sockets.constructing import SSLOptions, TCPOptions

OTHER: dict[str, Any] = {
    "receive_buffer_limit": 1000,
    "send_buffer_limit": 2000,
    "progress_interval": 3000,
    "allow_half_close": True,
    "keepalive": (10, 5, 3),
    "unacknowledged_timeout": 4.0,
    "idle_timeout": 5.0,
    "bind_address": "127.0.0.2",
    "bind_port": 6000,
    "ca_file": "ca.pem",
    "certificate_file": "certificate.pem",
    "certificate_password": "secret",
    "certificate_rejection_file": "rejected.pem",
    "require_client_certificate": True,
    "server_hostname": "example.org",
    "alpn_protocols": ("http/1.1",),
    "verify": False,
    "handshake_timeout": 7.0,
    "https_compatible": True,
}
"""A value for each option that is not its default."""


def options_of(kind: type[Any]) -> set[str]:
    return set(inspect.signature(kind).parameters) - {"address", "port"}


@pytest.mark.parametrize("kind", [TCPSocket, SSLSocket, EasyTCPSocket])
def test_each_option_arrives(kind: type[Any]) -> None:
    """What was given is what the attribute says; all others have their defaults."""
    names = options_of(kind) & OTHER.keys()
    for name in names:
        sock = kind(**{name: OTHER[name]})
        for each in names:
            default = inspect.signature(kind).parameters[each].default
            assert getattr(sock, each) == (OTHER[name] if each == name else default), each


@pytest.mark.parametrize("kind", [TCPSocket, SSLSocket, EasyTCPSocket])
def test_the_others_arrive(kind: type[Any]) -> None:
    """Those whose values are objects."""
    handler, events = SocketHandler(), EventChannel[Any]()
    sock = kind("example.org", 4000, handler=handler, events=events)
    assert (sock.address, sock.port) == ("example.org", 4000)
    assert sock.handler is handler
    assert sock.events is events
    if kind is not TCPSocket:
        context = ssl.create_default_context()
        assert kind(ssl_context=context).ssl_context is context


def test_the_signatures_are_those_of_the_typed_dictionaries() -> None:
    """``connect_tcp`` and ``connect_ssl`` take what the constructors take."""
    assert options_of(TCPSocket) == set(TCPOptions.__annotations__)
    assert options_of(SSLSocket) == set(SSLOptions.__annotations__)
    assert options_of(EasyTCPSocket) == (options_of(SSLSocket) - {"ssl_enabled"}) | {
        "tls",
        "max_message_size",
    }


def test_a_subclass_may_have_a_signature_of_its_own() -> None:
    """What it passes on is all that counts."""

    class Mine(SSLSocket):
        def __init__(self, port: int, idle_timeout: float) -> None:
            handshake_timeout = idle_timeout * 2
            super().__init__("example.org", port, handshake_timeout=handshake_timeout)

    sock = Mine(4000, 30.0)
    assert (sock.port, sock.idle_timeout, sock.handshake_timeout) == (4000, None, 60.0)
